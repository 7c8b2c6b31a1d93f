"""Which memories of an organization a check looks at, and what it reads of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import randint
from typing import Final
from uuid import UUID

import asyncpg

from ibex.memory.conflicts import Statement
from ibex.memory.model import Category
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("checks")
_IN_A_ROW: Final = 10  # memories from one place
_ORPHANED: Final = ("no_session", "no_turn", "no_statement", "no_version", "no_maker")


@dataclass(frozen=True)
class Words:
    """What a memory says, and who said it where."""

    id: UUID
    agent_id: UUID
    session_id: UUID | None
    source: str
    content: str = field(repr=False)
    subject: str = field(repr=False)
    attribute: str = field(repr=False)
    others: Sequence[str] = field(repr=False)  # of its statements, and its tags


@dataclass(frozen=True)
class Pair:
    """Two memories of the same agent and user that are near to each other."""

    newer_id: UUID
    newer: Statement
    older: Statement
    cosine: float


class Samples:
    def __init__(self, database: Database, model: str) -> None:
        """`model`: the one whose vectors are served."""
        self._database = database
        self._model = model

    async def memories(self, org_id: UUID, size: int, *, believed: bool) -> list[UUID]:
        """All, if there are not more than `size`; else the newest, and others from places drawn
        between the oldest and those."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["newest"], org_id, size, believed)
            ids: list[UUID] = [row["id"] for row in rows]
            if len(ids) < size:
                return ids
            newest = ids[: (size + 1) // 2]
            oldest: UUID = await connection.fetchval(_SQL["oldest"], org_id)
            scattered = await connection.fetch(
                _SQL["scattered"],
                org_id,
                _places(oldest, newest[-1], -(-size // (2 * _IN_A_ROW))),
                believed,
                _IN_A_ROW,
            )
        return list(dict.fromkeys([*newest, *(row["id"] for row in scattered)]))[:size]

    async def words(self, org_id: UUID, ids: Sequence[UUID]) -> list[Words]:
        rows = await self._fetch("words", org_id, ids)
        return [Words(**row) for row in rows]

    async def directives(self, org_id: UUID, agents: Sequence[UUID]) -> dict[UUID, str]:
        rows = await self._fetch("directives", org_id, agents)
        return {row["agent_id"]: row["content"] for row in rows}

    async def given(
        self, org_id: UUID, sessions: Sequence[UUID]
    ) -> dict[UUID, list[tuple[UUID, str]]]:
        """By session, the memories that its requests were given, with their words then."""
        found: dict[UUID, list[tuple[UUID, str]]] = {}
        for row in await self._fetch("given", org_id, sessions):
            found.setdefault(row["session_id"], []).append((row["memory_id"], row["content"]))
        return found

    async def doubles(self, org_id: UUID, ids: Sequence[UUID], above: float) -> list[Pair]:
        """Pairs of one of these and an older one, with a cosine above that."""
        rows = await self._fetch("doubles", org_id, ids, self._model, above)
        return [
            Pair(row["id"], _statement(row, ""), _statement(row, "o_"), row["cosine"])
            for row in rows
        ]

    async def orphans(self, org_id: UUID, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
        """Of each, what is missing behind it."""
        rows = await self._fetch("orphans", org_id, ids)
        return {row["id"]: [kind for kind in _ORPHANED if row[kind]] for row in rows}

    async def lengths(self, org_id: UUID, ids: Sequence[UUID]) -> dict[UUID, float | None]:
        """Of each one's vector of the model that is served; None: it has none."""
        rows = await self._fetch("lengths", org_id, ids, self._model)
        return {row["id"]: row["length"] for row in rows}

    async def _fetch(
        self, name: str, org_id: UUID, ids: Sequence[UUID], *arguments: object
    ) -> list[asyncpg.Record]:
        async with self._database.tenant(org_id) as connection:
            return await connection.fetch(_SQL[name], org_id, list(ids), *arguments)


def _statement(row: asyncpg.Record, prefix: str) -> Statement:
    return Statement(
        content=row[f"{prefix}content"],
        category=Category(row[f"{prefix}category"]),
        subject=row[f"{prefix}subject"],
        attribute=row[f"{prefix}attribute"],
        confidence=row[f"{prefix}confidence"],
        valid_from=row[f"{prefix}valid_from"],
    )


def _places(first: UUID, last: UUID, count: int) -> list[UUID]:
    """Ids follow time, so a number between two ids is a moment between two moments."""
    return [UUID(int=randint(first.int, last.int)) for _ in range(count)]  # noqa: S311 — no secret
