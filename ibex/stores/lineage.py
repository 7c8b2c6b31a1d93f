"""Where memories come from and where they went, read both ways.

    request → the memories it was given → the statements each rests on → run, prompt, model,
    session and turns → the session's archive
    session → the memories made from it → every request that was given one of them

One shape for all three ways in: the memories, the sessions they rest on, the requests they were
given to. Ids and figures, and the words for those who may read them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg

from ibex.errors import NotFoundError, SessionNotFoundError
from ibex.ids import parse_id
from ibex.stores.management import ManagementStore
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL: Final = load("lineage")

#: Memories of one session or request, and statements, versions and edges of one memory.
MOST: Final = 200
_EACH: Final = 50
_NOWHERE: Final = "There is no memory, request or session with this id."

Kind = Literal["memory", "request", "session"]


@dataclass(frozen=True)
class Statement:
    """One time that somebody said what a memory says, and what made it of that."""

    content: str | None = field(repr=False)  # None: the memory's own words
    source: str
    session_id: UUID | None
    turns: Sequence[int]
    message_ids: Sequence[str]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None  # of Dagster
    valid_from: datetime
    created_at: datetime


@dataclass(frozen=True)
class Version:
    version: int
    change: str
    content: str = field(repr=False)
    run_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class Edge:
    """From the newer memory to the older one."""

    kind: str
    from_memory_id: UUID
    to_memory_id: UUID
    created_at: datetime


@dataclass(frozen=True)
class Memory:
    id: UUID
    agent_id: UUID
    agent: str
    user: str | None  # the application's own id; None: the agent's memory
    category: str
    status: str
    source: str
    content: str = field(repr=False)
    version: int
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None
    session_id: UUID | None
    turns: Sequence[int]
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: UUID | None
    created_at: datetime
    statements: Sequence[Statement] = ()
    versions: Sequence[Version] = ()


@dataclass(frozen=True)
class Archive:
    bucket: str
    key: str
    rows: int  # turns
    size: int  # bytes
    sha256: str  # hexadecimal
    schema_version: int
    archived_at: datetime


@dataclass(frozen=True)
class Session:
    id: UUID
    external_id: str | None
    agent_id: UUID
    agent: str
    user: str | None
    origin: str
    status: str
    turn_count: int
    last_extracted_turn: int
    archived_turn: int
    started_at: datetime
    completed_at: datetime | None
    archive: Archive | None


@dataclass(frozen=True)
class Given:
    """A memory in a request."""

    memory_id: UUID
    version: int
    score: float | None
    support: float | None  # the chance that the answer rests on it; None: nobody has looked yet


@dataclass(frozen=True)
class Use:
    id: UUID  # the injection's, by which pages go on
    request_id: str
    session_id: UUID
    turn: int | None  # None: another try took its place
    model: str | None
    created_at: datetime
    memories: Sequence[Given]


@dataclass(frozen=True)
class Lineage:
    kind: Kind
    id: str
    memories: Sequence[Memory]
    gone: Sequence[UUID]  # memories of the request that are deleted
    more_memories: bool  # a session has more than are here
    edges: Sequence[Edge]
    sessions: Sequence[Session]
    requests: Sequence[Use]  # of the newest session first, each session's newest first
    more_requests: bool


@dataclass(frozen=True)
class _Start:
    kind: Kind
    memory_ids: Sequence[UUID]
    session_ids: Sequence[UUID] = ()
    injection_id: UUID | None = None
    more: bool = False


class LineageReader:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._management = ManagementStore(database)

    async def of(
        self,
        org_id: UUID,
        name: str,
        *,
        agent_id: UUID | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> Lineage:
        """Of a memory, a request or a session, by its id; a session also by the application's own.

        `agent_id`: the only agent that may be seen. Of the requests at most `limit`, after the one
        of the injection `after`.

        Raises NotFoundError; ConflictError when several sessions have that external id.
        """
        start = await self._start(org_id, name, agent_id)
        async with self._database.tenant(org_id) as connection:
            memories = await _memories(connection, org_id, start.memory_ids)
            edges = await connection.fetch(
                _SQL["edges"], org_id, [one.id for one in memories], _EACH
            )
            uses = await connection.fetch(
                _SQL["uses"],
                org_id,
                list(start.memory_ids),
                after,
                limit + 1,
                start.injection_id,
            )
            requests = [_use(row) for row in uses[:limit]]
            sessions = await connection.fetch(
                _SQL["sessions"], org_id, list(_session_ids(start, memories, requests))
            )
        there = {one.id for one in memories}
        return Lineage(
            kind=start.kind,
            id=name,
            memories=memories,
            gone=[one for one in start.memory_ids if one not in there],
            more_memories=start.more,
            edges=[Edge(**row) for row in edges],
            sessions=[_session(row) for row in sessions],
            requests=requests,
            more_requests=len(uses) > limit,
        )

    async def _start(self, org_id: UUID, name: str, agent_id: UUID | None) -> _Start:
        if "\0" in name:  # PostgreSQL's text holds none
            raise NotFoundError(_NOWHERE)
        identifier = parse_id(name)
        async with self._database.tenant(org_id) as connection:
            if identifier and await connection.fetchval(
                _SQL["memory"], org_id, agent_id, identifier
            ):
                return _Start("memory", [identifier])
            request = await connection.fetchrow(_SQL["request"], org_id, agent_id, name)
            if request is not None:
                return _Start(
                    "request", request["memory_ids"], [request["session_id"]], request["id"]
                )
        try:
            session_id = await self._management.find_session(org_id, name, agent_id)
        except SessionNotFoundError:
            raise NotFoundError(_NOWHERE) from None
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["made_in"], org_id, agent_id, session_id, MOST + 1)
        ids = [row["id"] for row in rows]
        return _Start("session", ids[:MOST], [session_id], more=len(ids) > MOST)


async def _memories(connection: Connection, org_id: UUID, ids: Sequence[UUID]) -> list[Memory]:
    wanted = list(ids)
    rows = await connection.fetch(_SQL["memories"], org_id, wanted)
    statements = _by_memory(await connection.fetch(_SQL["statements"], org_id, wanted, _EACH))
    versions = _by_memory(await connection.fetch(_SQL["versions"], org_id, wanted, _EACH))
    return [
        Memory(
            **row,
            statements=[Statement(**one) for one in statements.get(row["id"], ())],
            versions=[Version(**one) for one in versions.get(row["id"], ())],
        )
        for row in rows
    ]


def _by_memory(rows: Iterable[asyncpg.Record]) -> dict[UUID, list[Mapping[str, Any]]]:
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in rows:
        columns = dict(row)
        found.setdefault(columns.pop("memory_id"), []).append(columns)
    return found


def _session_ids(
    start: _Start, memories: Sequence[Memory], requests: Sequence[Use]
) -> Iterable[UUID]:
    said_in = (said.session_id for memory in memories for said in memory.statements)
    first = (memory.session_id for memory in memories)
    known = (*start.session_ids, *said_in, *first, *(use.session_id for use in requests))
    return dict.fromkeys(one for one in known if one is not None)


_ARCHIVE: Final = ("bucket", "key", "rows", "size", "schema_version", "archived_at")


def _session(row: asyncpg.Record) -> Session:
    columns = dict(row)
    digest = columns.pop("sha256")
    archive = {name: columns.pop(name) for name in _ARCHIVE}
    known = None if digest is None else Archive(**archive, sha256=digest.hex())
    return Session(**columns, archive=known)


def _use(row: asyncpg.Record) -> Use:
    supports = {one["memory_id"]: one["support"] for one in row["observations"]}
    return Use(
        id=row["id"],
        request_id=row["request_id"],
        session_id=row["session_id"],
        turn=row["turn"],
        model=row["model"],
        created_at=row["created_at"],
        memories=[
            Given(
                memory_id=UUID(one["memory_id"]),
                version=one["version"],
                score=one.get("score"),
                support=supports.get(one["memory_id"]),
            )
            for one in row["memories"]
        ],
    )
