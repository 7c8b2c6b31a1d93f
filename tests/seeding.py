"""Rows for tests of what reads them, written as the pipeline would leave them."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ibex.ids import new_id
from ibex.stores.postgres import Database

EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def insert(database: Database, org_id: UUID, table: str, **columns: Any) -> UUID:
    """One row; its id. `id` may be given."""
    row = {"org_id": org_id, "id": new_id(), **columns}
    names = ", ".join(row)
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    statement = f"INSERT INTO ibex_core.{table} ({names}) VALUES ({places})"  # noqa: S608 — ours
    async with database.tenant(org_id) as connection:
        await connection.execute(statement, *row.values())
    made: UUID = row["id"]
    return made


async def add_memory(
    database: Database, org_id: UUID, agent_id: UUID, content: str, **columns: Any
) -> UUID:
    row = {
        "agent_id": agent_id,
        "category": "declarative",
        "subject": "server",
        "attribute": "name",
        "content": content,
        "content_hash": hashlib.sha256(content.encode()).digest(),
        "confidence": 0.9,
        "source": "user",
        "extractor": "facts/1",
        "prompt_version": "p1",
        "model": "sandbox",
        "embedding": [1.0, *[0.0] * 383],
        "embedding_model": "all-MiniLM-L6-v2",
        **columns,
    }
    return await insert(database, org_id, "memories", **row)


async def add_session(database: Database, org_id: UUID, agent_id: UUID, **columns: Any) -> UUID:
    return await insert(database, org_id, "sessions", agent_id=agent_id, **columns)


async def add_turn(
    database: Database,
    org_id: UUID,
    session_id: UUID,
    number: int,
    said: str,
    answered: str,
    **columns: Any,
) -> str:
    """Its request id."""
    request_id = str(columns.pop("request_id", None) or new_id())
    await insert(
        database,
        org_id,
        "session_turns",
        session_id=session_id,
        number=number,
        request_id=request_id,
        messages=[{"role": "user", "content": said}],
        response={"role": "assistant", "content": answered},
        message_count=2 * number,
        chain_hash=bytes(32),
        model="gpt-4o-mini",
        **columns,
    )
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.sessions SET turn_count = $3 WHERE org_id = $1 AND id = $2",
            org_id,
            session_id,
            number,
        )
    return request_id


async def add_injection(
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    session_id: UUID,
    request_id: str,
    memory_ids: Sequence[UUID],
    *,
    chosen: Sequence[UUID] | None = None,
    **columns: Any,
) -> UUID:
    """`chosen`: those that the request was the first of its session to carry; None: all."""
    parts = {
        "relevance": 0.9,
        "recency": 0.8,
        "usefulness": 0.5,
        "confidence": 0.9,
        "access_frequency": 0.0,
    }
    first = [(str(memory_id), 1, "00") for memory_id in (memory_ids if chosen is None else chosen)]
    return await insert(
        database,
        org_id,
        "context_injections",
        request_id=request_id,
        agent_id=agent_id,
        session_id=session_id,
        memories=[
            {
                "memory_id": str(memory_id),
                "version": 1,
                "category": "declarative",
                "score": 0.75,
                "parts": parts,
                "tokens": 12,
                "origin": "cold",
            }
            for memory_id in memory_ids
        ],
        directive_version=1,
        position=0,
        tokens=12 * len(memory_ids),
        sha256=bytes(32),
        decisions=[{"place": 0, "anchor": "00", "memories": first}],
        **columns,
    )
