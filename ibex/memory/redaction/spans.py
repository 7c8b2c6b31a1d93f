"""What is looked for, and what a rule answers.

Patterns repeat groups inside atomic ones, `(?>(?:…)*)`, and never possessively: before 3.11.5
Python matches `(?:…)*+` wrongly (https://github.com/python/cpython/issues/106052), and Debian has
3.11.2.
"""

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

Span = tuple[int, int]  # from, to
Finder = Callable[[str], Iterator[Span]]

#: Stands in a text for what was taken out of it, one for each character.
FILLER: Final = "\ufffc"
#: Scripts without spaces between words, for a set of a pattern.
UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"


class Kind(StrEnum):
    """Each is a placeholder: `[EMAIL]`."""

    PRIVATE_KEY = "PRIVATE_KEY"
    JWT = "JWT"
    API_KEY = "API_KEY"  # of a vendor, known by its form
    SECRET = "SECRET"  # a password or token, known by what stands before it  # noqa: S105
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    CARD = "CARD"
    SSN = "SSN"
    IP = "IP"
    PHONE = "PHONE"


class Finding(NamedTuple):
    """In characters of the text as it was given."""

    kind: Kind
    start: int
    end: int


def matching(pattern: re.Pattern[str], check: Callable[[str], bool] | None = None) -> Finder:
    """What `pattern` matches and `check` confirms."""

    def find(text: str) -> Iterator[Span]:
        for match in pattern.finditer(text):
            if check is None or check(match.group()):
                yield match.span()

    return find
