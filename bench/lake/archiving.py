"""Completed sessions into archives, as the pipeline does it, and the same turns as raw JSON."""

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
from rich.console import Console
from rich.progress import Progress

from bench.corpus import NOW
from bench.figures import percentiles
from bench.lake.talk import Turn
from ibex.ids import new_id
from ibex.lake.sql import httpfs, literal
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database

TURNS: Final = 10  # of a session
_AT_ONCE: Final = 6  # as many as the asset `session_archive` writes at once
_SLOW: Final = 300.0  # seconds
_VALID: Final = timedelta(hours=1)
_SESSION: Final = (
    *("org_id", "id", "agent_id", "status", "turn_count", "message_count", "started_at"),
    *("last_turn_at", "completed_at"),
)
_TURN: Final = (
    *("org_id", "id", "session_id", "number", "request_id", "messages", "response"),
    *("message_count", "chain_hash", "model", "finish_reason", "prompt_tokens"),
    *("completion_tokens", "started_at", "created_at"),
)


@dataclass(frozen=True)
class Archived:
    sessions: int
    turns: int
    seconds: float
    after_s: dict[str, float]  # p50, p95, p99: from the start, when all were complete
    raw_bytes_per_turn: int  # what the client and the model sent, as JSON
    bytes_per_turn: int  # of the archives, with who, when and how much
    read_s: float  # all of them by DuckDB, as they lie in S3: tokens by agent and model


async def fill(settings: Settings, name: str, sessions: int, talk: Sequence[Turn]) -> UUID:
    """Sessions that are complete, in an organization of their own."""
    database = await Database.connect(settings.app_dsn, name="bench")
    try:
        identity = IdentityStore(database)
        org_id = await identity.create_organization(name)
        agents = [await identity.create_agent(org_id, f"agent-{number}") for number in range(5)]
    finally:
        await database.close()
    ids = [new_id() for _ in range(sessions)]
    starts = [NOW - timedelta(minutes=number) for number in range(sessions)]
    admin = await asyncpg.connect(settings.admin_dsn, command_timeout=_SLOW)
    try:
        await admin.execute("SET session_replication_role = replica")
        await admin.copy_records_to_table(
            "sessions",
            schema_name="ibex_core",
            columns=_SESSION,
            records=[
                (org_id, one, agents[number % 5], "completed", TURNS, 2 * TURNS, at, at, at)
                for number, (one, at) in enumerate(zip(ids, starts, strict=True))
            ],
        )
        await admin.copy_records_to_table(
            "session_turns",
            schema_name="ibex_core",
            columns=_TURN,
            records=_rows(org_id, ids, starts, talk),
        )
        await admin.execute("VACUUM (ANALYZE) ibex_core.sessions, ibex_core.session_turns")
    finally:
        await admin.close()
    return org_id


def _rows(
    org_id: UUID, ids: Sequence[UUID], starts: Sequence[datetime], talk: Sequence[Turn]
) -> Iterator[tuple[Any, ...]]:
    for place, (session_id, start) in enumerate(zip(ids, starts, strict=True)):
        for number in range(1, TURNS + 1):
            turn = talk[(place * TURNS + number) % len(talk)]
            at = start + timedelta(seconds=20 * number)
            yield (
                *(org_id, new_id(), session_id, number, str(new_id())),
                *(orjson.dumps(turn.messages).decode(), orjson.dumps(turn.response).decode()),
                *(2 * number, hashlib.sha256(turn.said.encode()).digest(), turn.model, "stop"),
                *(turn.prompt_tokens, turn.completion_tokens, at, at),
            )


async def archive(
    settings: Settings, org: UUID, sessions: int, talk: Sequence[Turn], console: Console
) -> Archived:
    """All that is due, from one moment on."""
    database = await Database.connect(settings.app_dsn, name="bench", command_timeout=_SLOW)
    objects = ObjectStore(settings)
    made = SessionArchive(database, objects, settings)
    gate, after, size = asyncio.Semaphore(_AT_ONCE), list[float](), 0
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"Archiving {sessions:,} sessions", total=sessions)
            began = time.perf_counter()

            async def one(org_id: UUID, session_id: UUID) -> None:
                nonlocal size
                async with gate:
                    done = await made.archive(org_id, session_id)
                    size += done.size
                    after.append(time.perf_counter() - began)
                    progress.advance(task)

            while due := await made.due(settings.sessions_per_run):
                await asyncio.gather(*(one(key.org_id, key.session_id) for key in due))
            seconds = time.perf_counter() - began
        read = await _read(settings, database, objects, org)
    finally:
        await objects.close()
        await database.close()
    turns = sessions * TURNS
    used = [talk[number % len(talk)] for number in range(turns)]
    raw = sum(len(orjson.dumps([one.messages, one.response])) for one in used)
    return Archived(
        sessions=len(after),
        turns=turns,
        seconds=round(seconds, 2),
        after_s=percentiles(after),
        raw_bytes_per_turn=round(raw / turns),
        bytes_per_turn=round(size / turns),
        read_s=round(read, 2),
    )


async def _read(
    settings: Settings, database: Database, objects: ObjectStore, org_id: UUID
) -> float:
    import duckdb  # noqa: PLC0415

    async with database.tenant(org_id) as connection:
        files = await connection.fetch(
            "SELECT key FROM ibex_core.archive_files WHERE org_id = $1 AND kind = 'session'", org_id
        )
    keys = [file["key"] for file in files]
    urls = await objects.presign_all(settings.sessions_bucket, keys, _VALID)
    listed = ", ".join(map(literal, urls))
    duck = duckdb.connect(":memory:")
    duck.execute(f"LOAD {literal(str(httpfs()))}")
    began = time.perf_counter()
    duck.execute(
        "SELECT agent_id, model, count(*), sum(prompt_tokens + completion_tokens) "  # noqa: S608
        f"FROM read_ndjson([{listed}]) GROUP BY ALL"
    ).fetchall()
    return time.perf_counter() - began
