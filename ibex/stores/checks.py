"""What checks found, by organization: a row for each time in which one passed, or failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from ibex.checks.catalogue import Name, Result
from ibex.ids import new_id
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("checks")


@dataclass(frozen=True)
class CheckRecord:
    id: UUID
    check_name: str
    passed: bool
    severity: str  # of a failure: warn | error
    looked_at: int
    value: float
    threshold: float  # the largest value that passes
    found: Mapping[str, int]  # what is wrong: how many have it
    examples: Sequence[str]  # ids
    error: str | None  # the code of what kept the check from looking
    run_id: str | None  # of Dagster
    since: datetime  # it has passed, or failed
    checked_at: datetime  # the last time


class CheckStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def organizations(self, name: Name) -> list[UUID]:
        """All of them; those that the check has not looked at for longest come first."""
        async with self._database.system() as connection:
            return [row["id"] for row in await connection.fetch(_SQL["organizations"], name)]

    async def record(
        self, org_id: UUID, result: Result, run_id: str | None, now: datetime, keep: timedelta
    ) -> None:
        """A new row when it passes and did not before, or the other way round; else the last row
        has the figures of now. Rows that ended before `keep` go."""
        name, seen = result.check.name, result.seen
        async with self._database.tenant(org_id) as connection:
            last = await connection.fetchrow(_SQL["last_result"], org_id, name)
            same = last is not None and last["passed"] is result.passed
            figures = (
                name,
                result.passed,
                result.severity,
                seen.looked_at,
                result.value,
                result.threshold,
                dict(seen.found),
                list(seen.examples),
                result.error,
                run_id,
                now,
            )
            if last is not None and same:
                await connection.execute(_SQL["renew_result"], org_id, last["id"], *figures)
            else:
                await connection.execute(_SQL["add_result"], org_id, new_id(), *figures)
            await connection.execute(_SQL["forget_results"], org_id, name, now - keep)

    async def latest(self, org_id: UUID) -> list[CheckRecord]:
        """Of each check that has looked at the organization."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["latest"], org_id)
        return [CheckRecord(**row) for row in rows]

    async def results(
        self, org_id: UUID, name: Name | None, *, after: UUID | None = None, limit: int
    ) -> list[CheckRecord]:
        """Newest first, of one check or of all."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["results"], org_id, name, after, limit)
        return [CheckRecord(**row) for row in rows]
