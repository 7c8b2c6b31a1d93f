"""Where usefulness is kept: what was observed of each answer, the votes, the average they make.

An answer counts once, whoever observes it how often: its injection is marked in the transaction
that moves the memories. The votes are rows, so that one can be changed and is not counted twice.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from ibex.errors import InvalidRequestError, NotFoundError
from ibex.ids import new_id
from ibex.memory.model import NO_VECTOR, Category, Vector
from ibex.memory.usefulness import RESTS, Observation, averaged, usefulness
from ibex.settings import DEFAULT_EMBEDDING_MODEL
from ibex.stores.injections import folded, named_parts
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("usefulness")
_LOG = logging.getLogger("ibex.usefulness")


@dataclass(frozen=True)
class WaitingAnswers:
    """Of one organization."""

    org_id: UUID
    answers: int
    since: datetime


@dataclass(frozen=True)
class UnobservedAnswer:
    """An answer, and what its request was given: ids and figures."""

    injection_id: UUID
    session_id: UUID
    turn: int | None  # None: another try replaced it, or the record cannot be read
    response: Mapping[str, Any] | None = field(repr=False)
    relevance: Mapping[UUID, float]  # to the question, of each memory that the request carried
    chosen: frozenset[UUID]  # those that this request was the first of its session to carry
    at: datetime


@dataclass(frozen=True)
class StoredMemory:
    category: Category
    content: str = field(repr=False)
    embedding: Vector = field(repr=False)


@dataclass(frozen=True)
class Observed:
    """What is to be recorded of an answer."""

    answer: UnobservedAnswer
    observations: Sequence[Observation]


@dataclass(frozen=True)
class Voted:
    """Whom a vote moved."""

    memories: tuple[UUID, ...]  # by id
    owners: frozenset[Owner]


@dataclass
class _Move:
    """What happens to one memory in a transaction."""

    observations: list[Observation] = field(default_factory=list)
    accesses: int = 0
    accessed_at: datetime | None = None


class UsefulnessStore:
    def __init__(self, database: Database, model: str = DEFAULT_EMBEDDING_MODEL) -> None:
        """`model`: whose vectors of the memories are compared with the answers'."""
        self._database = database
        self._model = model

    async def waiting(self) -> list[WaitingAnswers]:
        """The organizations with answers to observe, the longest waiting first."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["waiting"])
        return [WaitingAnswers(**row) for row in rows]

    async def owners_at_work(self, since: datetime) -> list[Owner]:
        """Agents and users with a turn since then, and the agents of those users."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["owners_at_work"], since)
        owners = [Owner(**row) for row in rows]
        agents = {Owner(one.org_id, one.agent_id, None) for one in owners}
        return [*agents, *(one for one in owners if one.user_id is not None)]

    async def unobserved(self, org_id: UUID, limit: int) -> list[UnobservedAnswer]:
        """The oldest first."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["unobserved"], org_id, limit)
        return [_answer(row) for row in rows]

    async def unobserved_request(self, org_id: UUID, request_id: str) -> UnobservedAnswer | None:
        """None: it was observed, or is none of this organization."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["unobserved_request"], org_id, request_id)
        return _answer(row) if row else None

    async def given(self, org_id: UUID, memory_ids: Iterable[UUID]) -> dict[UUID, StoredMemory]:
        """As they are now; those that are gone are left out."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["given"], org_id, list(memory_ids), self._model)
        return {
            row["id"]: StoredMemory(
                Category(row["category"]),
                row["content"],
                NO_VECTOR if row["embedding"] is None else row["embedding"].to_numpy(),
            )
            for row in rows
        }

    async def record(self, org_id: UUID, observed: Sequence[Observed]) -> frozenset[Owner]:
        """Whose memories moved. Answers that were recorded before change nothing."""
        if not observed:
            return frozenset()
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["settle"],
                org_id,
                [
                    {
                        "id": str(one.answer.injection_id),
                        "observations": [_rounded(each) for each in one.observations],
                    }
                    for one in observed
                ],
            )
            settled = {row["id"] for row in rows}
            mine = [one for one in observed if one.answer.injection_id in settled]
            owners = await _move(connection, org_id, _moves(mine))
            given = {(each, one.answer.session_id) for one in mine for each in one.answer.relevance}
            await connection.execute(
                _SQL["note_given"],
                org_id,
                [memory_id for memory_id, _ in given],
                [session_id for _, session_id in given],
            )
        return owners

    async def vote_on_request(
        self,
        org_id: UUID,
        request_id: str,
        token_id: UUID,
        *,
        helpful: bool,
        memory_ids: Sequence[UUID] | None = None,
    ) -> Voted:
        """Of the memories that the request was given those that are named; without names those
        that its answer rests on, as it was observed. The vote before it on the same request is
        forgotten.

        Raises NotFoundError, and InvalidRequestError when the request was not given one of them.
        """
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["injected"], org_id, request_id)
            if row is None:
                raise NotFoundError("Nothing was recorded as injected into this request.")
            meant = _meant(row["memories"], row["observations"], memory_ids)
            before = await connection.fetch(_SQL["voted"], org_id, request_id)
            touched = meant.union(one["memory_id"] for one in before)
            locked = await connection.fetch(_SQL["lock_memories"], org_id, list(touched))
            there = sorted(meant.intersection(one["id"] for one in locked))
            await connection.execute(_SQL["withdraw"], org_id, request_id, there)
            await connection.execute(
                _SQL["vote_on_request"],
                org_id,
                [new_id() for _ in there],
                there,
                request_id,
                token_id,
                helpful,
            )
            owners = await _move(connection, org_id, {one: _Move() for one in touched})
        return Voted(tuple(there), owners)

    async def vote_on_memory(
        self, org_id: UUID, memory_id: UUID, token_id: UUID, *, helpful: bool
    ) -> Voted:
        """A token has one vote on a memory; the last one counts. Without the memory nobody is
        moved."""
        async with self._database.tenant(org_id) as connection:
            if not await connection.fetch(_SQL["lock_memories"], org_id, [memory_id]):
                return Voted((), frozenset())
            await connection.execute(
                _SQL["vote_on_memory"], org_id, new_id(), memory_id, token_id, helpful
            )
            owners = await _move(connection, org_id, {memory_id: _Move()})
        return Voted((memory_id,), owners)


async def inherit(
    connection: Connection, org_id: UUID, created: Sequence[UUID], superseded: Sequence[UUID]
) -> None:
    """What took the place of a memory is as useful as that was. Inside the caller's transaction."""
    if created and superseded:
        await connection.execute(_SQL["inherit"], org_id, created, superseded)


