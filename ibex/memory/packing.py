"""What fits: a greedy knapsack by score, without near-duplicates and without the unrelated.

Greedy by score, not by score per token: a long memory that matters goes before two short ones that
do not. What does not fit is skipped, and the next is tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from ibex.memory.model import Candidate, Category, ScoredMemory, vectors_of

#: Memories with less relevance than this are not injected, however recent or useful they are: a
#: question about cats does not carry the database host along. Procedural memories say how to
#: answer whatever the question, so they are exempt. On LoCoMo's development questions about 4 % of
#: the turns that hold the answer lie below it; of questions about nothing in a store, most find
#: none above it.
RELEVANCE_FLOOR: Final = 0.20
#: Two memories whose own vectors are closer than this say the same.
NEAR_DUPLICATE: Final = 0.95

Reason = Literal["relevance", "duplicate", "budget"]


class Dropped(NamedTuple):
    memory: ScoredMemory
    reason: Reason


@dataclass(frozen=True)
class Packing:
    kept: tuple[ScoredMemory, ...]  # best first
    dropped: tuple[Dropped, ...]
    tokens: int  # of all that is kept


def pack(
    memories: Sequence[ScoredMemory],
    budget: int,
    *,
    floor: float = RELEVANCE_FLOOR,
    procedural_exempt: bool = True,
    beside: Sequence[Candidate] = (),
) -> Packing:
    """`budget` in tokens; the kept ones never exceed it. Same input, same outcome, in any order.

    `beside` is what the request carries already: what says the same is a duplicate.
    """
    ordered = sorted(memories, key=lambda one: (-one.score, one.candidate.id))
    close = _close_ones([*beside, *(one.candidate for one in ordered)])
    contents = {one.content for one in beside}
    taken = set(range(len(beside)))
    kept: list[ScoredMemory] = []
    dropped: list[Dropped] = []
    left = budget
    for number, memory in enumerate(ordered, len(beside)):
        candidate = memory.candidate
        exempt = procedural_exempt and candidate.category is Category.PROCEDURAL
        reason: Reason | None = None
        if memory.parts.relevance < floor and not exempt:
            reason = "relevance"
        elif candidate.content in contents or not taken.isdisjoint(close.get(number, ())):
            reason = "duplicate"
        elif memory.tokens > left:
            reason = "budget"
        if reason:
            dropped.append(Dropped(memory, reason))
        else:
            kept.append(memory)
            taken.add(number)
            contents.add(candidate.content)
            left -= memory.tokens
    return Packing(tuple(kept), tuple(dropped), budget - left)


def _close_ones(candidates: Sequence[Candidate]) -> dict[int, list[int]]:
    """Of each candidate those before it that its own vector says the same as; by their numbers."""
    close: dict[int, list[int]] = {}
    if len(candidates) > 1:
        vectors = vectors_of(candidates)
        alike = np.tril(vectors @ vectors.T > NEAR_DUPLICATE, -1)
        for later, earlier in np.argwhere(alike).tolist():
            close.setdefault(later, []).append(earlier)
    return close
