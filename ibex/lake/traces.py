"""Traces and the usage of each day, from ClickHouse.

ClickHouse forgets traces after 90 days, the lake does not: days that are about to go there are left
as they were written.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from urllib3.exceptions import HTTPError

from ibex.errors import TracesUnavailableError
from ibex.lake.manifest import Day
from ibex.lake.sources import Earlier, Row, SourceDays
from ibex.pricing import Prices, cost_usd
from ibex.settings import Settings
from ibex.stores.postgres import Database
from ibex.stores.queries import load
from ibex.stores.traces import open_clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_SQL = load("lake_traces")
_AGENTS: Final = load("lake_sources")["agents"]
_PAGE: Final = 20_000  # traces of one question

T = TypeVar("T")


class ClickHouse:
    """The questions of one run: a client, opened at the first of them.

    Raises TracesUnavailableError, and DatabaseUnavailableError where names are asked for.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._client: Client | None = None

    async def days(self, org_id: UUID) -> SourceDays:
        found = await self.ask("days", org_id)
        (horizon,) = await self.ask("since", org_id)
        return SourceDays(
            (Day(_date(row["day"]), row["fingerprint"], row["rows"]) for row in found),
            _date(horizon["since"]),
        )

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    async def agents(self, org_id: UUID) -> Mapping[str, str]:
        """Their names by id."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_AGENTS, org_id)
        return {str(row["id"]): row["name"] for row in rows}

    async def ask(self, what: str, org_id: UUID, **parameters: object) -> list[Row]:
        def ask() -> list[Row]:
            answer = self._opened().query(_SQL[what], parameters={"org": str(org_id), **parameters})
            return [dict(row) for row in answer.named_results()]

        return await _answered(ask)

    def _opened(self) -> "Client":
        if self._client is None:
            self._client = open_clickhouse(self._settings)
        return self._client


class TraceSource:
    def __init__(self, traces: ClickHouse) -> None:
        self._traces = traces

    async def days(self, org_id: UUID) -> SourceDays:
        return await self._traces.days(org_id)

    async def rows(
        self, org_id: UUID, days: Sequence[Day], earlier: Earlier
    ) -> AsyncIterator[tuple[date, list[Row]]]:
        names = await self._traces.agents(org_id)
        for day in days:
            after: Mapping[str, object] = {"agent": "", "at": -1, "request": ""}
            while page := await self._traces.ask(
                "traces", org_id, day=_number(day.date), page=_PAGE, **after
            ):
                last = page[-1]
                after = {
                    "agent": last["agent_id"],
                    "at": last["at"],
                    "request": last["request_id"],
                }
                yield (
                    day.date,
                    [
                        row | {"agent": names.get(row["agent_id"]), "started_at": _time(row["at"])}
                        for row in page
                    ],
                )


class UsageSource:
    def __init__(self, traces: ClickHouse, prices: Prices) -> None:
        self._traces = traces
        self._prices = prices

    async def days(self, org_id: UUID) -> SourceDays:
        return await self._traces.days(org_id)

    async def rows(
        self, org_id: UUID, days: Sequence[Day], earlier: Earlier
    ) -> AsyncIterator[tuple[date, list[Row]]]:
        names = await self._traces.agents(org_id)
        for day in days:
            found = await self._traces.ask("usage", org_id, day=_number(day.date))
            yield day.date, [self._row(row, names) for row in found]

    def _row(self, row: Row, names: Mapping[str, str]) -> Row:
        p50, p95, p99 = row["quantiles"]
        cost = cost_usd(
            row["model"], row["prompt_tokens"] or 0, row["completion_tokens"] or 0, self._prices
        )
        return row | {
            "agent": names.get(row["agent_id"]),
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "cost_usd": None if cost is None else float(cost),
            "first_at": _time(row["first_at"]),
            "last_at": _time(row["last_at"]),
        }


async def _answered(ask: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(ask)
    except (ClickHouseError, HTTPError, OSError) as error:
        raise TracesUnavailableError(
            f"ClickHouse does not answer ({type(error).__name__})."
        ) from error


_EPOCH: Final = date(1970, 1, 1)


def _date(days: int) -> date:
    return _EPOCH + timedelta(days)


def _number(day: date) -> int:
    return (day - _EPOCH).days


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
