"""Memories out of a file into PostgreSQL: what an export wrote comes back the same.

Ids are kept. What is there already stays as it is, so a file can be imported again, and goes on
where it was stopped. A memory whose words the same agent and user have in force is that memory; one
that was erased does not come back. Words are redacted and judged as anybody's: memory_rows.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

import numpy as np
import pgvector
from pydantic import ValidationError

from ibex.embedding import DIMENSIONS, EmbedderClient
from ibex.errors import AgentNotFoundError, InvalidRequestError
from ibex.ids import new_id, parse_id
from ibex.importing import LineError
from ibex.memory.model import Vector
from ibex.stores import memories_write
from ibex.stores.identity import IdentityStore
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load
from ibex.transfer.memory_rows import EdgeRow, Incoming, Statement, incoming
from ibex.transfer.reading import RawRow

BATCH: Final = 200  # rows of one transaction
_ERRORS: Final = 1_000  # kept of a file; all of them are counted
_SQL = load("transfer")


@dataclass(frozen=True)
class MemoryImport:
    """What became of the rows."""

    created: int = 0
    unchanged: int = 0  # they were there, or their words were
    kept: int = 0  # the memory of this id says something else here, and was left as it is
    erased: int = 0  # they were erased here, and stay so
    quarantined: int = 0  # of the created ones, those that the file calls active and that wait
    embedded: int = 0  # texts whose vectors were made anew
    wrong: int = 0
    errors: tuple[LineError, ...] = ()  # of the wrong ones the first 1,000


@dataclass(frozen=True)
class _Owned:
    owner: Owner
    memory: Incoming = field(repr=False)


class MemoryImporter:
    def __init__(
        self,
        org_id: UUID,
        database: Database,
        embedder: EmbedderClient,
        embedding_model: str,
        *,
        agent: str | None = None,
        create_agents: bool = False,
        reviewed: bool = False,
    ) -> None:
        """`agent`: whose memories they are, where a row does not say. `reviewed`: what the file
        calls active stays active, whatever it reads like."""
        self._org_id = org_id
        self._database = database
        self._identity = IdentityStore(database)
        self._embedder = embedder
        self._model = embedding_model
        self._agent = agent
        self._create_agents = create_agents
        self._reviewed = reviewed
        self._agents: dict[str, UUID] = {}
        self._users: dict[str, UUID] = {}
        self._same: dict[UUID, UUID] = {}  # the file's ids of memories that have others here
        self.touched: set[Owner] = set()
        self.has_edges = False

    async def add(self, rows: Sequence[RawRow], done: MemoryImport) -> MemoryImport:
        """The summary with these rows in it.

        Raises DatabaseUnavailableError, EmbedderUnavailableError: those are not the rows' fault.
        """
        owned: list[_Owned] = []
        for row in rows:
            try:
                memory = incoming(row.checked, datetime.now(UTC), reviewed=self._reviewed)
                owned.append(_Owned(await self._owner(memory), memory))
            except (InvalidRequestError, AgentNotFoundError) as error:
                errors = done.errors
                if len(errors) < _ERRORS:
                    errors = (*errors, LineError(row.place, error.message))
                done = replace(done, wrong=done.wrong + 1, errors=errors)
        self.has_edges = self.has_edges or any(one.memory.row.edges for one in owned)
        fresh, done = await self._fresh(owned, done)
        if not fresh:
            return done
        vectors, embedded = await self._vectors(fresh)
        created = await self._write(fresh, vectors)
        self.touched.update(one.owner for one in fresh if one.memory.row.id in created)
        doubted = sum(one.memory.is_doubted for one in fresh if one.memory.row.id in created)
        return replace(
            done,
            created=done.created + len(created),
            unchanged=done.unchanged + len(fresh) - len(created),
            quarantined=done.quarantined + doubted,
            embedded=done.embedded + embedded,
        )

    async def tie(self, rows: Sequence[RawRow]) -> None:
        """The edges of these rows, after all memories are there."""
        edges = []
        for row in rows:
            values = row.values or {}
            start = parse_id(str(values.get("id")))
            for one in values.get("edges") or () if start else ():
                try:
                    edge = EdgeRow.model_validate(one)
                except ValidationError:  # the row was named as a wrong one before
                    continue
                edges.append(
                    {
                        "id": str(new_id()),
                        "from_id": str(self._same.get(start, start) if start else None),
                        "to_id": str(self._same.get(edge.to, edge.to)),
                        "kind": edge.kind,
                        "reason": edge.reason,
                    }
                )
        async with self._database.tenant(self._org_id) as connection:
            await connection.execute(_SQL["add_edges"], self._org_id, edges)

    async def finish(self) -> None:
        """Successors that are known here by another id are named by it."""
        if self._same:
            async with self._database.tenant(self._org_id) as connection:
                await connection.execute(
                    _SQL["follow"], self._org_id, list(self._same), list(self._same.values())
                )

    async def _owner(self, memory: Incoming) -> Owner:
        name = memory.row.agent or self._agent
        if name is None:
            raise InvalidRequestError("agent: the row names none; add --agent for those rows.")
        if name not in self._agents:
            self._agents[name] = await self._found_agent(name)
        user = memory.row.user
        if user is not None and user not in self._users:
            self._users[user] = await self._identity.user(self._org_id, user)
        return Owner(self._org_id, self._agents[name], self._users[user] if user else None)

    async def _found_agent(self, name: str) -> UUID:
        try:
            return (await self._identity.agent(self._org_id, name)).id
        except AgentNotFoundError:
            if not self._create_agents:
                raise AgentNotFoundError(
                    "The agent does not exist; add --create-agents to make it."
                ) from None
            return await self._identity.create_agent(self._org_id, name)

    async def _fresh(
        self, owned: Sequence[_Owned], done: MemoryImport
    ) -> tuple[list[_Owned], MemoryImport]:
        """Those that are not there yet, without sessions that are not there either."""
        ids = [one.memory.row.id for one in owned]
        sessions = {
            one.session_id
            for owner in owned
            for one in (owner.memory.row, *(said.row for said in owner.memory.statements))
            if one.session_id
        }
        async with self._database.tenant(self._org_id) as connection:
            known = dict(await self._fetch(connection, "known", ids))
            erased = {row[0] for row in await self._fetch(connection, "erased", [*ids, *sessions])}
            there = {row[0] for row in await self._fetch(connection, "sessions_there", sessions)}
            by_words = await self._by_words(connection, owned)
        fresh: list[_Owned] = []
        for one in owned:
            row = one.memory.row
            if row.id in known:
                name = "unchanged" if known[row.id] == one.memory.content_hash else "kept"
            elif row.id in erased or row.session_id in erased:
                name = "erased"
            elif row.id in by_words:
                self._same[row.id] = by_words[row.id]
                name = "unchanged"
            else:
                fresh.append(_within(one, there))
                continue
            done = replace(done, **{name: getattr(done, name) + 1})
        return fresh, done

    async def _by_words(self, connection: Connection, owned: Sequence[_Owned]) -> dict[UUID, UUID]:
        """By the file's ids, ours of what says the same in force."""
        in_force = [one for one in owned if one.memory.row.valid_to is None]
        same = await self._fetch(
            connection,
            "known_words",
            [one.owner.agent_id for one in in_force],
            [one.owner.user_id for one in in_force],
            [one.memory.content_hash for one in in_force],
        )
        return {in_force[place - 1].memory.row.id: ours for place, ours in same}

    async def _fetch(
        self, connection: Connection, name: str, *lists: Iterable[object]
    ) -> list[Any]:
        return await connection.fetch(_SQL[name], self._org_id, *map(list, lists))

    async def _vectors(self, fresh: Sequence[_Owned]) -> tuple[dict[str, Vector], int]:
        """By their words, those of the file where they can be used; how many were made."""
        vectors: dict[str, Vector] = {}
        wanted: set[str] = set()
        for one in fresh:
            found = self._usable(one.memory)
            if found is None:
                wanted.add(one.memory.fact.content)
            else:
                vectors[one.memory.fact.content] = found
            wanted.update(said.fact.content for said in one.memory.statements if not said.is_own)
        missing = sorted(wanted - set(vectors))
        vectors.update(zip(missing, await self._embedder.embed(missing), strict=True))
        return vectors, len(missing)

    def _usable(self, memory: Incoming) -> Vector | None:
        row = memory.row
        if row.embedding is None or row.embedding_model != self._model:
            return None
        if memory.fact.content != row.content or len(row.embedding) != DIMENSIONS:
            return None
        vector = np.asarray(row.embedding, np.float32)
        return vector if abs(float(np.linalg.norm(vector)) - 1) < 1e-3 else None

    async def _write(self, fresh: Sequence[_Owned], vectors: dict[str, Vector]) -> set[UUID]:
        now = datetime.now(UTC)
        said = [(one, statement) for one in fresh for statement in one.memory.statements]
        async with self._database.tenant(self._org_id) as connection:
            owners = {one.owner for one in fresh}
            for owner in sorted(owners, key=lambda one: (one.agent_id, str(one.user_id))):
                await memories_write.lock(connection, owner)
            rows = await connection.fetch(
                _SQL["add_memories"],
                self._org_id,
                [_memory_row(one, now) for one in fresh],
                [pgvector.Vector(vectors[one.memory.fact.content]) for one in fresh],
                self._model,
            )
            created = {row["id"] for row in rows}
            others = [one for one in fresh if one.memory.row.id not in created]
            self._same.update(await self._by_words(connection, others))
            kept = [(one, made) for one, made in said if one.memory.row.id in created]
            await connection.execute(
                _SQL["add_said"],
                self._org_id,
                [_statement_row(one, made) for one, made in kept],
                [
                    None if made.is_own else pgvector.Vector(vectors[made.fact.content])
                    for _, made in kept
                ],
                self._model,
            )
        return created


