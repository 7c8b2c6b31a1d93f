"""Which of the memories that a request was given its answer rests on, and what follows from it.

Nobody is asked, no model either. An answer rests on a memory when it says what the memory says and
the conversation had not said before:

    words     the terms that memory and answer share and nobody had said. Rare ones and numbers
              tell a lot, common ones little, and what several memories say is shared between them
    meaning   a sentence of the answer is near to the memory: nearer than to the question, for an
              answer that only repeats that is as near to the memories as the question was, and
              nearer than to the other memories, or almost

Both are chances that the memory had a part in the answer, `1 - (1 - words) * (1 - meaning)`.
Usefulness is an exponential average of that over the answers, in which an answer counts for what it
tells: to rest on a memory says much. Not to rest on it says little, the less the less the memory
has to do with the question, and nothing of a memory about how to act, which shows in no word. What
people say about answers counts more than what is found out so, and is not forgotten.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ibex.memory.model import Category, Vector
from ibex.memory.terms import terms_of
from ibex.memory.tokens import rarity

#: What nobody knows about yet is as useful as not.
UNKNOWN: Final = 0.5
#: From this chance on an answer is said to rest on a memory.
RESTS: Final = 0.5
#: The share of a new observation in the average, when it tells all.
RATE: Final = 0.2
#: What it tells that an answer does not rest on a memory which meets the question fully.
UNUSED: Final = 0.25
#: The average counts as much as so many votes.
AVERAGE_IN_VOTES: Final = 2.0

# The chance that a term was taken from a memory which has it.
_COMMON: Final = 0.05
_RARE: Final = 0.65
_NUMBER: Final = (0.2, 0.5, 0.85)  # of one digit, two, more

# Cosines of all-MiniLM-L6-v2: of a sentence and a memory, and how much nearer it is to the memory
# than to the question. From the first on a sign, from the second on as clear as it gets.
_NEAR: Final = (0.35, 0.60)
_NEARER: Final = (0.0, 0.2)
_SLACK: Final = 0.08  # of the memory that a sentence is nearest to, others may be as near
_MEANING: Final = 0.8  # the chance at most

_SENTENCE = re.compile("(?<=[.!?\u2026])\\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_DIGITS = re.compile(r"\d")
MAX_SENTENCES: Final = 12
_MAX_SENTENCE: Final = 300  # characters
_MIN_SENTENCE: Final = 12  # bytes: a character of Chinese or Japanese says as much as three


@dataclass(frozen=True)
class Given:
    """A memory that a request was given."""

    id: UUID
    category: Category
    content: str = field(repr=False)
    embedding: Vector = field(repr=False)  # of its own words
    relevance: float  # to the question, in [0, 1], as it was recorded


@dataclass(frozen=True)
class Observation:
    """What one answer tells about one memory."""

    memory_id: UUID
    support: float  # the chance that the answer rests on it, in [0, 1]
    weight: float  # how much that tells about its usefulness, in [0, 1]


def sentences(answer: str) -> list[str]:
    """The first of the answer's sentences that say something, as they are embedded."""
    found = (piece.strip() for piece in _SENTENCE.split(answer))
    return [
        piece[:_MAX_SENTENCE]
        for piece in found
        if len(piece.encode("utf-8", "surrogatepass")) >= _MIN_SENTENCE
    ][:MAX_SENTENCES]


def observe(
    given: Sequence[Given],
    answer: str,
    before: Iterable[str],
    *,
    said: npt.NDArray[np.float32] | None = None,
    question: Vector | None = None,
) -> list[Observation]:
    """What `answer` tells about each of `given`, in their order.

    `before`: all that was said in the conversation until then, the question included. `said`: unit
    rows, shape (n, 384), of `sentences(answer)`, and `question`, a unit vector; without them it is
    judged by words only.
    """
    words = by_words([one.content for one in given], answer, before)
    meaning = by_meaning([one.embedding for one in given], said, question)
    supports = 1 - (1 - words) * (1 - meaning)
    return [
        Observation(one.id, support, _weight(one, support))
        for one, support in zip(given, supports.tolist(), strict=True)
    ]


def by_words(
    contents: Sequence[str], answer: str, before: Iterable[str]
) -> npt.NDArray[np.float64]:
    """The chance by shared words of each memory, shape (n,), each in [0, 1)."""
    known = {term for text in before for term in terms_of(text)}
    news = _chances(answer, {*terms_of(answer)} - known)
    shared = [_shared(content, news) for content in contents]
    owners = Counter(term for chances in shared for term in chances)
    return np.array(
        [
            1 - math.prod(1 - chance / owners[term] for term, chance in chances.items())
            for chances in shared
        ],
        np.float64,
    )


def by_meaning(
    embeddings: Sequence[Vector], said: npt.NDArray[np.float32] | None, question: Vector | None
) -> npt.NDArray[np.float64]:
    """The chance by meaning of each memory, shape (n,), each in [0, 1)."""
    chances = np.zeros(len(embeddings))
    if said is None or question is None or not len(said) or not embeddings:
        return chances
    near = (np.stack(embeddings) @ said.T).astype(np.float64)  # shape (n, sentences)
    signs = _scaled(near, *_NEAR) * _scaled(near - said @ question, *_NEARER)
    nearest = near >= near.max(axis=0) - _SLACK
    best: npt.NDArray[np.float64] = (signs * nearest).max(axis=1)
    return _MEANING * best


def averaged(average: float, observation: Observation) -> float:
    """The memory's average after an observation, in [0, 1]."""
    share = RATE * observation.weight
    return min(1.0, max(0.0, average + share * (observation.support - average)))


def usefulness(average: float, helpful: int, unhelpful: int) -> float:
    """From the average over its answers and the votes, in [0, 1]."""
    votes = helpful + unhelpful
    return (AVERAGE_IN_VOTES * average + helpful) / (AVERAGE_IN_VOTES + votes)


def _weight(one: Given, support: float) -> float:
    if support >= RESTS:
        return support
    if one.category is Category.PROCEDURAL:
        return 0.0
    return UNUSED * one.relevance


def _shared(content: str, news: Mapping[str, float]) -> dict[str, float]:
    """Of the terms that a memory shares with an answer's `news`."""
    common = news.keys() & terms_of(content)
    return {term: min(chance, news[term]) for term, chance in _chances(content, common).items()}


def _chances(text: str, terms: Set[str]) -> dict[str, float]:
    """Of each of its terms that is in `terms`, by the most common word that makes it."""
    chances: dict[str, float] = {}
    if not terms:
        return chances
    for word in text.split():
        for term in terms_of(word):
            if term in terms:
                chances[term] = min(chances.get(term, 1.0), _chance(term, word))
    return chances


def _chance(term: str, word: str) -> float:
    digits = len(_DIGITS.findall(term))
    if digits:
        return _NUMBER[min(digits, len(_NUMBER)) - 1]
    rare = rarity(word.strip(".,;:!?\"'()[]"))
    return _COMMON + (_RARE - _COMMON) * rare


def _scaled(values: npt.NDArray[np.float64], zero: float, one: float) -> npt.NDArray[np.float64]:
    return np.clip((values - zero) / (one - zero), 0.0, 1.0)
