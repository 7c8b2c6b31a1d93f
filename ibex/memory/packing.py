"""What fits: a greedy knapsack by score, without near-duplicates and without the unrelated.

Greedy by score, not by score per token: a long memory that matters goes before two short ones that
do not. What does not fit is skipped, and the next is tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ibex.memory.model import Candidate, Category, ScoredMemory

#: Memories with less relevance than this are not injected, however recent or useful they are: a
#: question about cats does not carry the database host along. Procedural memories say how to
#: answer whatever the question, so they are exempt. On LoCoMo's development questions 0.7 % of the
#: turns that hold the answer lie below it; of questions about nothing in a store, most find none
#: above it.
RELEVANCE_FLOOR: Final = 0.20
#: Two memories whose own vectors are closer than this say the same.
NEAR_DUPLICATE: Final = 0.95

Reason = Literal["relevance", "duplicate", "budget"]


@dataclass(frozen=True)
class Dropped:
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
    kept = _Kept(memories, beside)
    dropped: list[Dropped] = []
    left = budget
    for memory in sorted(memories, key=lambda one: (-one.score, one.candidate.id)):
        exempt = procedural_exempt and memory.candidate.category is Category.PROCEDURAL
        reason: Reason | None = None
        if memory.parts.relevance < floor and not exempt:
            reason = "relevance"
        elif kept.says(memory.candidate):
            reason = "duplicate"
        elif memory.tokens > left:
            reason = "budget"
        if reason:
            dropped.append(Dropped(memory, reason))
        else:
            kept.add(memory)
            left -= memory.tokens
    return Packing(tuple(kept.memories), tuple(dropped), budget - left)


class _Kept:
    """What is kept so far, with its vectors as one matrix."""

    def __init__(self, memories: Sequence[ScoredMemory], beside: Sequence[Candidate]) -> None:
        """`memories` are all that may be added."""
        self.memories: list[ScoredMemory] = []
        self._contents = {one.content for one in beside}
        there = [one.embedding for one in beside]
        addable = [memory.candidate.embedding for memory in memories]
        self._vectors = np.array([*there, *addable])
        self._filled = len(there)

    def says(self, candidate: Candidate) -> bool:
        if candidate.content in self._contents:
            return True
        vectors = self._vectors[: self._filled]
        return bool((vectors @ candidate.embedding > NEAR_DUPLICATE).any())

    def add(self, memory: ScoredMemory) -> None:
        self._vectors[self._filled] = memory.candidate.embedding
        self._filled += 1
        self._contents.add(memory.candidate.content)
        self.memories.append(memory)