def batched(rows: Iterable[RawRow], size: int = BATCH) -> Iterable[list[RawRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


def _within(one: _Owned, sessions: set[UUID]) -> _Owned:
    """A reference to a session that is not here is left out."""
    memory = one.memory
    row = memory.row
    if row.session_id not in sessions:
        row = row.model_copy(update={"session_id": None})
    statements = tuple(
        said
        if said.row.session_id in sessions
        else replace(said, row=said.row.model_copy(update={"session_id": None}))
        for said in memory.statements
    )
    return replace(one, memory=replace(memory, row=row, statements=statements))


def _memory_row(one: _Owned, now: datetime) -> dict[str, Any]:
    memory, row = one.memory, one.memory.row
    created = row.created_at or now
    return row.model_dump(
        mode="json", exclude={"agent", "user", "statements", "edges", "embedding"}
    ) | {
        "version_id": str(new_id()),
        "agent_id": str(one.owner.agent_id),
        "user_id": _text(one.owner.user_id),
        "subject": memory.fact.subject,
        "attribute": memory.fact.attribute,
        "content": memory.fact.content,
        "content_hash": memory.content_hash.hex(),
        "status": memory.status,
        "quarantine_reason": memory.reason,
        "valid_from": (row.valid_from or created).isoformat(),
        "redactions": memory.redactions,
        "tags": memory.fact.tags,
        "created_at": created.isoformat(),
        "updated_at": (row.updated_at or created).isoformat(),
    }


def _statement_row(one: _Owned, said: Statement) -> dict[str, Any]:
    return said.row.model_dump(mode="json") | {
        "memory_id": str(one.memory.row.id),
        "agent_id": str(one.owner.agent_id),
        "user_id": _text(one.owner.user_id),
        "subject": said.fact.subject,
        "attribute": said.fact.attribute,
        "content": None if said.is_own else said.fact.content,
        "content_hash": said.content_hash.hex(),
    }


def _text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)
