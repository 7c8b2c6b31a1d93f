"""Which memories should never have been made: pure, by words.

Words are compared by runs of four: of an echo nearly all of them stand in what it echoes, of a
statement that merely speaks of the same hardly any.
"""

import re
from collections.abc import Iterable, Sequence, Set
from enum import StrEnum
from itertools import chain
from typing import Final

from ibex.extraction.episodes import says_little
from ibex.memory.rendering import EXPLANATION, FRAME_CLOSE, FRAME_OPEN, LATER_EXPLANATION
from ibex.memory.writing.hashing import normalise

_RUN: Final = 4  # words
_FEWEST: Final = 3  # runs: fewer words than six are everybody's
_ECHO: Final = 0.7  # share of its runs
_WORD: Final = re.compile(r"\w+")
_PLACEHOLDER: Final = re.compile(r"\[[A-Z_]+\]")
_SPEAKER: Final = re.compile(r"[^\n:]{1,60}: ")
#: Of statements about a greeting.
_GENERIC: Final = re.compile(
    r"\b(?:the )?(?:user|assistant|speaker|said|says|greeted|thanked|agreed with)\b", re.IGNORECASE
)
_LINE: Final = re.compile(r'^\s*-? ?\d{4}-\d\d-\d\d "', re.MULTILINE)
_FRAME: Final = tuple(one.casefold() for one in (FRAME_OPEN, FRAME_CLOSE))

Runs = Set[tuple[str, ...]]


class Junk(StrEnum):
    INSTRUCTIONS = "echo_of_instructions"  # the directive's, or the extraction prompt's
    INJECTED = "injected_text"  # what a request was given comes back
    EMPTY = "near_empty"


def _runs(text: str) -> Iterable[tuple[str, ...]]:
    words = _WORD.findall(normalise(text).casefold())
    return (tuple(words[place : place + _RUN]) for place in range(len(words) - _RUN + 1))


def runs_of(texts: Iterable[str]) -> Runs:
    """Every run of four words in them."""
    return frozenset(chain.from_iterable(map(_runs, texts)))


_OURS: Final = runs_of((EXPLANATION, LATER_EXPLANATION))


def junk_of(content: str, instructions: Runs, given: Sequence[Runs]) -> Junk | None:
    """None: nothing is wrong with it.

    `instructions`: of the directive and of prompts. `given`: of each text that the requests of its
    session carried; nothing for what a user said, who may well repeat it.
    """
    if any(mark in content.casefold() for mark in _FRAME) or _LINE.search(content):
        return Junk.INJECTED
    said = _SPEAKER.sub("", content, count=1) if _SPEAKER.match(content) else content
    if says_little(_GENERIC.sub("", _PLACEHOLDER.sub("", said))):
        return Junk.EMPTY
    runs = frozenset(_runs(said))
    if len(runs) < _FEWEST:
        return None
    if _echoes(runs, _OURS) or any(_echoes(runs, one) for one in given):
        return Junk.INJECTED
    return Junk.INSTRUCTIONS if _echoes(runs, instructions) else None


def _echoes(runs: Runs, of: Runs) -> bool:
    return len(runs & of) >= _ECHO * len(runs)
