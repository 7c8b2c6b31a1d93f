"""What fits: a greedy knapsack by score, without near-duplicates and without the unrelated.

Greedy by score, not by score per token: a long memory that matters goes before two short ones that
do not. What does not fit is skipped, and the next is tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ibex.memory.model import Category, ScoredMemory

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
    memories: Sequence[ScoredMemory], budget: int, *, floor: float = RELEVANCE_FLOOR
) -> Packing:
    """`budget` in tokens; the kept ones never exceed it. Same input, same outcome, in any order."""
    kept: list[ScoredMemory] = []
    dropped: list[Dropped] = []
    left = budget
    for memory in sorted(memories, key=lambda one: (-one.score, one.candidate.id)):
        reason = _reason_to_drop(memory, kept, left, floor)
        if reason is None:
            kept.append(memory)
            left -= memory.tokens
        else:
            dropped.append(Dropped(memory, reason))
    return Packing(tuple(kept), tuple(dropped), sum(memory.tokens for memory in kept))


def _reason_to_drop(
    memory: ScoredMemory, kept: Sequence[ScoredMemory], left: int, floor: float
) -> Reason | None:
    exempt = memory.candidate.category is Category.PROCEDURAL
    if memory.parts.relevance < floor and not exempt:
        return "relevance"
    if any(says_the_same(memory, other) for other in kept):
        return "duplicate"
    return "budget" if memory.tokens > left else None


def says_the_same(one: ScoredMemory, other: ScoredMemory) -> bool:
    a, b = one.candidate, other.candidate
    return a.content == b.content or float(a.embedding @ b.embedding) > NEAR_DUPLICATE
