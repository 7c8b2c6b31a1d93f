"""A text as a person reads it, with the way back to the text as it was written.

Compatibility forms become the plain ones (NFKC), digits of every script become 0-9, all dashes,
spaces and quotation marks one of each, and what nobody sees on its own (zero-width characters,
direction marks, soft hyphens, combining marks) is left out. Upper and lower case stay.

Sources: Unicode Standard Annex #15 (NFKC), #44 (categories).
"""

import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

_UNSEEN: Final = frozenset({"Cf", "Mn", "Me"})
_QUOTES: Final = {"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
_MINUS: Final = "\u2212"


@dataclass(frozen=True)
class Folded:
    text: str = field(repr=False)
    #: Of each character of `text` its place in the text as it was written, and that text's length.
    #: None: each is at its own place.
    places: Sequence[int] | None = field(repr=False)

    def written(self, start: int, end: int) -> tuple[int, int]:
        """Where characters `start` to `end` (one at least) were written. A character that was
        written as one is taken whole, with the unseen ones that follow it."""
        if self.places is None:
            return start, end
        after = bisect_right(self.places, self.places[end - 1])
        return self.places[start], self.places[after]


def fold(text: str) -> Folded:
    if text.isascii():
        return Folded(text, None)
    changes = {letter: _plain(letter) for letter in set(text) if not letter.isascii()}
    folded = text.translate({ord(letter): plain for letter, plain in changes.items()})
    if all(len(plain) == 1 for plain in changes.values()):
        return Folded(folded, None)
    places = array("q")
    for place, letter in enumerate(text):
        places.extend([place] * len(changes.get(letter, letter)))
    places.append(len(text))
    return Folded(folded, places)


def lowered(text: str) -> str:
    """In lower case, and of the same length."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    """What is read, 0 characters or more."""
    return "".join(_plain_one(one) for one in unicodedata.normalize("NFKC", letter))


def _plain_one(letter: str) -> str:
    category = unicodedata.category(letter)
    if category in _UNSEEN:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(letter))
    if category == "Pd" or letter == _MINUS:
        return "-"
    if category == "Zs":
        return " "
    return _QUOTES.get(letter, letter)
