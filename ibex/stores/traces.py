"""One row a request in ClickHouse: ids, counts, scores and times, never content.

Rows wait in a bounded queue and go out in batches from a thread, so a request never waits for
ClickHouse. When it is away the queue fills, then rows are dropped, counted and logged.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from urllib3.exceptions import HTTPError

from ibex.metrics import counter, gauge
from ibex.settings import Settings

# Before its first insert the driver would import pandas, to see whether the rows are a table of it:
# most of a second in the middle of somebody's requests, and sixty megabytes. They never are.
options.pd = None
_WRITTEN: Final = counter("ibex_traces_written_total", "Trace rows that ClickHouse took.")
_DROPPED: Final = counter(
    "ibex_traces_dropped_total", "Trace rows lost: the queue was full, or the process ended."
)
_FAILURES: Final = counter("ibex_traces_write_failures_total", "Batches ClickHouse did not take.")
_WAITING: Final = gauge("ibex_traces_waiting", "Trace rows that wait for ClickHouse.")

_log = logging.getLogger("ibex.traces")
# They warn at every try; that ClickHouse is away is said here, once a minute.
for _chatty in ("urllib3.connectionpool", "clickhouse_connect"):
    logging.getLogger(_chatty).setLevel(logging.ERROR)

_TYPES: Final = {
    "org_id": "UUID",
    "agent_id": "UUID",
    "token_id": "UUID",
    "session_id": "Nullable(UUID)",
    "request_id": "String",
    "has_user": "Bool",
    "model": "LowCardinality(String)",
    "provider": "LowCardinality(String)",
    "provider_host": "LowCardinality(String)",
    "provider_tries": "UInt8",
    "status": "UInt16",
    "error": "LowCardinality(String)",
    "stream": "Bool",
    "complete": "Bool",
    "started_at": "DateTime64(3, 'UTC')",
    "total_ms": "Float32",
    "auth_ms": "Float32",
    "session_ms": "Float32",
    "context_ms": "Float32",
    "upstream_ms": "Float32",
    "ttfb_ms": "Nullable(Float32)",
    "commit_ms": "Float32",
    "memories_injected": "UInt16",
    "context_tokens": "UInt32",
    "prompt_tokens": "Nullable(UInt32)",
    "completion_tokens": "Nullable(UInt32)",
    "fallback": "Bool",
    "fallback_reason": "LowCardinality(String)",
    "degraded": "Array(LowCardinality(String))",
}
#: Those that the first version did not have, and what each stands behind.
_ADDED: Final = {
    "provider": "model",
    "provider_host": "provider",
    "provider_tries": "provider_host",
}
_COLUMNS: Final = ",\n  ".join(f"{name} {kind}" for name, kind in _TYPES.items())
TRACES_DDL: Final = (
    "CREATE DATABASE IF NOT EXISTS ibex",
    f"""CREATE TABLE IF NOT EXISTS ibex.traces (
  {_COLUMNS}
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(started_at)
ORDER BY (org_id, started_at)
TTL toDateTime(started_at) + INTERVAL 90 DAY""",
    *(  # a table that an earlier version made
        f"ALTER TABLE ibex.traces ADD COLUMN IF NOT EXISTS {name} {_TYPES[name]} AFTER {before}"
        for name, before in _ADDED.items()
    ),
)

_CONNECT_LIMIT: Final = 5  # seconds
_QUERY_LIMIT: Final = 10  # seconds
_CLOSE_LIMIT: Final = 5.0  # seconds
_REPORT_EVERY: Final = 60.0  # seconds
_LONGEST_PAUSE: Final = 15.0  # seconds between tries while ClickHouse is away
_AWAY = (ClickHouseError, HTTPError, OSError)


@dataclass(frozen=True)
class TraceRow:
    """One request of `ibex.traces`; times in milliseconds."""

    org_id: UUID
    agent_id: UUID
    token_id: UUID
    request_id: str
    model: str
    status: int
    started_at: datetime
    total_ms: float
    session_id: UUID | None = None
    has_user: bool = False
    provider: str = ""  # by its name in the settings; empty: none has answered
    provider_host: str = ""
    provider_tries: int = 0  # retries and fallbacks included
    error: str = ""  # the code of what went wrong
    stream: bool = False
    complete: bool = False
    auth_ms: float = 0.0
    session_ms: float = 0.0
    context_ms: float = 0.0
    upstream_ms: float = 0.0  # until its headers
    ttfb_ms: float | None = None  # from the request's start to the first byte that went out
    commit_ms: float = 0.0
    memories_injected: int = 0
    context_tokens: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fallback: bool = False
    fallback_reason: str = ""
    degraded: Sequence[str] = field(default=())


_NAMES: Final = tuple(one.name for one in fields(TraceRow))


def open_clickhouse(settings: Settings) -> Client:
    """Blocks: call it in a thread."""
    url = urlsplit(settings.clickhouse_endpoint)
    return clickhouse_connect.get_client(
        host=url.hostname or "127.0.0.1",
        port=url.port or (8443 if url.scheme == "https" else 8123),
        username=unquote(url.username or "default"),
        password=unquote(url.password or ""),
        secure=url.scheme == "https",
        compress=False,
        connect_timeout=_CONNECT_LIMIT,
        send_receive_timeout=_QUERY_LIMIT,
        autogenerate_session_id=False,
    )


async def ensure_traces(settings: Settings) -> None:
    """Make the database and the table when they are missing. Raises what ClickHouse answers."""
    await asyncio.to_thread(_connect_and_prepare, settings)


def _connect_and_prepare(settings: Settings) -> Client:
    client = open_clickhouse(settings)
    for statement in TRACES_DDL:
        client.command(statement)
    return client


class TraceWriter:
    def __init__(
        self, settings: Settings, *, capacity: int = 10_000, batch: int = 500, interval: float = 5.0
    ) -> None:
        """At most `capacity` rows wait; `interval` in seconds."""
        self._settings = settings
        self._capacity = capacity
        self._batch = batch
        self._interval = interval
        self._waiting: deque[TraceRow] = deque()
        self._full = asyncio.Event()
        self._closing = asyncio.Event()
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._unreported = 0
        self._last_error = ""  # its type, until ClickHouse takes rows again
        self._reported_at = -_REPORT_EVERY
        self.written = 0
        self.dropped = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="traces")

    def add(self, row: TraceRow) -> None:
        """Never blocks; drops the row when the queue is full."""
        if len(self._waiting) >= self._capacity:
            self._drop(1)
            return
        self._waiting.append(row)
        _WAITING.inc()
        if len(self._waiting) >= self._batch:
            self._full.set()

    async def close(self) -> None:
        """Write what waits, for a few seconds at most; what is left is dropped."""
        self._closing.set()
        self._full.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_LIMIT)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._drop(len(self._waiting))
        _WAITING.dec(len(self._waiting))
        self._waiting.clear()
        self._report(force=True)
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    async def _run(self) -> None:
        # Now, and not beside the first requests: connecting and the table take a while.
        await self._tried(self._connected)
        pause, wake = self._interval, self._full
        closing = False
        while not closing:
            await _set_within(wake, pause)
            closing = self._closing.is_set()
            self._full.clear()
            if await self._flush_all():
                pause, wake = self._interval, self._full
            else:
                # While ClickHouse is away, a full queue is no reason to try at once.
                pause, wake = min(pause * 2, _LONGEST_PAUSE), self._closing
            self._report()

    async def _flush_all(self) -> bool:
        while self._waiting:
            if not await self._flush():
                return False
        return True

    async def _flush(self) -> bool:
        """Write the oldest batch. False when ClickHouse is away; then the rows keep waiting."""
        rows = list(islice(self._waiting, self._batch))
        if not await self._tried(self._insert, rows):
            return False
        for _ in rows:
            self._waiting.popleft()
        self.written += len(rows)
        _WRITTEN.inc(len(rows))
        _WAITING.dec(len(rows))
        return True

    async def _tried(self, work: Callable[..., object], *arguments: object) -> bool:
        """In a thread. False when ClickHouse is away."""
        try:
            await asyncio.to_thread(work, *arguments)
        except _AWAY as error:
            self._last_error = type(error).__name__
            _FAILURES.inc()
            return False
        self._last_error = ""
        return True

    def _connected(self) -> Client:
        if self._client is None:
            self._client = _connect_and_prepare(self._settings)
        return self._client

    def _insert(self, rows: Sequence[TraceRow]) -> None:
        data: list[list[Any]] = [[getattr(row, name) for name in _NAMES] for row in rows]
        self._connected().insert(
            "traces",
            data,
            column_names=_NAMES,
            column_type_names=[_TYPES[name] for name in _NAMES],
            database="ibex",
        )

    def _drop(self, count: int) -> None:
        self.dropped += count
        _DROPPED.inc(count)
        self._unreported += count

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        trouble = self._unreported or self._last_error
        if trouble and (force or now - self._reported_at >= _REPORT_EVERY):
            _log.warning(
                "ClickHouse does not take traces (%s): %d wait, %d dropped",
                self._last_error or "too slow",
                len(self._waiting),
                self._unreported,
            )
            self._unreported, self._reported_at = 0, now


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
