"""Memories into PostgreSQL: a statement of SQL for any number of them, inside the caller's
transaction. What becomes of whom is decided in ibex/memory/writing/planning.py."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pgvector

from ibex.ids import new_id
from ibex.memory.model import Category, Fact, Provenance, Source, Vector
from ibex.memory.statements import Changed, Edge, Joined, NewMemory, Stated
from ibex.memory.trust import Reason, Status, Trust
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("memories_write")


@dataclass(frozen=True)
class Owner:
    """Whose memories they are."""

    org_id: UUID
    agent_id: UUID
    user_id: UUID | None  # None: the agent's own


@dataclass(frozen=True)
class Support:
    """One statement that a memory rests on, without its words."""

    session_id: UUID | None
    confidence: float
    turns: tuple[int, ...]
    message_ids: tuple[str, ...]


@dataclass(frozen=True)
class Supported:
    """What a memory shows of its statements, and what they are."""

    id: UUID
    session_id: UUID | None
    confidence: float
    turns: tuple[int, ...]
    message_ids: tuple[str, ...]
    by: Sequence[Support]


@dataclass(frozen=True)
class Refounded:
    """What a memory shows from now on; None: as it was."""

    id: UUID
    confidence: float | None = None
    turns: tuple[int, ...] | None = None
    message_ids: tuple[str, ...] | None = None


async def lock(connection: Connection, owner: Owner) -> None:
    """Until the transaction ends, nobody else writes memories of this agent and user."""
    await connection.execute(_SQL["lock"], *_key(owner))


async def forget_ended(connection: Connection, owner: Owner) -> None:
    """Delete what has expired, so that what is said from now on is learned anew."""
    await connection.execute(_SQL["forget_ended"], *_key(owner))


async def vectors_of(
    database: Database, owner: Owner, hashes: Sequence[bytes], embedding_model: str
) -> dict[bytes, Vector]:
    """By the hashes that a memory in force has, the vectors of their words."""
    if not hashes:
        return {}
    async with database.tenant(owner.org_id) as connection:
        rows = await connection.fetch(
            _SQL["vectors_of"], *_key(owner), list(hashes), embedding_model
        )
    return {row["content_hash"]: row["embedding"].to_numpy() for row in rows}


async def vouch(
    connection: Connection, owner: Owner, believed: Sequence[Stated], run_id: str | None
) -> tuple[UUID, ...]:
    """What waited for a review is believed when somebody says it who needs none; these memories."""
    rows = await connection.fetch(
        _SQL["vouch"],
        *_key(owner),
        [one.content_hash for one in believed],
        [one.fact.source for one in believed],
        [new_id() for _ in believed],
        run_id,
    )
    return tuple(row["memory_id"] for row in rows)


async def insert(
    connection: Connection, owner: Owner, memories: Sequence[NewMemory], embedding_model: str
) -> tuple[UUID, ...]:
    """With the first version and the tags of each, and the statement it rests on. The ids of those
    that are new: the words of the others are there."""
    if not memories:
        return ()
    rows = await connection.fetch(
        _SQL["insert"],
        *_key(owner),
        [plain(_memory_row(memory)) for memory in memories],
        # As pgvector's own type: asyncpg would take a list of arrays for a matrix of numbers.
        [pgvector.Vector(memory.words.embedding) for memory in memories],
        embedding_model,
    )
    return tuple(row["id"] for row in rows)


async def set_aside(
    connection: Connection, owner: Owner, hashes: Sequence[bytes]
) -> dict[bytes, UUID]:
    """Of these words, the memories that have them, rest on nothing and were never in force."""
    if not hashes:
        return {}
    rows = await connection.fetch(_SQL["set_aside"], *_key(owner), list(hashes))
    return {row["content_hash"]: row["id"] for row in rows}


async def revive(
    connection: Connection, org_id: UUID, memories: Sequence[NewMemory], embedding_model: str
) -> None:
    """Memories that were set aside are in force again, as these; their versions are up to the
    caller, as is the statement that each rests on."""
    if memories:
        await connection.execute(
            _SQL["revive"],
            org_id,
            [plain(_memory_row(memory)) for memory in memories],
            [pgvector.Vector(memory.words.embedding) for memory in memories],
            embedding_model,
        )


async def add_statements(
    connection: Connection, owner: Owner, joined: Sequence[Joined], embedding_model: str
) -> tuple[UUID, ...]:
    """The memories that a statement was added to; one that was written before is not again."""
    if not joined:
        return ()
    rows = await connection.fetch(
        _SQL["add_statements"],
        *_key(owner),
        [plain(statement_row(one.stated) | {"memory_id": one.memory_id}) for one in joined],
        [pgvector.Vector(one.stated.embedding) for one in joined],
        embedding_model,
    )
    return tuple(row["memory_id"] for row in rows)


async def support(
    connection: Connection, org_id: UUID, memory_ids: Sequence[UUID]
) -> list[Supported]:
    """What each of these memories rests on."""
    if not memory_ids:
        return []
    rows = await connection.fetch(_SQL["support"], org_id, list(memory_ids))
    by_memory: defaultdict[UUID, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        by_memory[row["memory_id"]].append(row)
    return [
        Supported(
            memory_id,
            found[0]["own_session"],
            found[0]["own_confidence"],
            tuple(found[0]["own_turns"]),
            tuple(found[0]["own_message_ids"]),
            [
                Support(
                    row["session_id"],
                    row["confidence"],
                    tuple(row["turns"]),
                    tuple(row["message_ids"]),
                )
                for row in found
            ],
        )
        for memory_id, found in by_memory.items()
    ]


async def change(
    connection: Connection, org_id: UUID, changed: Sequence[Changed], run_id: str | None
) -> None:
    """The validity of these memories; a version of each."""
    await _change(
        connection,
        org_id,
        [
            {
                "id": one.id,
                "change": "superseded" if one.closed else "merged",
                "valid_from": one.valid_from,
                "ends": True,
                "valid_to": one.valid_to,
                "superseded_by": one.superseded_by,
            }
            for one in changed
        ],
        run_id,
    )


async def refound(
    connection: Connection, org_id: UUID, memories: Sequence[Refounded], run_id: str | None
) -> None:
    """What these memories show of their statements; a version of each."""
    await _change(
        connection,
        org_id,
        [
            {
                "id": one.id,
                "change": "merged",
                "confidence": one.confidence,
                "turns": one.turns,
                "message_ids": one.message_ids,
            }
            for one in memories
        ],
        run_id,
    )


async def note(
    connection: Connection, org_id: UUID, changes: Mapping[UUID, str], run_id: str | None
) -> None:
    """A version of each of these memories, as it is now: by its id, what was done to it."""
    rows = [{"id": memory, "change": change} for memory, change in changes.items()]
    await _change(connection, org_id, rows, run_id)


async def _change(
    connection: Connection, org_id: UUID, rows: Sequence[dict[str, Any]], run_id: str | None
) -> None:
    if rows:
        await connection.execute(
            _SQL["change"],
            org_id,
            [plain(row | {"version_id": new_id(), "run_id": run_id}) for row in rows],
        )


async def reword(
    connection: Connection, org_id: UUID, memory_id: UUID, words: Stated, embedding_model: str
) -> None:
    """The memory takes these words and where they come from. Its version is up to the caller."""
    await connection.execute(_SQL["keep_words"], org_id, memory_id, words.content_hash)
    row = statement_row(words)
    await connection.execute(
        _SQL["reword"],
        org_id,
        memory_id,
        row["category"],
        row["subject"],
        row["attribute"],
        row["content"],
        words.content_hash,
        row["source"],
        row["session_id"],
        row["turns"],
        row["message_ids"],
        row["extractor"],
        row["prompt_version"],
        row["model"],
        row["run_id"],
        row["redactions"],
        words.embedding,
        embedding_model,
    )


async def release(
    connection: Connection, org_id: UUID, memory_ids: Sequence[UUID], embedding_model: str
) -> list[Stated]:
    """Take out of these memories what was said after their validity ended."""
    if not memory_ids:
        return []
    rows = await connection.fetch(_SQL["release"], org_id, list(memory_ids), embedding_model)
    return [stated_of(row) for row in rows]


async def speechless(
    connection: Connection, org_id: UUID, memory_ids: Sequence[UUID], embedding_model: str
) -> dict[UUID, list[Stated]]:
    """Those of these memories whose words nobody said any more, and what they rest on."""
    found: defaultdict[UUID, list[Stated]] = defaultdict(list)
    rows = await connection.fetch(_SQL["speechless"], org_id, list(memory_ids), embedding_model)
    for row in rows:
        found[row["memory_id"]].append(stated_of(row))
    return found


async def hand_over(connection: Connection, org_id: UUID, memory_id: UUID, heir_id: UUID) -> None:
    """What a memory rests on is the heir's, so that whoever says it again meets the heir."""
    await connection.execute(_SQL["forget_known"], org_id, memory_id, heir_id)
    await connection.execute(_SQL["hand_over"], org_id, memory_id, heir_id)


