"""Rows out of PostgreSQL: one statement, one snapshot, read through a cursor in batches."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from ibex.memory.model import ScoreParts
from ibex.sessions import StoredTurn
from ibex.stores.injections import named_parts
from ibex.stores.postgres import Database
from ibex.stores.queries import load
from ibex.stores.turns import TurnReader
from ibex.transfer.formats import Row, Writer
from ibex.transfer.tables import INJECTIONS, Table

_SQL = load("transfer")
#: Rows fetched at once: a session brings all that was said in it.
_BATCH: Final = {Table.MEMORIES: 1_000, Table.SESSIONS: 20, Table.INJECTIONS: 1_000}


@dataclass(frozen=True)
class Scope:
    """Whose rows."""

    org_id: UUID
    agent_id: UUID | None = None  # None: of all agents
    user_id: UUID | None = None  # None: of everybody


class Exporter:
    def __init__(self, database: Database, turns: TurnReader) -> None:
        """`database` lends one connection for as long as an export is read, and another one while
        a session's turns come from the archive."""
        self._database = database
        self._turns = turns

    async def count(self, table: Table, scope: Scope) -> int:
        """Rows; of injections, requests."""
        async with self._database.tenant(scope.org_id) as connection:
            counted: int = await connection.fetchval(_SQL[f"count_{table}"], *_key(scope))
        return counted

    async def rows(
        self, table: Table, scope: Scope, *, embeddings: bool = False
    ) -> AsyncGenerator[list[Row], None]:
        """Batches with the columns that `columns_of` names. Close it when it is not read to its
        end. Raises DatabaseUnavailableError, and for sessions what `TurnReader` raises."""
        async with self._database.tenant(scope.org_id) as connection:
            cursor = await connection.cursor(_SQL[table], *_key(scope))
            while found := await cursor.fetch(_BATCH[table]):
                match table:
                    case Table.MEMORIES:
                        yield [_memory(row, embeddings) for row in found]
                    case Table.SESSIONS:
                        yield [await self._session(scope.org_id, row) for row in found]
                    case Table.INJECTIONS:
                        yield [one for row in found for one in _injections(row)]

    async def _session(self, org_id: UUID, row: asyncpg.Record) -> Row:
        *values, turns, kept = row
        if not kept:
            found = await self._turns.turns(org_id, row["id"])
            turns = orjson.dumps([_turn(one) for one in found]).decode()
        return [*values, turns]


async def encoded(
    batches: AsyncGenerator[list[Row], None],
    made: Writer,
    told: Callable[[int], object] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The bytes of the file, in pieces, the first with the first rows; what makes them does not
    hold the loop up. `told` hears of every batch how many rows it has."""
    before = await asyncio.to_thread(made.begin)
    async with aclosing(batches):
        async for batch in batches:
            if told:
                told(len(batch))
            if piece := before + await asyncio.to_thread(made.rows, batch):
                yield piece
                before = b""
    yield before + await asyncio.to_thread(made.end)


def _key(scope: Scope) -> tuple[UUID, UUID | None, UUID | None]:
    return scope.org_id, scope.agent_id, scope.user_id


def _memory(row: asyncpg.Record, embeddings: bool) -> Row:
    *values, embedding = row
    return [*values, embedding.to_numpy()] if embeddings else values


def _injections(row: asyncpg.Record) -> Sequence[Row]:
    supports = {one["memory_id"]: one.get("support") for one in row["observations"]}
    return [
        [_injected(row, memory, supports).get(column.name) for column in INJECTIONS]
        for memory in row["memories"]
    ]


def _injected(
    row: asyncpg.Record, memory: Mapping[str, Any], supports: Mapping[str, Any]
) -> dict[str, Any]:
    parts = dict.fromkeys(ScoreParts._fields) | named_parts(memory.get("parts"))
    support = supports.get(memory["memory_id"])
    return {**row, **memory, **parts, "support": support}


def _turn(turn: StoredTurn) -> dict[str, Any]:
    return {
        "number": turn.number,
        "request_id": turn.request_id,
        "messages": turn.messages,
        "response": turn.response,
        "model": turn.model,
        "finish_reason": turn.finish_reason,
        "complete": turn.complete,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "started_at": turn.started_at,
        "created_at": turn.created_at,
    }
