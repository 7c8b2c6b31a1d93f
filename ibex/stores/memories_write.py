"""Memories into PostgreSQL: two statements for any number of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pgvector

from ibex.ids import new_id
from ibex.memory.model import Fact, Provenance, Vector
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("memories_write")


@dataclass(frozen=True)
class NewMemory:
    """A fact that is redacted and embedded."""

    id: UUID
    fact: Fact
    content_hash: bytes = field(repr=False)
    redactions: Mapping[str, int]
    valid_from: datetime
    embedding: Vector = field(repr=False)


async def known_hashes(
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    user_id: UUID | None,
    hashes: Sequence[bytes],
) -> frozenset[bytes]:
    """Those of `hashes` that a memory in force has, of the same agent and user."""
    if not hashes:
        return frozenset()
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(_SQL["known_hashes"], org_id, agent_id, user_id, hashes)
    return frozenset(row["content_hash"] for row in rows)


async def insert(
    connection: Connection,
    org_id: UUID,
    agent_id: UUID,
    user_id: UUID | None,
    memories: Sequence[NewMemory],
    provenance: Provenance,
    embedding_model: str,
) -> tuple[UUID, ...]:
    """The ids of those that are new; the others' words were known. One statement writes the
    memories and the first version of each. Inside the caller's transaction."""
    if not memories:
        return ()
    rows = await connection.fetch(
        _SQL["insert"],
        org_id,
        agent_id,
        user_id,
        [_row(memory) for memory in memories],
        # As pgvector's own type: asyncpg would take a list of arrays for a matrix of numbers.
        [pgvector.Vector(memory.embedding) for memory in memories],
        provenance.session_id,
        provenance.extractor,
        provenance.prompt_version,
        provenance.model,
        provenance.run_id,
        embedding_model,
    )
    return tuple(row["id"] for row in rows)


def _row(memory: NewMemory) -> dict[str, Any]:
    fact = memory.fact
    return {
        "id": memory.id,
        "version_id": new_id(),
        "category": fact.category,
        "subject": fact.subject,
        "attribute": fact.attribute,
        "content": fact.content,
        "content_hash": memory.content_hash.hex(),
        "confidence": fact.confidence,
        "source": fact.source,
        "valid_from": memory.valid_from,
        "turns": fact.turns,
        "message_ids": fact.message_ids,
        "place": fact.place,
        "redactions": memory.redactions,
    }
