"""The lake on the real stores: what is written, replaced, merged and deleted, read by DuckDB."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from ibex.embedded.process import ProcessSpec
from ibex.errors import ArchiveDamagedError, ObjectStoreUnavailableError, TracesUnavailableError
from ibex.ids import new_id
from ibex.lake.manifest import Day
from ibex.lake.sources import POSTGRES
from ibex.lake.upkeep import Lake, opened_lake
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.traces import TraceRow, TraceWriter, ensure_traces
from ibex.stores.turns import TurnReader
from ibex.stores.verifying import StoreVerifier
from tests.command_line import ibex
from tests.conftest import free_port
from tests.pipeline import metadata, run_job
from tests.seeding import add_injection, add_memory, add_session, add_turn, insert

MARCH = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


@pytest.fixture
async def lake(settings: Settings, database: Database, objects: ObjectStore) -> AsyncIterator[Lake]:
    turns = TurnReader.of(database, objects, settings)
    async with opened_lake(settings, database, objects, turns) as opened:
        yield opened


async def rows(lake: Lake, org_id: UUID, table: str) -> list[dict[str, Any]]:
    """All rows of a table, in the order of its files."""
    files = await lake.manifest.live_files(org_id, table)
    return [row for file in files for row in (await lake.files.read(file)).to_pylist()]


async def talk(
    database: Database, org_id: UUID, agent_id: UUID, day: datetime, *said: str, **columns: Any
) -> UUID:
    """A session with a turn every quarter of an hour from `day` on."""
    session_id = await add_session(
        database, org_id, agent_id, started_at=day, status="completed", **columns
    )
    for number, text in enumerate(said, 1):
        at = day + timedelta(minutes=15 * number)
        await add_turn(
            database,
            org_id,
            session_id,
            number,
            text,
            f"Noted: {text}",
            prompt_tokens=10 * number,
            completion_tokens=number,
            started_at=at,
            created_at=at,
        )
    return session_id


async def test_what_postgresql_has_is_in_the_lake_by_its_own_day(
    lake: Lake, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    user_id = await insert(database, org_id, "users", external_id="ada")
    session_id = await talk(
        database, org_id, agent_id, MARCH, "before midnight", "after", user_id=user_id
    )
    memory_id = await add_memory(
        database,
        org_id,
        agent_id,
        "The host is [REDACTED_EMAIL].",
        user_id=user_id,
        session_id=session_id,
        turns=[1],
        redactions={"EMAIL": 1},
        created_at=MARCH,
        updated_at=MARCH,
    )
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "INSERT INTO ibex_core.memory_tags (org_id, memory_id, tag) VALUES ($1, $2, 'host')",
            org_id,
            memory_id,
        )
    await insert(
        database,
        org_id,
        "memory_versions",
        memory_id=memory_id,
        version=1,
        change="created",
        content="The host is [REDACTED_EMAIL].",
        snapshot={"category": "declarative", "valid_from": MARCH.isoformat()},
        created_at=MARCH,
    )
    await add_injection(
        database,
        org_id,
        agent_id,
        session_id,
        "r-1",
        [memory_id, new_id()],
        created_at=MARCH,
        observed_at=MARCH,
        observations=[{"memory_id": str(memory_id), "support": 0.75, "weight": 1.0}],
    )

    done = await lake.export.run(org_id, POSTGRES)
    assert {table: (one.days, one.rows) for table, one in done.items()} == {
        "sessions": (1, 1),
        "turns": (2, 2),
        "memories": (1, 1),
        "memory_versions": (1, 1),
        "injections": (1, 2),
    }
    who = {
        "agent_id": str(agent_id),
        "agent": "assistant",
        "user_id": str(user_id),
        "end_user": "ada",
    }
    (session,) = await rows(lake, org_id, "sessions")
    assert session.items() >= who.items()
    assert (session["turns"], session["prompt_tokens"], session["models"]) == (
        2,
        30,
        ["gpt-4o-mini"],
    )
    first, second = await rows(lake, org_id, "turns")
    assert first.items() >= who.items()
    assert (first["date"], second["date"]) == (date(2026, 3, 1), date(2026, 3, 2))
    assert (first["said"], first["answer"]) == ("before midnight", "Noted: before midnight")
    assert (first["roles"], first["messages"][0]) == (
        ["user", "assistant"],
        {"role": "user", "name": None, "text": "before midnight"},
    )
    (memory,) = await rows(lake, org_id, "memories")
    assert memory.items() >= who.items()
    assert (memory["redactions"], memory["tags"], memory["turns"], memory["session_id"]) == (
        [{"kind": "EMAIL", "count": 1}],
        ["host"],
        [1],
        str(session_id),
    )
    (version,) = await rows(lake, org_id, "memory_versions")
    assert (version["category"], version["valid_from"]) == ("declarative", MARCH)
    injected = await rows(lake, org_id, "injections")
    assert [(one["place"], one["support"], one["relevance"]) for one in injected] == [
        (1, 0.75, 0.9),
        (2, None, 0.9),
    ]

    # Another run finds nothing to do, and a file says where it is.
    again = await lake.export.run(org_id, POSTGRES)
    assert [one.days for one in again.values()] == [0] * 5
    (file, _) = await lake.manifest.live_files(org_id, "turns")
    assert file.key == f"turns/org={org_id}/date=2026-03-01/part-{file.id}.parquet"
    assert (file.min_time, file.max_time) == (MARCH + timedelta(minutes=15),) * 2


async def test_a_session_that_goes_on_or_is_erased_replaces_its_rows(
    lake: Lake, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    day = MARCH - timedelta(hours=12)
    going_on = await talk(database, org_id, agent_id, day, "one")
    erased = await talk(database, org_id, agent_id, day, "mine", "and this")
    kept = await talk(database, org_id, agent_id, day + timedelta(days=1), "kept")
    await lake.export.run(org_id, ["turns"])
    before = await lake.manifest.live_files(org_id, "turns")
    assert [(file.first.day, file.rows) for file in before] == [(1, 3), (2, 1)]

    await add_turn(database, org_id, going_on, 2, "two", "Noted.", started_at=day)
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "DELETE FROM ibex_core.sessions WHERE org_id = $1 AND id = $2", org_id, erased
        )
    done = await lake.export.run(org_id, ["turns", "sessions"])
    assert (done["turns"].days, done["turns"].rows) == (1, 2)
    after = await lake.manifest.live_files(org_id, "turns")
    assert before[1] in after  # of another day
    assert [row["said"] for row in await rows(lake, org_id, "turns")] == ["two", "one", "kept"]

    async with database.tenant(org_id) as connection:
        await connection.execute(
            "DELETE FROM ibex_core.sessions WHERE org_id = $1 AND id = $2", org_id, kept
        )
    await lake.export.run(org_id, ["turns"])
    assert {file.first.day for file in await lake.manifest.live_files(org_id, "turns")} == {1}
    assert set(await lake.manifest.days(org_id, "turns")) == {date(2026, 3, 1)}


async def test_words_that_postgresql_has_no_longer_stay_in_the_lake(
    lake: Lake,
    settings: Settings,
    database: Database,
    objects: ObjectStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    """From the file that is replaced; without one, from the session's archive."""
    session_id = await talk(database, org_id, agent_id, MARCH, "a secret plan")
    reader = TurnReader.of(database, objects, settings)
    await reader._archive.archive(org_id, session_id)
    await lake.export.run(org_id, ["turns"])
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.session_turns SET messages = NULL, response = NULL WHERE org_id = $1",
            org_id,
        )
    (file,) = await lake.manifest.live_files(org_id, "turns")
    expected = await rows(lake, org_id, "turns")
    assert expected[0]["said"] == "a secret plan"
    assert (await lake.export.run(org_id, ["turns"]))["turns"].days == 0

    async def written_again() -> list[dict[str, Any]]:
        done = await lake.export.run(org_id, ["turns"], again=lambda _: True)
        assert (done["turns"].days, done["turns"].failed) == (1, [])
        return await rows(lake, org_id, "turns")

    assert await written_again() == expected
    (file,) = await lake.manifest.live_files(org_id, "turns")
    await objects.put(file.bucket, file.key, b"not what was written")
    assert await written_again() == expected
    (file,) = await lake.manifest.live_files(org_id, "turns")
    await objects.delete(file.bucket, file.key)
    await objects.delete(
        settings.sessions_bucket, f"{org_id}/{agent_id}/{session_id}/{session_id}.ndjson"
    )
    done = await lake.export.run(org_id, ["turns"], again=lambda _: True)
    assert [error.code for _, error in done["turns"].failed] == ["archive_damaged"]  # type: ignore[attr-defined]


