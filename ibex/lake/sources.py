"""Where the rows of the lake come from: PostgreSQL, and the archive for words it has no longer.

A source tells of each day a fingerprint of all that its rows are made of. It is asked before the
rows are: what changes in between is written already, or the next fingerprint differs.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg

from ibex.conversation import text_of
from ibex.lake.manifest import Day
from ibex.sessions import StoredTurn
from ibex.stores.injections import named_parts
from ibex.stores.postgres import Database
from ibex.stores.queries import load
from ibex.stores.turns import TurnReader

_SQL = load("lake_sources")
_BATCH: Final = 500  # rows of one question
_PLANNED: Final = 200_000  # rows whose ids are known at one time
_LONGEST: Final = 120.0  # seconds, of one statement
_SESSIONS_AT_ONCE: Final = 8  # archives that are read side by side

Row = dict[str, Any]


class Earlier(Protocol):
    """What the lake has of turns already."""

    async def words(self, turn_ids: Sequence[str]) -> Mapping[str, Row]:
        """`roles`, `messages`, `said` and `answer` by the turn's id, of those that it has."""


def never(_day: date) -> bool:
    return False


class Source(Protocol):
    """Of one table of the lake; rows are dictionaries with its columns but `date`."""

    async def days(self, org_id: UUID) -> "SourceDays": ...

    def rows(
        self, org_id: UUID, days: Sequence[Day], earlier: Earlier
    ) -> AsyncIterator[tuple[date, list[Row]]]:
        """The rows of these days, day by day, sorted as the table is, some at a time."""


class SourceDays:
    """The days that a source has rows of."""

    def __init__(self, days: Iterable[Day], since: date = date.min) -> None:
        """`since`: what was before, the source has forgotten and the lake keeps."""
        self.days = {day.date: day for day in days}
        self.since = since

    def changed(
        self, written: Mapping[date, Day], again: Callable[[date], bool] = never
    ) -> list[Day]:
        """The days to write, in order: those with another fingerprint than was written, those that
        `again` wants, and without rows those whose rows are all gone."""
        gone = (Day(day, 0, 0) for day in written if day not in self.days and day >= self.since)
        new = (
            day
            for day in self.days.values()
            if again(day.date)
            or day.date not in written
            or written[day.date].fingerprint != day.fingerprint
        )
        return sorted((*gone, *new), key=lambda day: day.date)


