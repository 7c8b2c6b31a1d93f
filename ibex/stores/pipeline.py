"""The pipeline's work as its operators see it, each within one organization: ids, codes, times."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("pipeline")
_FAILURES: Final = 20
_RUNS: Final = 10
_CLAIMS: Final = 5_000  # that the runs are gathered from


@dataclass(frozen=True)
class JobCounts:
    """Every session that was ever completed is in exactly one of these states."""

    waiting: int
    leased: int
    done: int
    dead: int
    oldest_waiting_at: datetime | None  # of what waits: when there was something to extract

    @property
    def accepted(self) -> int:
        return self.waiting + self.leased + self.done + self.dead


@dataclass(frozen=True)
class DeadLetters:
    """Those that ended with the same error's code."""

    code: str | None
    sessions: int
    oldest_at: datetime


@dataclass(frozen=True)
class JobRecord:
    id: UUID
    session_id: UUID
    agent_id: UUID
    agent: str
    external_id: str | None  # the application's own id of the session
    status: str  # waiting | leased | done | dead
    attempts: int
    last_error: str | None  # an error code
    available_at: datetime  # of what waits: the next try; of a lease: its end
    queued_at: datetime  # since when there was something to extract
    claimed_at: datetime | None  # None: by nobody since then
    run_id: str | None  # that claimed it last
    turn_count: int
    last_extracted_turn: int
    updated_at: datetime


@dataclass(frozen=True)
class FailedJob:
    session_id: UUID
    status: str
    attempts: int
    last_error: str | None  # an error code
    available_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class RunRecord:
    """A run by what became of its sessions; one that another run claimed since counts there."""

    run_id: str
    started_at: datetime  # when it claimed them
    last_at: datetime | None  # when the last of them was settled
    sessions: int
    leased: int  # at work
    done: int
    waiting: int  # failed, to be tried again
    dead: int


class PipelineReader:
    """`agent_id`: of one agent only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self, org_id: UUID, agent_id: UUID | None = None) -> JobCounts:
        return JobCounts(**(await self._fetch("counts", org_id, agent_id))[0])

    async def dead_by_code(self, org_id: UUID, agent_id: UUID | None = None) -> list[DeadLetters]:
        """The most frequent first."""
        return [DeadLetters(**row) for row in await self._fetch("dead_by_code", org_id, agent_id)]

    async def dead_letters(
        self,
        org_id: UUID,
        agent_id: UUID | None = None,
        *,
        code: str | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> list[JobRecord]:
        """Sessions that were given up, newest first; `after` is the last id of the page before."""
        rows = await self._fetch("dead_letters", org_id, agent_id, code, after, limit)
        return [JobRecord(**row) for row in rows]

    async def job(self, org_id: UUID, session_id: UUID) -> JobRecord | None:
        """None: the session was never completed, or there is none."""
        rows = await self._fetch("job", org_id, session_id)
        return JobRecord(**rows[0]) if rows else None

    async def failures(self, org_id: UUID, agent_id: UUID | None = None) -> list[FailedJob]:
        """The latest that are not over, at most 20."""
        rows = await self._fetch("failures", org_id, agent_id, _FAILURES)
        return [FailedJob(**row) for row in rows]

    async def runs(self, org_id: UUID, agent_id: UUID | None = None) -> list[RunRecord]:
        """The latest first, at most ten."""
        rows = await self._fetch("runs", org_id, agent_id, _CLAIMS, _RUNS)
        return [RunRecord(**row) for row in rows]

    async def _fetch(self, name: str, org_id: UUID, *parameters: object) -> list[Any]:
        async with self._database.tenant(org_id) as connection:
            return await connection.fetch(_SQL[name], org_id, *parameters)