async def test_small_files_become_one_a_month_and_the_old_ones_go(
    lake: Lake, database: Database, objects: ObjectStore, org_id: UUID, agent_id: UUID
) -> None:
    start = datetime(2026, 1, 29, 12, tzinfo=UTC)
    sessions = [
        await talk(database, org_id, agent_id, start + timedelta(days=day), f"day {day}")
        for day in range(8)
    ]
    await lake.export.run(org_id, ["turns"])
    expected = await rows(lake, org_id, "turns")
    done = await lake.compaction.run(org_id, "turns")
    assert (done.merged, done.made) == (7, 2)  # 29 to 31 January; 1 to 4 February; the newest stays
    files = await lake.manifest.live_files(org_id, "turns")
    assert [(str(file.first), str(file.last), file.rows) for file in files] == [
        ("2026-01-29", "2026-01-31", 3),
        ("2026-02-01", "2026-02-04", 4),
        ("2026-02-05", "2026-02-05", 1),
    ]
    assert files[0].key.startswith(f"turns/org={org_id}/month=2026-01/part-")
    assert await rows(lake, org_id, "turns") == expected
    assert (await lake.compaction.run(org_id, "turns")).merged == 0

    # A day of a merged file changes; one is gone: the others are as they were.
    await add_turn(
        database, org_id, sessions[1], 2, "more", "Noted.", started_at=start + timedelta(days=1)
    )
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "DELETE FROM ibex_core.sessions WHERE org_id = $1 AND id = $2", org_id, sessions[2]
        )
    assert (await lake.export.run(org_id, ["turns"]))["turns"].days == 2
    changed = await lake.manifest.live_files(org_id, "turns")
    assert changed[1:] == files[1:]
    said = [row["said"] for row in await rows(lake, org_id, "turns")]
    assert said == ["day 0", "more", "day 1", *(f"day {day}" for day in range(3, 8))]

    # A merged file that is damaged is made again from PostgreSQL, all of its days.
    await objects.put(changed[1].bucket, changed[1].key, b"PAR1")
    await add_turn(
        database, org_id, sessions[4], 2, "again", "Noted.", started_at=start + timedelta(days=4)
    )
    assert (await lake.export.run(org_id, ["turns"]))["turns"].days == 4
    assert sorted(row["said"] for row in await rows(lake, org_id, "turns")) == sorted(
        [*said, "again"]
    )

    now = datetime.now(UTC)
    assert await lake.sweep(org_id, now - timedelta(hours=1)) == 0
    gone = await lake.manifest.retired(org_id, now + timedelta(minutes=1), 100)
    assert await lake.sweep(org_id, now + timedelta(minutes=1)) == len(gone) == 9
    live = await lake.manifest.live_files(org_id, "turns")
    for file in live:
        assert hashlib.sha256(await objects.get(file.bucket, file.key)).digest() == file.sha256


