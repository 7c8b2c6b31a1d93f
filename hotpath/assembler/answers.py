"""What was composed, as the answer to the proxy and as the record of it.

The record is JSON from here to PostgreSQL: the proxy hands it on without looking inside, which
spares two processes the making and reading of some hundred messages for every request.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from ibex.memory.model import ScoredMemory
from ibex.memory.pinning import FRONT, Composition, Dropped
from ibex.memory.pinning import Decision as Decided
from ibex.rpc import AssembleContextResponse, InjectionRecord, Insertion


def answer_of(
    composition: Composition, scored: Mapping[UUID, ScoredMemory], decided: Sequence[Decided]
) -> AssembleContextResponse:
    """Without the directive's version, degraded parts and times."""
    blocks = composition.blocks
    insertions = [
        Insertion(
            position=block.place,
            role="system",
            content=block.content,
            tokens=block.tokens,
            sha256=block.sha256,
            pinned=block.anchor == FRONT,
        )
        for block in blocks
    ]
    contents = [block.content for block in blocks]
    return AssembleContextResponse(
        insertions=insertions,
        memories=sum(len(block.memories) for block in blocks),
        context_tokens=sum(block.tokens for block in blocks),
        sha256=hashlib.sha256("\0".join(contents).encode()).digest() if contents else b"",
        record=InjectionRecord(
            memories=orjson.dumps(
                [
                    _injected(scored[memory.id], number)
                    for number, block in enumerate(blocks)
                    for memory in block.memories
                ]
            ),
            insertions=orjson.dumps([_insertion(one) for one in insertions]),
            dropped=orjson.dumps([_dropped(one) for one in composition.dropped]),
            decisions=orjson.dumps([_decision(one) for one in decided]),
        ),
    )


def _injected(memory: ScoredMemory, insertion: int) -> dict[str, Any]:
    candidate = memory.candidate
    return {
        "memory_id": candidate.id_text,
        "version": candidate.version,
        "category": candidate.category,
        "score": memory.score,
        "parts": tuple(memory.parts),
        "tokens": memory.tokens,
        "origin": memory.origin,
        "insertion": insertion,
    }


def _insertion(insertion: Insertion) -> dict[str, Any]:
    return {
        "position": insertion.position,
        "pinned": insertion.pinned,
        "tokens": insertion.tokens,
        "sha256": insertion.sha256.hex(),
    }


def _dropped(dropped: Dropped) -> dict[str, Any]:
    said = {"memory_id": str(dropped.id), "version": dropped.version, "reason": dropped.reason}
    memory = dropped.memory
    if memory is None:
        return said
    return {
        **said,
        "category": memory.candidate.category,
        "score": memory.score,
        "parts": tuple(memory.parts),
        "tokens": memory.tokens,
        "origin": memory.origin,
    }


def _decision(decision: Decided) -> dict[str, Any]:
    return {
        "place": decision.place,
        "anchor": decision.anchor.hex(),
        "memories": [(str(one.id), one.version, one.digest.hex()) for one in decision.memories],
    }
