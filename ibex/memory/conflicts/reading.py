"""A statement's words as the rules compare them.

Numbers with their units, dates, times and days come in one form whatever they were written as
("$40k" and "40,000 dollars", "July 4th" and "4 July"); words are stems, and those that mean the
same have one key. What says nothing is left out, and what denies is told apart from the rest.
"""

import re
import unicodedata
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final

from ibex.memory.conflicts import lexicon

_MONTH: Final = "|".join(sorted(lexicon.MONTHS, key=len, reverse=True))
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_TOKEN: Final = re.compile(
    rf"""
    (?P<y0>\d{{4}})-(?P<m0>\d\d)-(?P<d0>\d\d)(?!\d)
  | (?P<d1>{_DAY})\s+(?:of\s+)?(?P<m1>{_MONTH})\b(?:,?\s+(?P<y1>\d{{4}})\b)?
  | \b(?=[JFMASOND])(?P<m2>{_MONTH})\s+
    (?:(?P<d2>{_DAY})\b(?!:)(?:,?\s+(?P<y2>\d{{4}})\b)? | (?P<y3>\d{{4}})\b)
  | (?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?:\s?(?P<half>[ap]m)\b)?(?![\w:])
  | (?P<hour2>\d{{1,2}})\s?(?P<half2>[ap]m)\b
  | (?P<currency>[$€£])?(?P<number>(?:(?<![\w)])[-\u2212])?\d+(?:[.,]\d+)*)(?![-\w])
  | [$€£](?P<sum>\d+(?:[.,]\d+)*)(?P<kilo>[km])\b
  | (?P<name>[@\#]?\w+(?:[-._/:@+\#&][\w\#]+)+[+\#]* | [@\#]\w+ | \w+[+\#]+ | [^\W\d]*\d\w*)
  | (?P<word>[^\W\d_]+(?:'[^\W\d_]+)* | [%°$€£])
  | (?P<mark>[,;(])
  | (?P<sign>[^\w\s.:!?)\[\]"'*`\u2010-\u201f\u2026-])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MEASURED: Final = re.compile(r"(?P<value>\d+(?:\.\d+)?)(?P<unit>[a-z]+)", re.IGNORECASE)
_VERSION: Final = re.compile(r"\d+(?:[.,]\d+){2,}")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_UNSPACED: Final = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_POSSESSIVE: Final = re.compile(r"'s?$")
_SPEAKER: Final = re.compile(r"^(?P<who>[^\W\d_]+): ")
_REWRITES: Final = (
    (re.compile(r"\bworks? as\b"), "is"),
    (re.compile(r"\bwould (?:like|prefer)\b"), "wants"),
    (re.compile(r"\b(?:has|have|had) to (?=[a-z])"), "must "),
    (re.compile(r"\b(?:can't|cannot|can not) stand\b"), "hates"),
    (re.compile(r"\b(?:gave|given|gives?) up\b"), "quit"),
    (re.compile(r"\bused to (?=[a-z])"), "formerly "),
    (re.compile(r"\bne ([\w']+) plus\b"), r"ne \1"),
)
_SENTENCE_END: Final = re.compile(
    r"(?<=[^\W\d_]{2})\.\s+(?=\S)|[!?]\s+(?=\S)|[\u3002\uff01\uff1f!?](?=\w)|\n\s*(?=\S)"
)
_WORD_BEFORE: Final = re.compile(r"^.*\W", re.DOTALL)
_APOSTROPHE: Final = "\u2019"
_EXACT: Final = 20  # digits that arithmetic keeps


class Kind(StrEnum):
    WORD = "word"
    NAME = "name"  # with a capital letter inside the sentence, or an identifier
    NUMBER = "number"
    TIME = "time"  # a date, a day of the week, a time of day


@dataclass(frozen=True)
class Token:
    key: str = field(repr=False)
    kind: Kind
    gap: tuple[str, ...] = ()  # the words and marks that were left out before it
    owner: bool = False  # something belongs to it: "User's", "of Globex", "Globex has"


@dataclass(frozen=True)
class Reading:
    tokens: tuple[Token, ...]
    head: int  # so many tokens stand before the first verb
    denied: bool
    denials: int  # words that deny or end something, however they add up
    past: bool
    changed: bool  # a verb says that something took another's place
    by_now: bool  # it says that it is so now
    light: bool  # its first verb says nothing by itself
    having: bool  # its first verb is "has"
    several: bool  # sentences: more than one statement

    @property
    def has_verb(self) -> bool:
        """One that is known stands in it, or one that looks like it."""
        return self.head < len(self.tokens) or self.light or self.past

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(token.key for token in self.tokens)

    @cached_property
    def joined(self) -> tuple[str, ...]:
        """The keys, where words that stand side by side are one: "half-marathon" is written as
        two words too."""
        runs: list[str] = []
        open_run = False
        for token in self.tokens:
            word = token.kind is Kind.WORD
            if word and open_run and not token.gap:
                runs[-1] += token.key.replace("-", "")
            else:
                runs.append(token.key.replace("-", "") if word else token.key)
            open_run = word
        return tuple(runs)

    @cached_property
    def owners(self) -> frozenset[str]:
        return frozenset(token.key for token in self.tokens if token.owner)

    @cached_property
    def core(self) -> tuple[str, ...]:
        """Without dates, times and owners, which may stand at several places of a sentence."""
        return tuple(
            token.key for token in self.tokens if token.kind is not Kind.TIME and not token.owner
        )

    @cached_property
    def roles(self) -> frozenset[tuple[str, str]]:
        """Pairs of a word that says whether something is done by, to or for it, and a key."""
        return frozenset(
            (word, token.key) for token in self.tokens for word in lexicon.ROLES & {*token.gap}
        )

    @cached_property
    def ordered(self) -> bool:
        """It matters what stands before what."""
        left_out = (word for token in self.tokens for word in token.gap)
        return self.denied or bool(lexicon.ORDERED & {*self.keys, *left_out})

    @cached_property
    def figures(self) -> frozenset[str]:
        """Its numbers, dates and times."""
        return frozenset(
            token.key for token in self.tokens if token.kind in (Kind.NUMBER, Kind.TIME)
        )

    @cached_property
    def names(self) -> frozenset[str]:
        """Of others than the user."""
        return frozenset(token.key for token in self.tokens if token.kind is Kind.NAME) - {"user"}

    @cached_property
    def values(self) -> frozenset[str]:
        """Its names, numbers, dates and times; everybody's statements name the user."""
        named = (token.key for token in self.tokens if token.kind is not Kind.WORD)
        return frozenset(named) - {"user"}


def read(content: str) -> Reading:
    text = unicodedata.normalize("NFKC", content).replace(_APOSTROPHE, "'")
    text = _SPEAKER.sub(r"\g<who> ", text)
    for pattern, plain in _REWRITES:
        text = pattern.sub(plain, text)
    return _Reader(text).reading()


def label(text: str) -> frozenset[str]:
    """A subject's or an attribute's keys."""
    return frozenset(token.key for token in read(text).tokens)


class _Reader:
    """Takes a text's words one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[Token] = []
        self._head: int | None = None
        self._negated = False
        self._denials = 0
        self._flips = 0  # words that turn a statement into its opposite
        self._past = self._changed = self._by_now = self._light = self._having = False
        self._gap: list[str] = []
        self._of_name = False  # inside of what an "of" stands before
        self._before = ""  # the word before, as written but in lower case
        self._ends = 0  # where the token before ended

    def reading(self) -> Reading:
        for match in _TOKEN.finditer(self._text):
            self._take(match)
            self._ends = match.end()
        return Reading(
            tuple(self._tokens),
            len(self._tokens) if self._head is None else self._head,
            denied=self._negated != bool(self._flips % 2),
            denials=self._denials,
            past=self._past,
            changed=self._changed,
            by_now=self._by_now,
            light=self._light,
            having=self._having,
            several=_is_several(self._text.strip()),
        )

    def _take(self, match: re.Match[str]) -> None:
        if match.lastgroup == "word":  # most of them are
            self._word(match.group(), match.start())
            return
        form = match.groupdict()
        if time := _date(form) or _clock(form):
            self._add(time, Kind.TIME)
        elif form["number"]:
            self._add(_amount(form["number"], 1, form["currency"]), Kind.NUMBER)
        elif form["sum"]:
            thousands = 1_000 if form["kilo"] in "kK" else 1_000_000
            self._add(_amount(form["sum"], thousands, match.group()[0]), Kind.NUMBER)
        elif form["name"]:
            self._identifier(form["name"], match.start())
        elif form["sign"]:
            self._add(form["sign"], Kind.WORD)
        else:
            self._gap.append(match.group())

    def _identifier(self, text: str, start: int) -> None:
        measured = _MEASURED.fullmatch(text)
        unit = measured["unit"].lower() if measured else ""
        if measured and unit == "k":
            self._add(_amount(measured["value"], 1_000, None), Kind.NUMBER)
        elif measured and unit in lexicon.UNITS:
            self._add(_amount(measured["value"], 1, unit), Kind.NUMBER)
        elif text.replace("-", "").isalpha():  # half-marathon, e-mail
            self._word(text, start)
        else:
            self._add(text, Kind.NAME)

    def _word(self, text: str, start: int) -> None:
        word = text.lower()
        if contracted := word.endswith("n't"):
            self._negated = True
            self._denials += 1
            word = {"ca": "can", "wo": "will"}.get(word[:-3], word[:-3])
        plain = _POSSESSIVE.sub("", word) if "'" in word else word
        if _UNSPACED.search(plain):
            self._characters(plain)
            return
        if self._head is None and self._tokens and (contracted or plain in lexicon.VERBS):
            self._head, self._light = len(self._tokens), plain in lexicon.LIGHT | lexicon.EMPTY
            self._having = plain in lexicon.HAVING
            if self._having:
                self._own(len(self._tokens) - 1)
        if self._is_acronym(text, start):
            self._add(plain, Kind.NAME)
        elif self._says_how(plain):
            self._gap.append(plain)
        elif (unit := lexicon.UNITS.get(plain)) and self._follows_number(start):
            number = self._tokens.pop()
            self._gap = list(number.gap)
            self._add(_with_unit(number.key, unit), Kind.NUMBER)
        elif number_or_time := _numeric(plain, text):
            self._add(*number_or_time)
        else:
            self._plain(plain, text, start)
            if plain != word:
                self._own(len(self._tokens) - 1)
        self._before = plain

    def _plain(self, word: str, text: str, start: int) -> None:
        self._past |= self._is_past(word)
        if word in lexicon.OPPOSITES:
            self._flips += 1
            self._denials += 1
            word = lexicon.OPPOSITES[word]
        inside = bool(self._text[:start].strip())
        self._add(lexicon.key_of(word), Kind.NAME if inside and text[0].isupper() else Kind.WORD)

    def _is_acronym(self, text: str, start: int) -> bool:
        """ "IT" and "vitamin A" are names; "I" and "NOT" are not."""
        return (
            text.isupper()
            and text != "I"
            and text.lower() not in lexicon.NEGATIONS
            and (len(text) > 1 or bool(self._text[:start].strip()))
        )

    def _says_how(self, word: str) -> bool:
        """Whether the word is no token, but says at most how the others are meant."""
        self._changed |= word in lexicon.CHANGES
        self._by_now |= word in lexicon.BY_NOW
        if word in lexicon.NEGATIONS:
            self._negated = True
            self._denials += 1
        elif word in lexicon.ENDINGS:
            self._flips += 1
            self._denials += 1
        elif word in lexicon.EMPTY:
            self._past |= word in lexicon.WAS
        else:
            self._past |= word in lexicon.PAST
            return word in lexicon.NOW
        return True

    def _own(self, last: int) -> None:
        """Mark the token at `last` and those that stand right before it as an owner's name."""
        while last >= 0 and not self._tokens[last].owner:
            self._tokens[last] = replace(self._tokens[last], owner=True)
            if self._tokens[last].gap:
                return
            last -= 1

    def _is_past(self, word: str) -> bool:
        """ "worked", and not "is located", "has moved" or "is kept and deleted"."""
        first = self._head in (None, len(self._tokens))
        return first and word.endswith("ed") and self._before not in lexicon.EMPTY

    def _follows_number(self, start: int) -> bool:
        return (
            bool(self._tokens)
            and self._tokens[-1].kind is Kind.NUMBER
            and not self._text[self._ends : start].strip()
        )

    def _characters(self, text: str) -> None:
        for mark in lexicon.NEGATION_MARKS:
            self._negated |= mark in text
            text = text.replace(mark, "")
        for letter in text:
            if letter not in lexicon.UNSPACED_EMPTY:
                self._add(letter, Kind.WORD)

    def _add(self, key: str, kind: Kind) -> None:
        owner = kind in (Kind.WORD, Kind.NAME) and bool(lexicon.OWNED_BY & {*self._gap})
        if kind is Kind.NAME and not self._gap:  # the second word of a name: "of Project Nimbus"
            owner = self._of_name
        self._of_name = owner
        self._tokens.append(Token(key, kind, tuple(self._gap), owner))
        self._gap = []


def _is_several(text: str) -> bool:
    return any(
        _WORD_BEFORE.sub("", text[: end.start()][-10:].lower()) not in lexicon.ABBREVIATIONS
        for end in _SENTENCE_END.finditer(text)
    )


def _numeric(word: str, text: str) -> tuple[str, Kind] | None:
    """A number, a day or a month that is written as a word."""
    if word in lexicon.NUMBERS:
        return lexicon.NUMBERS[word], Kind.NUMBER
    if word in lexicon.WEEKDAYS:
        return f"day {lexicon.WEEKDAYS[word]}", Kind.TIME
    if word in lexicon.MONTHS and text[0].isupper():
        return f"month {lexicon.MONTHS[word]}", Kind.TIME
    return None


def _date(form: dict[str, str | None]) -> str | None:
    """`2026-3-15`, with `*` for what is not said."""
    for year, month, day in (("y0", "m0", "d0"), ("y1", "m1", "d1"), ("y2", "m2", "d2")):
        if form[month] and form[day]:
            return f"{form[year] or '*'}-{_month(form[month])}-{_digits(form[day])}"
    return f"{form['y3']}-{_month(form['m2'])}-*" if form["y3"] else None


def _month(text: str | None) -> int:
    return lexicon.MONTHS.get((text or "").lower()) or _digits(text)


def _clock(form: dict[str, str | None]) -> str | None:
    hour = form["hour"] or form["hour2"]
    if hour is None:
        return None
    half = (form["half"] or form["half2"] or "").lower()
    of_day = _digits(hour) % 12 + 12 * (half == "pm") if half else _digits(hour)
    return f"{of_day}:{form['minute'] or '00'}:{form['second'] or '00'}"


def _digits(text: str | None) -> int:
    return int("".join(letter for letter in text or "" if letter.isdecimal()) or 0)


def _amount(text: str, factor: int, unit: str | None) -> str:
    """In one form: "1,200" is 1200, and so is "1.2k". Without a factor a fraction stays as it is
    written: it may be a version, where 3.10 is not 3.1."""
    measure = lexicon.UNITS[unit] if unit else ""
    plain = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    if factor == 1 or _VERSION.fullmatch(plain) or len(plain) > _EXACT:
        return _with_unit(plain, measure)
    value = (Decimal(plain.replace(",", ".")) * factor).normalize()
    return _with_unit(format(value, "f"), measure)


def _with_unit(number: str, unit: str) -> str:
    if unit == "week" and number.isdecimal():
        return f"{int(number) * 7} d"
    return f"{number} {unit}" if unit else number