async def test_traces_and_their_usage_are_kept_by_day(
    settings: Settings,
    clickhouse_server: ProcessSpec,
    database: Database,
    objects: ObjectStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    priced = settings.model_copy(update={"model_prices": {"gpt-": (Decimal(1), Decimal(10))}})
    await ensure_traces(priced)
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
    basic = TraceRow(org_id, agent_id, new_id(), "r-0", "gpt-4o", 200, noon, 10.0)
    traces = [
        replace(basic, prompt_tokens=1000, completion_tokens=100),
        replace(basic, request_id="r-1", total_ms=20.0, prompt_tokens=500, session_id=new_id()),
        replace(basic, request_id="r-2", status=502, error="provider_unavailable", total_ms=90.0),
        replace(basic, request_id="r-3", model="own", started_at=noon + timedelta(days=1)),
        replace(basic, request_id="r-4", org_id=new_id()),
    ]

    async def write(*some: TraceRow) -> None:
        writer = TraceWriter(priced)
        await writer.start()
        for one in some:
            writer.add(one)
        await writer.close()
        assert writer.dropped == 0

    await write(*traces)
    turns = TurnReader.of(database, objects, priced)
    async with opened_lake(priced, database, objects, turns) as lake:
        done = await lake.export.run(org_id, ("traces", "usage"))
        assert [(one.days, one.rows) for one in done.values()] == [(2, 4), (2, 2)]
        found = await rows(lake, org_id, "traces")
        assert [one["request_id"] for one in found] == ["r-0", "r-1", "r-2", "r-3"]
        assert found[1]["session_id"] == str(traces[1].session_id)
        assert (found[0]["agent"], found[0]["started_at"], found[0]["ttfb_ms"]) == (
            "assistant",
            noon,
            None,
        )
        used, other = await rows(lake, org_id, "usage")
        assert (used["requests"], used["errors"], used["prompt_tokens"]) == (3, 1, 1500)
        assert (used["p50_ms"], used["p99_ms"]) == (20.0, 90.0)
        assert used["cost_usd"] == pytest.approx(0.0025)
        assert (other["model"], other["cost_usd"]) == ("own", None)
        again = await lake.export.run(org_id, ("traces", "usage"))
        assert [one.days for one in again.values()] == [0, 0]

        await write(replace(basic, request_id="r-5"))
        done = await lake.export.run(org_id, ("traces", "usage"))
        assert [(one.days, one.rows) for one in done.values()] == [(1, 4), (1, 1)]
        # What ClickHouse has forgotten stays.
        await lake.manifest.swap(
            org_id,
            "traces",
            date(2024, 1, 1),
            date(2024, 1, 1),
            replaced=[],
            files=[],
            days=[Day(date(2024, 1, 1), 1, 1)],
        )
        assert (await lake.export.run(org_id, ["traces"]))["traces"].days == 0
        assert date(2024, 1, 1) in await lake.manifest.days(org_id, "traces")

    away = priced.model_copy(update={"clickhouse_url": f"http://127.0.0.1:{free_port()}"})
    async with opened_lake(away, database, objects, turns) as lake:
        with pytest.raises(TracesUnavailableError):
            await lake.export.run(org_id, ["traces"])


async def test_two_at_once_lose_nothing_and_double_nothing(
    lake: Lake, database: Database, objects: ObjectStore, org_id: UUID, agent_id: UUID
) -> None:
    start = datetime(2026, 4, 1, 12, tzinfo=UTC)
    for day in range(6):
        await talk(database, org_id, agent_id, start + timedelta(days=day), f"day {day}")
    both = [lake.export.run(org_id, ["turns"]) for _ in range(3)]
    assert [one.failed for done in await asyncio.gather(*both) for one in done.values()] == [[]] * 3
    assert [row["said"] for row in await rows(lake, org_id, "turns")] == [
        f"day {day}" for day in range(6)
    ]
    await talk(database, org_id, agent_id, start, "meanwhile")
    first, second, _ = await asyncio.gather(
        lake.compaction.run(org_id, "turns"),
        lake.compaction.run(org_id, "turns"),
        lake.export.run(org_id, ["turns"]),
    )
    assert first.made + second.made <= 1
    await lake.export.run(org_id, ["turns"])
    said = sorted(row["said"] for row in await rows(lake, org_id, "turns"))
    assert said == sorted([*(f"day {day}" for day in range(6)), "meanwhile"])


async def test_a_crash_at_any_step_costs_a_file_that_counts_nowhere(
    lake: Lake,
    settings: Settings,
    database: Database,
    objects: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    """Between two uploads, between upload and manifest, between object and manifest's row."""
    await talk(database, org_id, agent_id, MARCH, "one")
    await lake.export.run(org_id, ["turns"])
    expected = await rows(lake, org_id, "turns")
    await talk(database, org_id, agent_id, MARCH, "two")

    class Died(BaseException):
        """As a kill would: no handler runs."""

    async def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(lake.manifest, "swap", die)
        with pytest.raises(Died):
            await lake.export.run(org_id, ["turns"])
    assert await rows(lake, org_id, "turns") == expected
    nowhere = settings.model_copy(update={"s3_url": f"http://127.0.0.1:{free_port()}"})
    turns = TurnReader.of(database, ObjectStore(nowhere), nowhere)
    async with opened_lake(nowhere, database, ObjectStore(nowhere), turns) as without:
        with pytest.raises(ObjectStoreUnavailableError):
            await without.export.run(org_id, ["turns"])
    assert await rows(lake, org_id, "turns") == expected

    done = await lake.export.run(org_id, ["turns"])
    assert (done["turns"].days, done["turns"].rows) == (1, 2)
    later = datetime.now(UTC) + timedelta(minutes=1)
    with monkeypatch.context() as patched:
        patched.setattr(lake.manifest, "forget", die)
        with pytest.raises(Died):
            await lake.sweep(org_id, later)
    assert await lake.sweep(org_id, later) == 1  # its object was deleted already
    assert len(await rows(lake, org_id, "turns")) == 2


async def test_a_damaged_file_is_said_never_merged_and_written_anew(
    lake: Lake,
    settings: Settings,
    database: Database,
    objects: ObjectStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    for day in range(6):
        await talk(database, org_id, agent_id, MARCH + timedelta(days=day), "words")
    await lake.export.run(org_id, ["sessions"])
    files = await lake.manifest.live_files(org_id, "sessions")
    damaged = (await objects.get(files[1].bucket, files[1].key))[:-1] + b"x"
    await objects.put(files[1].bucket, files[1].key, damaged)
    done = await lake.compaction.run(org_id, "sessions")
    assert (done.merged, done.damaged) == (0, 1)
    assert await lake.manifest.live_files(org_id, "sessions") == files
    with pytest.raises(ArchiveDamagedError):
        await lake.files.read(files[1])
    archive = SessionArchive(database, objects, settings)
    verifier = StoreVerifier(database, objects, archive, settings)
    checked = await verifier.verify(
        datetime.now(UTC) + timedelta(minutes=1), org_id=org_id, share=1.0, repair=True
    )
    assert checked.counts == {"checksum due": 1}
    assert (await lake.export.run(org_id, ["sessions"]))["sessions"].days == 1
    assert (await lake.compaction.run(org_id, "sessions")).merged == 5
    assert len(await rows(lake, org_id, "sessions")) == 6


@pytest.mark.usefixtures("environment", "redis_server", "clickhouse_server")
async def test_the_jobs_and_the_commands_do_it(
    settings: Settings, lake: Lake, identity: IdentityStore, database: Database
) -> None:
    await ensure_traces(settings)
    org_id = await identity.create_organization("shop")
    agent_id = await identity.create_agent(org_id, "clerk")
    for day in range(3):
        await talk(database, org_id, agent_id, MARCH + timedelta(days=day), "words")
    made = metadata(await run_job(settings, "lake"))
    assert set(made) == {"session_lake", "trace_lake", "usage_rollup"}
    assert (made["session_lake"]["days"], made["session_lake"]["rows"]) == (6, 6)
    assert (made["trace_lake"]["failed"], made["usage_rollup"]["rows"]) == (0, 0)

    tables = await ibex("lake", "status", "--org", "shop")
    assert [(one["table"], one["files"], one["rows"]) for one in tables] == [
        ("sessions", 3, 3),
        ("turns", 3, 3),
    ]
    words = ("lake", "refresh", "--org", "shop", "--table", "turns")
    assert [one["days"] for one in await ibex(*words)] == [0]
    assert [one["days"] for one in await ibex(*words, "--day", "2026-03-02")] == [1]
    assert [one["rows"] for one in await ibex(*words, "--all")] == [3]
    for day in range(3, 6):
        await talk(database, org_id, agent_id, MARCH + timedelta(days=day), "words")
    assert [one["days"] for one in await ibex(*words)] == [3]

    kept = metadata(await run_job(settings, "compaction"))["lake_compaction"]
    assert (kept["merged"], kept["made"], kept["deleted"]) == (5, 1, 0)
    done = await ibex("lake", "compact", "--org", "shop", "--grace", "0")
    assert (done["merged"], done["deleted"]) == (0, 9)
    assert len(await rows(lake, org_id, "turns")) == 6