class PostgresSource:
    """Raises DatabaseUnavailableError, and of turns what TurnReader does."""

    def __init__(self, database: Database, turns: TurnReader, table: str) -> None:
        self._database = database
        self._turns = turns
        self._table = table

    async def days(self, org_id: UUID) -> SourceDays:
        rows = await self._fetch("days", org_id)
        return SourceDays(Day(row["date"], row["fingerprint"], row["rows"]) for row in rows)

    async def rows(
        self, org_id: UUID, days: Sequence[Day], earlier: Earlier
    ) -> AsyncIterator[tuple[date, list[Row]]]:
        for group in _groups(days):
            ids: defaultdict[date, list[UUID]] = defaultdict(list)
            for found in await self._fetch("ids", org_id, [day.date for day in group]):
                ids[found["date"]].append(found["id"])
            for day, wanted in sorted(ids.items()):
                for start in range(0, len(wanted), _BATCH):
                    batch = wanted[start : start + _BATCH]
                    yield day, await self._batch(org_id, batch, earlier)

    async def _batch(self, org_id: UUID, ids: Sequence[UUID], earlier: Earlier) -> list[Row]:
        """In the order of the ids; nothing of one that is gone."""
        found = {row["key"]: row for row in await self._fetch("rows", org_id, list(ids))}
        records = [found[one] for one in ids if one in found]
        if self._table == "turns":
            return await self._turn_rows(org_id, records, earlier)
        make = _MAKERS.get(self._table)
        if make is None:
            return [dict(record) for record in records]
        return [row for record in records for row in make(record)]

    async def _turn_rows(
        self, org_id: UUID, records: Sequence[asyncpg.Record], earlier: Earlier
    ) -> list[Row]:
        missing = [record for record in records if record["messages"] is None]
        known = await earlier.words([record["turn_id"] for record in missing])
        gone = {UUID(record["session_id"]) for record in missing if record["turn_id"] not in known}
        archived = await self._archived(org_id, gone)
        rows: list[Row] = []
        for record in records:
            row = dict(record)
            if record["messages"] is None and record["turn_id"] in known:
                rows.append(row | known[record["turn_id"]])
                continue
            if record["messages"] is None:
                turn = archived[UUID(record["session_id"]), record["number"]]
                row |= {"messages": turn.messages or (), "response": turn.response}
            rows.append(row | words(row["messages"], row["response"]))
        return rows

    async def _archived(
        self, org_id: UUID, sessions: set[UUID]
    ) -> Mapping[tuple[UUID, int], StoredTurn]:
        gate = asyncio.Semaphore(_SESSIONS_AT_ONCE)

        async def read(session_id: UUID) -> list[tuple[tuple[UUID, int], StoredTurn]]:
            async with gate:
                turns = await self._turns.turns(org_id, session_id)
            return [((session_id, turn.number), turn) for turn in turns]

        read_all = await asyncio.gather(*map(read, sessions))
        return dict(pair for pairs in read_all for pair in pairs)

    async def _fetch(self, what: str, org_id: UUID, *arguments: object) -> list[asyncpg.Record]:
        async with self._database.tenant(org_id) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(
                _SQL[f"{self._table}_{what}"], org_id, *arguments, timeout=_LONGEST
            )
        return rows


def _groups(days: Sequence[Day]) -> list[list[Day]]:
    """Days whose ids are asked for together."""
    groups: list[list[Day]] = []
    rows = 0
    for day in days:
        if not groups or rows + day.rows > _PLANNED:
            groups.append([])
            rows = 0
        groups[-1].append(day)
        rows += day.rows
    return groups


def words(messages: Sequence[Mapping[str, Any]], response: Mapping[str, Any] | None) -> Row:
    """A turn's messages with their texts, the answer last; the user's words and the model's."""
    said = [*messages, *([response] if response else ())]
    texts = [
        {
            "role": str(one.get("role", "")),
            "name": name if isinstance(name := one.get("name"), str) else None,
            "text": text_of(one.get("content")),
        }
        for one in said
    ]
    own = [one["text"] for one in texts[: len(messages)] if one["role"] == "user"]
    return {
        "roles": [one["role"] for one in texts],
        "messages": texts,
        "said": "\n".join(text for text in own if text) if own else None,
        "answer": texts[-1]["text"] if response else None,
    }


def _memory(record: asyncpg.Record) -> list[Row]:
    counts = [{"kind": kind, "count": count} for kind, count in record["redactions"].items()]
    return [dict(record) | {"redactions": counts}]


def _injection(record: asyncpg.Record) -> list[Row]:
    """A row for each memory that the request was given."""
    request = {
        name: value
        for name, value in record.items()
        if name not in {"key", "memories", "observations"}
    }
    support = {str(one["memory_id"]): one.get("support") for one in record["observations"]}
    return [
        request
        | {
            "memory_id": memory["memory_id"],
            "version": memory.get("version"),
            "place": place,
            "category": memory.get("category"),
            "score": memory.get("score"),
            **named_parts(memory.get("parts")),
            "tokens": memory.get("tokens"),
            "origin": memory.get("origin"),
            "support": support.get(memory["memory_id"]),
        }
        for place, memory in enumerate(record["memories"], 1)
    ]


_MAKERS: Final = {"memories": _memory, "injections": _injection}
POSTGRES: Final = ("sessions", "turns", "memories", "memory_versions", "injections")
