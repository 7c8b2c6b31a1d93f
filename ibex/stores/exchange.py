"""The SQL of an exchange: facts of some sessions leave the memories, others wait beside them.

Inside the caller's transaction, under the writer's lock. What becomes of them is decided in
ibex/backfills/exchanging.py.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pgvector

from ibex.backfills.differing import Held, Shown
from ibex.errors import ConflictError
from ibex.memory.model import Vector
from ibex.memory.statements import Stated
from ibex.stores.memories_write import Owner, plain, stated_of, statement_row
from ibex.stores.postgres import Connection
from ibex.stores.queries import load

_SQL = load("exchange")


@dataclass(frozen=True)
class Making:
    """What a memory shows of its making; a change of it is a version."""

    subject: str
    attribute: str
    confidence: float
    source: str
    superseded_by: UUID | None
    session_id: UUID | None
    turns: tuple[int, ...]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None


@dataclass(frozen=True)
class Row:
    """A memory as it is in the middle of an exchange."""

    shown: Shown
    held: Held
    making: Making

    @property
    def is_aside(self) -> bool:
        return self.held.valid_to is not None and self.held.valid_to <= self.held.valid_from


@dataclass(frozen=True)
class Left:
    """A statement that left a memory."""

    memory_id: UUID
    stated: Stated


async def sessions(
    connection: Connection, owner: Owner, backfill_id: UUID, *, switched: bool
) -> dict[UUID, int]:
    """The owner's sessions whose facts are believed (`switched`) or wait, and through which turn
    they were read."""
    rows = await connection.fetch(_SQL["sessions"], *_key(owner), backfill_id, switched)
    return {row["session_id"]: row["through_turn"] for row in rows}


async def replaced(
    connection: Connection, owner: Owner, through: Mapping[UUID, int]
) -> dict[UUID, UUID]:
    """By the ids of the statements that these sessions taught, their memories."""
    rows = await connection.fetch(
        _SQL["replaced"], *_key(owner), list(through), list(through.values())
    )
    return {row["id"]: row["memory_id"] for row in rows}


async def affected(
    connection: Connection, owner: Owner, memory_ids: Collection[UUID]
) -> list[UUID]:
    """These memories, and those whose validity rests on them."""
    rows = await connection.fetch(_SQL["affected"], *_key(owner), list(memory_ids))
    return sorted(row["id"] for row in rows)


async def beliefs(connection: Connection, owner: Owner) -> dict[UUID, Held]:
    rows = await connection.fetch(_SQL["beliefs"], *_key(owner))
    return {row["id"]: _held(row) for row in rows}


async def rows_of(
    connection: Connection, org_id: UUID, memory_ids: Collection[UUID]
) -> dict[UUID, Row]:
    rows = await connection.fetch(_SQL["shown"], org_id, list(memory_ids))
    return {row["id"]: _row(row) for row in rows}


async def take_out(
    connection: Connection, org_id: UUID, memory_ids: Sequence[UUID], embedding_model: str
) -> list[Left]:
    """All that these memories rest on; they are set aside: in force at no time.

    Raises ConflictError when some of it has no vector of the model that is served.
    """
    foreign = await connection.fetchval(
        _SQL["foreign_vectors"], org_id, memory_ids, embedding_model
    )
    if foreign:
        raise ConflictError(
            "Some memories have no vector of the model that is served.",
            hint="Run 'ibex embeddings backfill', then try again.",
        )
    rows = await connection.fetch(_SQL["take_out"], org_id, memory_ids, embedding_model)
    await connection.execute(_SQL["set_aside"], org_id, memory_ids)
    return [Left(row["memory_id"], stated_of(row)) for row in rows]


async def take_facts(
    connection: Connection,
    org_id: UUID,
    backfill_id: UUID,
    session_ids: Collection[UUID],
    embedding_model: str,
) -> list[Stated]:
    """The facts that wait; they leave their table. Raises ConflictError when their vectors are
    another model's."""
    rows = await connection.fetch(_SQL["facts"], org_id, backfill_id, list(session_ids))
    if any(row["embedding_model"] != embedding_model for row in rows):
        raise ConflictError(
            "The backfill's vectors are not of the model that is served.",
            hint="Discard it and make it again, or serve its embedding model.",
        )
    return [stated_of(row) for row in rows]


async def put_facts(
    connection: Connection,
    owner: Owner,
    backfill_id: UUID,
    facts: Sequence[Stated],
    embedding_model: str,
    *,
    memories: Mapping[UUID, UUID],
) -> None:
    """Let facts wait; `memories`: by the id of a statement, the memory that it was of."""
    if facts:
        await connection.execute(
            _SQL["add_facts"],
            owner.org_id,
            backfill_id,
            owner.agent_id,
            owner.user_id,
            [
                plain(
                    statement_row(one)
                    | {
                        "memory_id": memories.get(one.id),
                        "status": one.trust.status,
                        "quarantine_reason": one.trust.reason,
                    }
                )
                for one in facts
            ],
            [pgvector.Vector(one.embedding) for one in facts],
            embedding_model,
        )


async def forget_facts(
    connection: Connection, org_id: UUID, backfill_id: UUID, session_id: UUID
) -> None:
    await connection.execute(_SQL["forget_facts"], org_id, backfill_id, session_id)


async def said(
    connection: Connection, org_id: UUID, session_id: UUID, through_turn: int
) -> tuple[list[str], list[Vector]]:
    """What is believed of a session's facts: words and vectors."""
    rows = await connection.fetch(_SQL["said"], org_id, session_id, through_turn)
    return [row["content"] for row in rows], [row["embedding"].to_numpy() for row in rows]


async def succeed(connection: Connection, org_id: UUID, heirs: Mapping[UUID, UUID]) -> None:
    """Each of these memories, which were set aside, names what took its place."""
    await connection.execute(_SQL["succeed"], org_id, list(heirs), list(heirs.values()))


def _key(owner: Owner) -> tuple[UUID, UUID, UUID | None]:
    return owner.org_id, owner.agent_id, owner.user_id


def _held(row: asyncpg.Record) -> Held:
    return Held(
        row["content_hash"], row["category"], row["status"], row["valid_from"], row["valid_to"]
    )


def _row(row: asyncpg.Record) -> Row:
    return Row(
        shown=Shown(
            row["id"],
            row["content"],
            row["session_id"],
            row["confidence"],
            row["embedding"].to_numpy(),
        ),
        held=_held(row),
        making=Making(
            subject=row["subject"],
            attribute=row["attribute"],
            confidence=row["confidence"],
            source=row["source"],
            superseded_by=row["superseded_by"],
            session_id=row["session_id"],
            turns=tuple(row["turns"]),
            extractor=row["extractor"],
            prompt_version=row["prompt_version"],
            model=row["model"],
            run_id=row["run_id"],
        ),
    )
