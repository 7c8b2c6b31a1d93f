"""What was composed, as the answer to the proxy."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from ibex.memory.model import ScoredMemory
from ibex.memory.model import ScoreParts as Parts
from ibex.memory.pinning import FRONT, Composition, Dropped, pinned
from ibex.memory.pinning import Decision as Decided
from ibex.rpc import (
    AssembleContextResponse,
    Decision,
    DroppedMemory,
    InjectedMemory,
    Insertion,
    PinnedMemory,
    ScoreParts,
)


def answer_of(
    composition: Composition,
    scored: Mapping[UUID, ScoredMemory],
    decided: Sequence[Decided],
    count: Callable[[str], int],
) -> AssembleContextResponse:
    """`count` gives a text's tokens. Without the directive's version, degraded parts and times."""
    insertions = [
        Insertion(
            position=block.place,
            role="system",
            content=block.content,
            tokens=count(block.content),
            sha256=block.sha256,
            pinned=block.anchor == FRONT,
        )
        for block in composition.blocks
    ]
    contents = [block.content for block in composition.blocks]
    return AssembleContextResponse(
        insertions=insertions,
        memories=[
            _injected(scored[memory.id], number)
            for number, block in enumerate(composition.blocks)
            for memory in block.memories
        ],
        context_tokens=sum(one.tokens for one in insertions),
        sha256=hashlib.sha256("\0".join(contents).encode()).digest() if contents else b"",
        dropped=[_dropped(one) for one in composition.dropped],
        decisions=[_decision(one) for one in decided],
    )


def _injected(memory: ScoredMemory, insertion: int) -> InjectedMemory:
    candidate = memory.candidate
    return InjectedMemory(
        memory_id=str(candidate.id),
        version=candidate.version,
        category=candidate.category.value,
        score=memory.score,
        parts=_parts(memory.parts),
        tokens=memory.tokens,
        origin=candidate.origin,
        insertion=insertion,
        digest=pinned(candidate).digest,
    )


def _dropped(dropped: Dropped) -> DroppedMemory:
    said = DroppedMemory(memory_id=str(dropped.id), version=dropped.version, reason=dropped.reason)
    if (memory := dropped.memory) is not None:
        said.category = memory.candidate.category.value
        said.score = memory.score
        said.parts = _parts(memory.parts)
        said.tokens = memory.tokens
        said.origin = memory.candidate.origin
    return said


def _decision(decision: Decided) -> Decision:
    return Decision(
        place=decision.place,
        anchor=decision.anchor,
        memories=[
            PinnedMemory(memory_id=str(one.id), version=one.version, digest=one.digest)
            for one in decision.memories
        ],
    )


def _parts(parts: Parts) -> ScoreParts:
    return ScoreParts(
        relevance=parts.relevance,
        recency=parts.recency,
        usefulness=parts.usefulness,
        confidence=parts.confidence,
        access_frequency=parts.access_frequency,
    )