async def relate(connection: Connection, org_id: UUID, edges: Sequence[Edge]) -> None:
    if edges:
        await connection.execute(
            _SQL["relate"],
            org_id,
            [
                plain(
                    {
                        "id": new_id(),
                        "from_id": edge.from_id,
                        "to_id": edge.to_id,
                        "kind": edge.kind,
                        "reason": edge.reason,
                    }
                )
                for edge in edges
            ],
        )


def _key(owner: Owner) -> tuple[UUID, UUID, UUID | None]:
    return owner.org_id, owner.agent_id, owner.user_id


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """For JSON, which does not know the driver's own class of UUIDs."""
    return {name: str(one) if isinstance(one, UUID) else one for name, one in row.items()}


def _memory_row(memory: NewMemory) -> dict[str, Any]:
    return statement_row(memory.words) | {
        "id": memory.id,
        "version_id": new_id(),
        "statement_id": memory.words.id,
        "status": memory.words.trust.status,
        "quarantine_reason": memory.words.trust.reason,
        "valid_from": memory.valid_from,
        "valid_to": memory.valid_to,
        "superseded_by": memory.superseded_by,
    }


def statement_row(stated: Stated) -> dict[str, Any]:
    fact, made_by = stated.fact, stated.provenance
    return {
        "id": stated.id,
        "category": fact.category,
        "subject": fact.subject,
        "attribute": fact.attribute,
        "content": fact.content,
        "content_hash": stated.content_hash.hex(),
        "confidence": fact.confidence,
        "source": fact.source,
        "said_from": stated.valid_from,
        "session_id": made_by.session_id,
        "turns": fact.turns,
        "message_ids": fact.message_ids,
        "place": fact.place,
        "extractor": made_by.extractor,
        "prompt_version": made_by.prompt_version,
        "model": made_by.model,
        "run_id": made_by.run_id,
        "redactions": stated.redactions,
        "tags": fact.tags,
    }


def stated_of(row: asyncpg.Record) -> Stated:
    """A stored statement, with the status of its memory."""
    reason = row["quarantine_reason"]
    return Stated(
        id=row["id"],
        fact=Fact(
            category=Category(row["category"]),
            content=row["content"],
            confidence=row["confidence"],
            source=Source(row["source"]),
            turns=tuple(row["turns"]),
            message_ids=tuple(row["message_ids"]),
            subject=row["subject"],
            attribute=row["attribute"],
            valid_from=row["valid_from"],
        ),
        content_hash=row["content_hash"],
        redactions=row["redactions"],
        valid_from=row["valid_from"],
        provenance=Provenance(
            row["session_id"], row["extractor"], row["prompt_version"], row["model"], row["run_id"]
        ),
        embedding=row["embedding"].to_numpy(),
        trust=Trust(Status(row["status"]), Reason(reason) if reason else None),
    )
