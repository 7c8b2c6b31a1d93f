"""What a user wrote, apart from what a user pasted.

People put documents into their messages: fenced, quoted, in tags, after "here is the mail:", or
just long. Whoever wrote those is not the user, so what they say is a document's. In doubt a part
counts as pasted: a fact in it is as good as before, only an instruction waits for a review.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

#: Of a longer message the first and the last paragraph are the user's own, if they are short.
LONG: Final = 4_000  # characters
_OWN_PARAGRAPH: Final = 500  # characters

_FENCE = re.compile(r"\s{0,3}(```|~~~|\"\"\"|''')")
_QUOTED = re.compile(r"\s{0,3}[>\uff1e]")
_TAG = re.compile(
    r"<(?P<tag>doc(?:ument)?s?|files?|attachments?|articles?|pages?|webpage|website|sources?|context"
    r"|e-?mails?|mail|transcripts?|data|pdf|(?:search|tool)_?results?|results?|content|quote"
    r"|blockquote|html|text|logs?|reports?|paste[d]?|excerpts?|passages?|notes?|messages?|input)"
    r"(?:\s[^<>\n]{0,200})?>",
    re.IGNORECASE,
)
# From such a line on, all that follows is somebody else's.
_FORWARDED = re.compile(
    r"\s*(?:-{2,}\s?(?:forwarded message|original message|weitergeleitete nachricht"
    r"|urspr\u00fcngliche nachricht|message d'origine)|begin forwarded message"
    r"|on .{1,80} wrote:\s*$|am .{1,80} schrieb .{1,60}:\s*$"
    r"|(?:from|von|de): .{0,120}@)",
    re.IGNORECASE,
)
_TEXT: Final = (
    r"(?:e-?mail|mail|message|letter|article|document|doc|docs|page|web ?site|site|text|file|readme"
    r"|log|logs|output|error|report|paragraph|excerpt|passage|contract|transcript|notes?|ticket"
    r"|issue|comment|review|post|tool|ad|nachricht|brief|artikel|dokument|seite|datei|bericht"
    r"|vertrag|protokoll)"
)
# "Summarise this mail:" with the mail on the lines below.
_LEAD_IN = re.compile(
    rf"(?:\b{_TEXT}\b|\b(?:summari[sz]e|translate|proofread|rewrite|explain|review|analy[sz]e|check"
    r"|read|here(?:'s| is| are)|following|below|this(?: is)?|says?|said|reads|wrote|folgende[nrs]?"
    r"|hier ist|schreibt|\u00fcbersetze|lies))\b.{0,120}:\s*$",
    re.IGNORECASE,
)
# The page says: …, on the same line.
_REPORTED = re.compile(
    rf"\b{_TEXT}\s+(?:says?|said|reads?|states?|tells?|wrote|contains?|sagt|schreibt|lautet)\b"
    r"(?: that)?\s*[:,\"\u201c]?\s*",
    re.IGNORECASE,
)
_INLINE = re.compile(
    r"\"[^\"\n]{60,}\"|\u201c[^\u201d\n]{60,}\u201d|\u201e[^\u201c\n]{60,}\u201c"
    r"|\u00ab[^\u00bb\n]{60,}\u00bb"
)


@dataclass(frozen=True)
class Part:
    text: str = field(repr=False)
    is_pasted: bool


def parts_of(text: str) -> list[Part]:
    """In their order; together all the words of the text. White space around them is dropped."""
    joined: list[Part] = []
    for part in _parts(text):
        if not part.text.strip():
            continue
        if joined and joined[-1].is_pasted == part.is_pasted:
            joined[-1] = Part(joined[-1].text + part.text, part.is_pasted)
        else:
            joined.append(part)
    return [Part(part.text.strip(), part.is_pasted) for part in joined]


def _parts(text: str) -> Iterator[Part]:
    if len(text) > LONG:
        yield from _ends_of(text)
    else:
        yield from _blocks(text)


def _ends_of(text: str) -> Iterator[Part]:
    """A text that nobody types: what frames it may be the user's."""
    paragraphs = re.split(r"(?<=\n)\s*\n", text.strip())
    is_framed = len(paragraphs) > 1
    for number, paragraph in enumerate(paragraphs):
        at_end = number in (0, len(paragraphs) - 1)
        if is_framed and at_end and len(paragraph) <= _OWN_PARAGRAPH:
            yield from _blocks(paragraph)
        else:
            yield Part(paragraph + "\n\n", is_pasted=True)


def _blocks(text: str) -> Iterator[Part]:
    """Line by line, as far as a line is not inside something that has begun before."""
    lines = text.splitlines(keepends=True)
    place = 0
    while place < len(lines):
        line = lines[place]
        if _FORWARDED.match(line):
            yield Part("".join(lines[place:]), is_pasted=True)
            return
        end = _end_of_block(lines, place)
        if end is not None:
            yield Part("".join(lines[place:end]), is_pasted=True)
            place = end
            continue
        yield from _in_line(line)
        place += 1
        if _LEAD_IN.search(line) and _is_plain(lines, place):
            end = _end_of_paste(lines, place)
            yield Part("".join(lines[place:end]), is_pasted=True)
            place = end


def _is_plain(lines: list[str], place: int) -> bool:
    """Does a text follow that no fence, quote or tag bounds?"""
    first = next((n for n in range(place, len(lines)) if lines[n].strip()), None)
    return first is not None and _end_of_block(lines, first) is None


def _end_of_block(lines: list[str], place: int) -> int | None:
    """Where the fence, quote or tag ends that begins on this line; None: none does."""
    line = lines[place]
    if fence := _FENCE.match(line):
        closing = (n for n in range(place + 1, len(lines)) if fence[1] in lines[n])
        return next(closing, len(lines) - 1) + 1
    if _QUOTED.match(line):
        others = (n for n in range(place, len(lines)) if not _QUOTED.match(lines[n]))
        return next(others, len(lines))
    if tag := _TAG.search(line):
        close = f"</{tag['tag'].lower()}"
        closing = (n for n in range(place, len(lines)) if close in lines[n].lower())
        return next(closing, len(lines) - 1) + 1
    return None


def _end_of_paste(lines: list[str], place: int) -> int:
    """The end of the text, but for a short question after a blank line."""
    blank = max((n for n in range(place, len(lines)) if not lines[n].strip()), default=None)
    if blank is None:
        return len(lines)
    last = "".join(lines[blank:]).strip()
    is_question = len(last) <= _OWN_PARAGRAPH and last.endswith(("?", "\uff1f"))
    return blank if is_question and "".join(lines[place:blank]).strip() else len(lines)


def _in_line(line: str) -> Iterator[Part]:
    """What is reported or quoted at length within one line."""
    if reported := _REPORTED.search(line):
        yield Part(line[: reported.end()], is_pasted=False)
        yield Part(line[reported.end() :], is_pasted=True)
        return
    end = 0
    for quote in _INLINE.finditer(line):
        yield Part(line[end : quote.start()], is_pasted=False)
        yield Part(quote.group(), is_pasted=True)
        end = quote.end()
    yield Part(line[end:], is_pasted=False)
