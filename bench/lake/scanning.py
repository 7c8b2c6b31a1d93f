"""A month out of a million turns: by the lake as it is written each day, by the lake after it was
compacted, and by reading the same month's NDJSON directly."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import orjson
from rich.console import Console
from rich.progress import Progress

from bench.lake.talk import Turn
from ibex.errors import IbexError
from ibex.ids import new_id
from ibex.lake.compaction import Compaction
from ibex.lake.files import LakeFiles, to_arrow
from ibex.lake.manifest import Day, Manifest
from ibex.lake.schemas import TABLES
from ibex.lake.sql import httpfs, literal, open_lake
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_FIRST: Final = date(2025, 11, 1)
_MONTH: Final = (date(2026, 3, 1), date(2026, 4, 1))
_ROUNDS: Final = 5
_DAYS: Final = 365
_AGENTS: Final = 20
_OF_SESSION: Final = 10  # turns
_ORG: Final = "analysts"
_VALID: Final = timedelta(hours=1)
_SLOW: Final = 300.0  # seconds

_LINE: Final = (
    *("session_id", "turn_id", "agent_id", "agent", "model", "finish_reason", "complete"),
    *("prompt_tokens", "completion_tokens", "said", "answer", "date", "started_at", "created_at"),
)
#: By name. `{turns}`: what is read.
QUERIES: Final = {
    "month": """
        SELECT agent, model, count(*) AS turns, sum(prompt_tokens + completion_tokens) AS tokens
        FROM {turns} WHERE date >= DATE '2026-03-01' AND date < DATE '2026-04-01'
        GROUP BY ALL ORDER BY tokens DESC
    """,
    "month_words": """
        SELECT agent, count(*) AS turns, avg(length(answer)) AS letters FROM {turns}
        WHERE date >= DATE '2026-03-01' AND date < DATE '2026-04-01'
          AND said ILIKE '%invoice export%'
        GROUP BY ALL ORDER BY turns DESC
    """,
    "year": """
        SELECT date_trunc('month', date) AS month, agent, sum(prompt_tokens + completion_tokens)
        FROM {turns} GROUP BY ALL ORDER BY ALL
    """,
}


@dataclass(frozen=True)
class Scan:
    """Each query on a connection of its own, so that nothing is known from before."""

    way: str  # "daily", "compacted" or "ndjson"
    files: int
    mib: float  # of all turns; of NDJSON: of the month
    seconds: dict[str, float]  # median of five, by the name of the query
    opened_s: float | None  # until a connection has its views


@dataclass(frozen=True)
class Scanned:
    turns: int
    month: int  # turns of the month that is asked for
    written_s: float  # into Parquet and S3
    compacted_s: float
    scans: tuple[Scan, ...]


class Year:
    """Turns of a year of one organization, as many each day, always the same ones."""

    def __init__(self, talk: Sequence[Turn], count: int) -> None:
        self.days = [_FIRST + timedelta(days=number) for number in range(_DAYS)]
        self.each = min(count // _DAYS, len(talk))
        agents = [(str(new_id()), f"agent-{number}") for number in range(_AGENTS)]
        rows = [_row(turn, *agents[number % _AGENTS]) for number, turn in enumerate(talk)]
        self._pool = to_arrow(TABLES["turns"], _FIRST, rows)

    def of(self, day: date) -> "pa.Table":
        """Sorted as the lake's files are."""
        import pyarrow as pa  # noqa: PLC0415

        random = np.random.default_rng(day.toordinal())
        data = self._pool.take(random.choice(len(self._pool), self.each, replace=False))
        midnight = datetime.combine(day, time(), UTC)
        at = [midnight + timedelta(seconds=float(one)) for one in 86_400 * random.random(self.each)]
        sessions = [str(new_id()) for _ in range(self.each // _OF_SESSION + 1)]
        for name, values in {
            "date": [day] * self.each,
            "turn_id": [str(new_id()) for _ in range(self.each)],
            "session_id": [sessions[number // _OF_SESSION] for number in range(self.each)],
            "request_id": [str(new_id()) for _ in range(self.each)],
            "started_at": at,
            "created_at": at,
        }.items():
            place = data.schema.get_field_index(name)
            field = data.schema.field(place)
            data = data.set_column(place, field, pa.array(values, field.type))
        return data.sort_by([(name, "ascending") for name in TABLES["turns"].sort])

    async def rows(self, day: date) -> AsyncIterator["pa.Table"]:
        yield self.of(day)


async def scan(settings: Settings, count: int, talk: Sequence[Turn], console: Console) -> Scanned:
    database = await Database.connect(settings.app_dsn, name="bench", command_timeout=_SLOW)
    objects = ObjectStore(settings)
    try:
        org_id = await IdentityStore(database).create_organization(_ORG)
        manifest, table = Manifest(database), TABLES["turns"]
        files, year = LakeFiles(manifest, objects, settings.lake_bucket), Year(talk, count)
        began = perf_counter()
        with Progress(console=console, transient=True) as progress:
            for day in progress.track(year.days, description=f"Writing {count:,} turns"):
                await files.replace(org_id, table, day, day, [], year.rows(day), [Day(day, 1, 0)])
        written = perf_counter() - began
        console.print(f"{count:,} turns are in the lake.", highlight=False)
        scans = [await _lake("daily", settings, manifest, org_id)]
        scans.append(await _ndjson(settings, objects, year))
        began = perf_counter()
        await Compaction(manifest, files).run(org_id, "turns")
        compacted = perf_counter() - began
        scans.append(await _lake("compacted", settings, manifest, org_id))
    finally:
        await objects.close()
        await database.close()
    return Scanned(
        turns=year.each * len(year.days),
        month=year.each * sum(map(_in_month, year.days)),
        written_s=round(written, 1),
        compacted_s=round(compacted, 1),
        scans=tuple(scans),
    )


async def _lake(way: str, settings: Settings, manifest: Manifest, org_id: UUID) -> Scan:
    files = await manifest.live_files(org_id, "turns")
    opened: list[float] = []

    def connection() -> "DuckDBPyConnection":
        began = perf_counter()
        made = open_lake(_ORG, settings=settings).connection
        opened.append(perf_counter() - began)
        return made

    queries = {name: query.format(turns="turns") for name, query in QUERIES.items()}
    seconds = _asked(connection, queries)
    mib = sum(file.size for file in files) / 2**20
    return Scan(way, len(files), round(mib, 1), seconds, round(median(opened), 3))


async def _ndjson(settings: Settings, objects: ObjectStore, year: Year) -> Scan:
    """The month as lines of JSON, a file a day, with the columns that the queries need and the
    words of the archives."""
    keys, size = [], 0
    for day in filter(_in_month, year.days):
        rows = year.of(day).select(_LINE).to_pylist()
        data = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        stored = await objects.put(settings.lake_bucket, f"bench/{day}.ndjson", data)
        keys.append(stored.key)
        size += stored.size
    urls = ", ".join(
        literal(url) for url in await objects.presign_all(settings.lake_bucket, keys, _VALID)
    )

    def connection() -> "DuckDBPyConnection":
        import duckdb  # noqa: PLC0415

        made = duckdb.connect(":memory:")
        made.execute(f"LOAD {literal(str(httpfs()))}")
        return made

    read = f"read_ndjson([{urls}])"
    queries = {name: query.format(turns=read) for name, query in QUERIES.items() if name != "year"}
    seconds = _asked(connection, queries)
    return Scan("ndjson", len(keys), round(size / 2**20, 1), seconds, None)


def _asked(
    connect: "Callable[[], DuckDBPyConnection]", queries: Mapping[str, str]
) -> dict[str, float]:
    """Median seconds of each query."""
    found: dict[str, float] = {}
    for name, query in queries.items():
        took = []
        for _ in range(_ROUNDS):
            connection = connect()
            began = perf_counter()
            if not connection.execute(query).fetchall():
                raise IbexError(f"The query {name} found nothing.")
            took.append(perf_counter() - began)
            connection.close()
        found[name] = round(median(took), 3)
    return found


def _in_month(day: date) -> bool:
    return _MONTH[0] <= day < _MONTH[1]


def _row(turn: Turn, agent_id: str, agent: str) -> dict[str, Any]:
    return {
        "agent_id": agent_id,
        "agent": agent,
        "number": 1,
        "model": turn.model,
        "finish_reason": "stop",
        "complete": True,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "roles": ["user", "assistant"],
        "messages": [
            {"role": "user", "name": None, "text": turn.said},
            {"role": "assistant", "name": None, "text": turn.answer},
        ],
        "said": turn.said,
        "answer": turn.answer,
    }
