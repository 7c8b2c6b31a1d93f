"""A text as a suspicious reader reads it: what is written to look harmless to a pattern is undone.

Compatibility forms, invisible characters, accents on Latin letters, Cyrillic and Greek letters
inside Latin words, letters set apart ("i g n o r e"), digits for letters ("1gn0re"), HTML entities
and base64 in between. For deciding only: nothing of it is ever stored or shown.
"""

import base64
import binascii
import html
import re
import unicodedata
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_ACCENT: Final = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_WORD: Final = re.compile(r"[^\W_]+")
_LATIN: Final = re.compile("[a-z]")
_APART: Final = re.compile(r"(?<![^\W_])(?:[^\W\d_][ .*_\-]){3,}[^\W\d_](?![^\W_])")
_SEPARATOR: Final = re.compile(r"[ .*_\-]")
_ENCODED: Final = re.compile(r"(?<![\w+/=-])[\w+/-]{20,}={0,2}(?![\w+/=-])", re.ASCII)
_QUOTES: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})
# Letters of other alphabets that look like Latin ones (Unicode's confusables, the small ones).
_LOOKALIKE: Final = str.maketrans(
    "аᴀесоорхуіјѕԁһӏкмтвнгαοερυικντχ",
    "aaecoopxyijsdhlkmtbhraoepuikvtx",
)
_DIGITS: Final = str.maketrans("013457$@", "oieastsa")


def readings(text: str) -> tuple[str, ...]:
    """The folded text, and what else it may be read as; at least one."""
    plain = fold(text)
    found = [plain, " ".join(plain.split()), _undigited(plain)]
    for encoded in _ENCODED.findall(unicodedata.normalize("NFKC", text)):
        hidden = _decoded(encoded)
        if hidden:
            found.append(fold(hidden))
    return tuple(dict.fromkeys(found))


def fold(text: str) -> str:
    """Lower case, one space between words; line ends stay, because sentences begin there."""
    text = unicodedata.normalize("NFKC", html.unescape(text)).translate(_QUOTES)
    text = unicodedata.normalize("NFD", _INVISIBLE.sub("", text).casefold())
    text = unicodedata.normalize("NFC", _ACCENT.sub("", text))
    text = _WORD.sub(_latin, text)
    text = _APART.sub(lambda match: _SEPARATOR.sub("", match.group()), text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def _latin(match: re.Match[str]) -> str:
    word = match.group()
    return word.translate(_LOOKALIKE) if not word.isascii() and _LATIN.search(word) else word


def _undigited(text: str) -> str:
    """Words that mix letters and digits, with letters only."""

    def spelled(match: re.Match[str]) -> str:
        word = match.group()
        mixed = any(map(str.isalpha, word)) and not word.isalpha()
        return word.translate(_DIGITS) if mixed else word

    return re.sub(r"[\w$@]+", spelled, text)


def _decoded(encoded: str) -> str | None:
    """The text that this is the base64 of, if it is one."""
    standard = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        text = raw.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if " " in text and text.replace("\n", " ").isprintable() else None
