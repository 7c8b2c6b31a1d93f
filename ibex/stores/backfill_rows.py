"""Backfills and what they change, between rows of PostgreSQL and data."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from ibex.backfills.model import (
    AgentDifference,
    Backfill,
    Change,
    Kind,
    ShownChange,
    State,
    Wish,
)
from ibex.memory.trust import Status
from ibex.stores.memories_write import plain


def backfill_of(row: asyncpg.Record) -> Backfill:
    return Backfill(
        id=row["id"],
        wish=Wish(
            row["agent_id"],
            row["since"],
            row["until"],
            row["prompt"],
            row["prompt_version"],
            row["model"],
        ),
        agent=row["agent"],
        status=State(row["status"]),
        last_error=row["last_error"],
        worker_until=row["worker_until"],
        created_at=row["created_at"],
        compared_at=row["compared_at"],
        switched_at=row["switched_at"],
        revert_until=row["revert_until"],
        sessions=row["sessions"],
        done=row["done"],
        dead=row["dead"],
        switched=row["switched"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_usd=row["cost_usd"],
        seconds=row["seconds"],
        unchanged=row["unchanged"],
    )


def change_row(one: Change) -> dict[str, Any]:
    return plain(
        {
            "id": one.id,
            "kind": one.kind,
            "differs": one.differs,
            "memory_id": one.memory_id,
            "session_id": one.session_id,
            "content": one.content,
            "category": one.category,
            "status": one.status,
            "confidence": one.confidence,
            "valid_from": one.valid_from,
            "valid_to": one.valid_to,
        }
    )


def shown_change(row: asyncpg.Record) -> ShownChange:
    return ShownChange(
        change=Change(
            id=row["id"],
            kind=Kind(row["kind"]),
            differs=tuple(row["differs"]),
            memory_id=row["memory_id"],
            session_id=row["session_id"],
            content=row["content"],
            category=row["category"],
            status=row["status"],
            confidence=row["confidence"],
            valid_from=row["valid_from"],
            valid_to=row["valid_to"],
        ),
        agent_id=row["agent_id"],
        agent=row["agent"],
        user=row["user"],
        before=row["before_content"],
        before_category=row["before_category"],
        before_status=row["before_status"],
    )


def by_agent(rows: Sequence[asyncpg.Record]) -> tuple[AgentDifference, ...]:
    names: dict[UUID, str] = {}
    counts: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
    for row in rows:
        names[row["agent_id"]] = row["agent"]
        of = counts[row["agent_id"]]
        of[row["kind"]] = of.get(row["kind"], 0) + row["memories"]
        if row["status"] == Status.QUARANTINED:
            of["quarantined"] = of.get("quarantined", 0) + row["memories"]
    return tuple(
        AgentDifference(
            agent_id=agent,
            agent=name,
            added=counts[agent].get(Kind.ADDED, 0),
            gone=counts[agent].get(Kind.GONE, 0),
            changed=counts[agent].get(Kind.CHANGED, 0),
            quarantined=counts[agent].get("quarantined", 0),
        )
        for agent, name in names.items()
    )
