"""Memories with vectors of the test's own choice, straight into PostgreSQL."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from ibex.ids import new_id
from ibex.memory.model import Category, Fact, Provenance, Source, Vector
from ibex.memory.statements import NewMemory, Stated
from ibex.settings import DEFAULT_EMBEDDING_MODEL
from ibex.stores import memories_write
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Database
from tests.unit.candidates import direction

_PROVENANCE = Provenance(None, "test", "test", "test", None)


async def remember(
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    content: str,
    *,
    user_id: UUID | None = None,
    vector: Vector | None = None,
    category: Category = Category.DECLARATIVE,
    said_at: datetime | None = None,
    confidence: float = 0.9,
    embedding_model: str = DEFAULT_EMBEDDING_MODEL,
) -> UUID:
    words = Stated(
        id=new_id(),
        fact=Fact(category, content, confidence, Source.USER, (1,)),
        content_hash=hashlib.sha256(content.encode()).digest(),
        redactions={},
        valid_from=said_at or datetime.now(UTC),
        provenance=_PROVENANCE,
        embedding=direction(1.0) if vector is None else vector,
    )
    memory = NewMemory(new_id(), words, words.valid_from)
    async with database.tenant(org_id) as connection:
        await memories_write.insert(
            connection, Owner(org_id, agent_id, user_id), [memory], embedding_model
        )
    return memory.id


async def change(database: Database, org_id: UUID, memory_id: UUID, **values: object) -> None:
    """Set columns of one memory."""
    columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, start=3))
    async with database.tenant(org_id) as connection:
        await connection.execute(
            f"UPDATE ibex_core.memories SET {columns} WHERE org_id = $1 AND id = $2",  # noqa: S608
            org_id,
            memory_id,
            *values.values(),
        )