def _answer(row: asyncpg.Record) -> UnobservedAnswer:
    turn: int | None = row["number"]
    relevance: dict[UUID, float] = {}
    chosen: frozenset[UUID] = frozenset()
    try:
        for one in row["memories"]:
            parts = named_parts(one.get("parts"))
            relevance[UUID(one["memory_id"])] = parts.get("relevance", 0.0)
        made = folded([row["decisions"]]).values()
        chosen = frozenset(one.id for decision in made for one in decision.memories)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Others must not wait behind it for ever.
        _LOG.warning("injection %s cannot be read (%s)", row["id"], type(error).__name__)
        turn = None
    return UnobservedAnswer(
        injection_id=row["id"],
        session_id=row["session_id"],
        turn=turn,
        response=row["response"],
        relevance=relevance,
        chosen=chosen,
        at=row["created_at"],
    )


def _rounded(observation: Observation) -> dict[str, Any]:
    return {
        "memory_id": str(observation.memory_id),
        "support": round(observation.support, 4),
        "weight": round(observation.weight, 4),
    }


def _moves(observed: Iterable[Observed]) -> dict[UUID, _Move]:
    """By memory, in the order of the answers."""
    moves: dict[UUID, _Move] = {}
    for one in observed:
        if one.answer.turn is None:
            continue
        for memory_id in one.answer.relevance:
            move = moves.setdefault(memory_id, _Move())
            move.accesses += memory_id in one.answer.chosen
            move.accessed_at = max(move.accessed_at or one.answer.at, one.answer.at)
        for observation in one.observations:
            moves[observation.memory_id].observations.append(observation)
    return moves


def _meant(
    given: Sequence[Mapping[str, Any]],
    observations: Sequence[Mapping[str, Any]],
    named: Sequence[UUID] | None,
) -> set[UUID]:
    if named is None:
        return {UUID(one["memory_id"]) for one in observations if one["support"] >= RESTS}
    meant = set(named)
    if not meant <= {UUID(one["memory_id"]) for one in given}:
        raise InvalidRequestError(
            "The request was not given one of these memories.",
            hint="GET /api/v1/injections/{request_id} lists what it was given.",
        )
    return meant


async def _move(
    connection: Connection, org_id: UUID, moves: Mapping[UUID, _Move]
) -> frozenset[Owner]:
    """Average and usefulness of these memories anew; whose they are."""
    rows = await connection.fetch(_SQL["lock_memories"], org_id, list(moves))
    votes = {
        row["memory_id"]: (row["helpful"], row["unhelpful"])
        for row in await connection.fetch(_SQL["votes"], org_id, list(moves))
    }
    averages = [_average(row["observed_usefulness"], moves[row["id"]]) for row in rows]
    await connection.execute(
        _SQL["move"],
        org_id,
        [row["id"] for row in rows],
        averages,
        [
            usefulness(average, *votes.get(row["id"], (0, 0)))
            for row, average in zip(rows, averages, strict=True)
        ],
        [moves[row["id"]].accesses for row in rows],
        [moves[row["id"]].accessed_at for row in rows],
    )
    return frozenset(Owner(org_id, row["agent_id"], row["user_id"]) for row in rows)


def _average(average: float, move: _Move) -> float:
    for observation in move.observations:
        average = averaged(average, observation)
    return average
