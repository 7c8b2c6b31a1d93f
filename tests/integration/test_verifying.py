"""What `ibex lake verify` finds in buckets that somebody was at, and what it makes of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest
from typer.testing import CliRunner

from ibex.cli import app
from ibex.ids import new_id
from ibex.lake.manifest import Manifest
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive, archive_key, copy_key
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.stores.verifying import StoreVerifier, Verification
from tests.command_line import shown
from tests.integration.recorded import TALK, add_session, drop_content
from tests.pipeline import output, run_job
from tests.seeding import insert

LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def verifier(
    database: Database, objects: ObjectStore, archive: SessionArchive, settings: Settings
) -> StoreVerifier:
    return StoreVerifier(database, objects, archive, settings)


def found(done: Verification) -> dict[str, tuple[str, str]]:
    return {one.key: (one.fault, one.outcome) for one in done.findings}


async def test_what_is_wrong_is_found_and_written_anew(
    verifier: StoreVerifier,
    archive: SessionArchive,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    sessions = [await add_session(database, org_id, agent_id) for _ in range(4)]
    gone, cut, changed, _ = [(await archive.archive(org_id, one)).key for one in sessions]
    well = await verifier.verify(LATER, share=1.0)
    assert (well.files, well.objects, well.read, well.counts, well.bad) == (4, 4, 4, {}, 0)

    bucket = settings.sessions_bucket
    good = {key: await objects.get(bucket, key) for key in (gone, cut, changed)}
    await objects.delete(bucket, gone)
    await objects.put(bucket, cut, good[cut][:-1])
    await objects.put(bucket, changed, good[changed].replace(b"short", b"large"))
    faults = {gone: "missing", cut: "size", changed: "checksum"}

    shallow = await verifier.verify(LATER)
    assert found(shallow) == {key: (faults[key], "found") for key in (gone, cut)}
    deep = await verifier.verify(LATER, share=1.0)
    assert found(deep) == {key: (fault, "found") for key, fault in faults.items()}
    assert (deep.bad, deep.counts["checksum found"]) == (3, 1)
    repaired = await verifier.verify(LATER, share=1.0, repair=True)
    assert found(repaired) == {key: (fault, "repaired") for key, fault in faults.items()}
    assert repaired.bad == 0
    assert {key: await objects.get(bucket, key) for key in good} == good
    assert (await verifier.verify(LATER, share=1.0)).counts == {}


async def test_what_nobody_has_any_more_is_said_and_nothing_good_is_overwritten(
    verifier: StoreVerifier,
    archive: SessionArchive,
    objects: ObjectStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    archived = await archive.archive(org_id, session_id)
    place = archived.bucket, archived.key
    good = await objects.get(*place)
    await drop_content(database, org_id, session_id)
    await objects.put(*place, good[:-1])
    done = await verifier.verify(LATER, repair=True)
    assert found(done) == {archived.key: ("size", "lost")}
    assert done.bad == 1
    assert await objects.get(*place) == good[:-1]
    await objects.put(*place, good)
    assert (await verifier.verify(LATER, share=1.0)).counts == {}


async def test_an_object_that_nobody_knows_of_goes_when_it_is_old(
    verifier: StoreVerifier,
    archive: SessionArchive,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    archived = await archive.archive(org_id, session_id)
    erased = archive_key(org_id, agent_id, new_id())
    lake = f"sessions/org={org_id}/date=2026-03-01/part-1.parquet"
    copy = copy_key(archived.key)
    for bucket, key in (
        (settings.sessions_bucket, erased),
        (settings.sessions_bucket, copy),
        (settings.lake_bucket, lake),
    ):
        await objects.put(bucket, key, b"left")
    # Somebody is at the session, or was: its copy may be all there is.
    await insert_upload(database, org_id, session_id)

    young = await verifier.verify(datetime.now(UTC), repair=True)
    assert set(found(young).values()) == {("orphan", "young")}
    assert (young.bad, len(young.findings)) == (0, 3)
    told = await verifier.verify(LATER)
    assert found(told) == {erased: ("orphan", "found"), lake: ("orphan", "found")}
    assert told.bad == 0
    swept = await verifier.verify(LATER, repair=True)
    assert found(swept) == {erased: ("orphan", "deleted"), lake: ("orphan", "deleted")}
    assert found(await verifier.verify(LATER)) == {}
    assert await objects.get(settings.sessions_bucket, copy) == b"left"


async def insert_upload(database: Database, org_id: UUID, session_id: UUID) -> None:
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "INSERT INTO ibex_core.archive_uploads (org_id, session_id, upload_id)"
            " VALUES ($1, $2, $2)",
            org_id,
            session_id,
        )


async def test_a_crash_before_the_manifest_is_finished_by_whoever_comes_next(
    verifier: StoreVerifier,
    archive: SessionArchive,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    key = archive_key(org_id, agent_id, session_id)
    await objects.put(settings.sessions_bucket, key, b"half of")
    await insert_upload(database, org_id, session_id)
    assert found(await verifier.verify(LATER, repair=True)) == {}
    await archive.archive(org_id, session_id)
    assert (await verifier.verify(LATER, share=1.0)).counts == {}


async def test_files_of_the_lake_are_in_the_same_manifest(
    verifier: StoreVerifier,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
) -> None:
    """They are told, and the next refresh writes their day anew. Retired ones may be gone."""
    day = datetime(2026, 3, 1, tzinfo=UTC).date()
    for name, state in (("live", "live"), ("retired", "retired")):
        await insert(
            database,
            org_id,
            "archive_files",
            kind="lake",
            lake_table="turns",
            bucket=settings.lake_bucket,
            key=f"turns/org={org_id}/{name}.parquet",
            date=day,
            date_to=day,
            rows=1,
            bytes=4,
            sha256=b"\0",
            schema_version=1,
            state=state,
            retired_at=None if state == "live" else LATER,
        )
    manifest = Manifest(database)
    async with database.tenant(org_id) as connection:
        for one in (day, day + timedelta(days=1)):
            await connection.execute(
                "INSERT INTO ibex_core.lake_days (org_id, lake_table, date, fingerprint, rows)"
                " VALUES ($1, 'turns', $2, 1, 1)",
                org_id,
                one,
            )
    key = f"turns/org={org_id}/live.parquet"
    assert found(await verifier.verify(LATER)) == {key: ("missing", "found")}
    done = await verifier.verify(LATER, repair=True)
    assert (found(done), done.bad) == ({key: ("missing", "due")}, 1)
    days = await manifest.days(org_id, "turns")
    assert (days[day].fingerprint, days[day + timedelta(days=1)].fingerprint) == (0, 1)


async def test_one_organization_sees_its_own(
    verifier: StoreVerifier,
    archive: SessionArchive,
    objects: ObjectStore,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    other = await identity.create_organization("another organization")
    theirs = await add_session(database, other, await identity.create_agent(other, "assistant"))
    archived = await archive.archive(other, theirs)
    await archive.archive(org_id, await add_session(database, org_id, agent_id))
    await objects.delete(archived.bucket, archived.key)
    mine = await verifier.verify(LATER, org_id=org_id)
    assert (mine.files, mine.objects, mine.counts) == (1, 1, {})
    assert (await verifier.verify(LATER)).counts == {"missing found": 1}


@pytest.mark.usefixtures("environment", "redis_server")
async def test_the_command_says_it_and_the_job_does_it(
    archive: SessionArchive,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    archived = await archive.archive(org_id, session_id)
    assert "1 read: all well" in await shown("lake", "verify", "--deep")
    await objects.delete(archived.bucket, archived.key)
    told = await asyncio.to_thread(CliRunner().invoke, app, ["lake", "verify", "--json"])
    assert told.exit_code == 1
    assert orjson.loads(told.stdout)["findings"] == [
        {
            "fault": "missing",
            "bucket": archived.bucket,
            "key": archived.key,
            "outcome": "found",
        }
    ]
    result = await run_job(settings, "store_verification")
    assert output(result)["faults"] == {"missing repaired": 1}
    assert len(await archive.read(org_id, session_id)) == len(TALK)

    # The other job: what is archived goes, a while after it was said.
    async with database.tenant(org_id) as connection:
        await connection.execute("UPDATE ibex_core.extraction_jobs SET status = 'done'")
        await connection.execute("UPDATE ibex_core.sessions SET last_extracted_turn = 2")
    assert output(await run_job(settings, "dropping"))["turns"] == 2
    turns = await SessionStore(database).turns(org_id, session_id)
    assert [turn.messages for turn in turns] == [None, None]
