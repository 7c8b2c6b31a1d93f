"""Snapshots of memories in S3: made, read, kept for a while, and what erasure leaves of them."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import lancedb
import orjson
import pytest

from ibex.errors import ArchiveDamagedError, NotFoundError, ObjectStoreUnavailableError
from ibex.ids import new_id
from ibex.memory.model import Vector
from ibex.settings import DEFAULT_EMBEDDING_MODEL, Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore, StoredObject
from ibex.stores.postgres import Database
from ibex.stores.verifying import StoreVerifier
from ibex.vectors.comparing import load
from ibex.vectors.dataset import TABLE, version_of
from ibex.vectors.rows import vectors_of
from ibex.vectors.searching import Hit, as_of, search
from ibex.vectors.snapshots import ErasedFrom, Erasure, Snapshots
from tests.command_line import ibex
from tests.conftest import free_port
from tests.integration.remembering import change, remember
from tests.integration.test_reembedding import name_of
from tests.pipeline import metadata, run_job
from tests.seeding import insert
from tests.unit.candidates import direction

NOW = datetime(2026, 5, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def snapshots(database: Database, objects: ObjectStore, settings: Settings) -> Snapshots:
    return Snapshots(database, objects, settings, chunk=2)


async def rows(snapshots: Snapshots, org_id: UUID, day: date) -> dict[str, str]:
    """What each memory of a snapshot says, by its id."""
    async with snapshots.fetched(org_id, day) as table:
        listed = await table.query().to_list()
    return {one["memory_id"]: one["content"] for one in listed}


async def keys(objects: ObjectStore, settings: Settings, org_id: UUID) -> set[str]:
    return set(await objects.keys(settings.lake_bucket, f"vectors/org={org_id}/"))


async def manifest(database: Database, org_id: UUID) -> set[str]:
    async with database.tenant(org_id) as connection:
        files = await connection.fetch(
            "SELECT key FROM ibex_core.archive_files WHERE org_id = $1 AND kind = 'vectors'", org_id
        )
    return {one["key"] for one in files}


async def nothing_else_is_there(
    database: Database, objects: ObjectStore, settings: Settings, org_id: UUID
) -> None:
    assert await keys(objects, settings, org_id) == await manifest(database, org_id)


async def test_each_day_stays_as_it_was_and_is_made_once(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
    tmp_path: Path,
) -> None:
    assert await snapshots.take(org_id, NOW) is None
    vectors = [direction(1, number / 7) for number in range(5)]
    ids = [
        await remember(database, org_id, agent_id, f"Fact {number}.", vector=vector)
        for number, vector in enumerate(vectors)
    ]
    first = await snapshots.take(org_id, NOW)
    assert first is not None
    assert (first.day, first.rows, first.made_at) == (date(2026, 5, 1), 5, NOW)
    assert first.files == 3 + 2  # of data, the version's and its tag

    await change(database, org_id, ids[0], content="Fact 0, corrected.", version=2)
    await change(database, org_id, ids[1], status="quarantined")
    assert await snapshots.take(org_id, NOW + timedelta(hours=9)) == first
    second = await snapshots.take(org_id, NOW + DAY)
    assert await snapshots.all(org_id) == [first, second]
    said = await rows(snapshots, org_id, first.day)
    assert said == {str(one): f"Fact {number}." for number, one in enumerate(ids)}
    said = await rows(snapshots, org_id, date(2026, 5, 2))
    assert said[str(ids[0])] == "Fact 0, corrected."
    assert len(said) == 5

    async with snapshots.fetched(org_id, first.day) as table:
        found = await table.query().where(f"memory_id = '{ids[3]}'").to_arrow()
    assert found["agent_id"].to_pylist() == [str(agent_id)]
    assert vectors_of(found["vector"].combine_chunks())[0] @ vectors[3] > 0.99999
    await nothing_else_is_there(database, objects, settings, org_id)
    assert not list((settings.home / "scratch").iterdir())

    # What is in S3 is a Lance dataset as it stands.
    for key in await keys(objects, settings, org_id):
        path = tmp_path / key.partition(f"org={org_id}/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(await objects.get(settings.lake_bucket, key))
    dataset = await (await lancedb.connect_async(tmp_path)).open_table(TABLE)
    assert set(await dataset.tags.list()) == {"2026-05-01", "2026-05-02"}
    await dataset.checkout("2026-05-01")
    assert await dataset.count_rows("status = 'quarantined'") == 0
    await dataset.checkout("2026-05-02")
    assert await dataset.count_rows("status = 'quarantined'") == 1


async def test_a_snapshot_may_be_empty(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Fact.")
    await snapshots.take(org_id, NOW)
    async with database.tenant(org_id) as connection:
        await connection.execute("DELETE FROM ibex_core.memories WHERE org_id = $1", org_id)
    made = await snapshots.take(org_id, NOW + DAY)
    assert made is not None
    assert made.rows == 0
    await snapshots.erase(org_id, Erasure("agent_id", (str(agent_id),)))
    for one in await snapshots.all(org_id):
        async with snapshots.fetched(org_id, one.day) as table:
            place = table, one, agent_id, None, direction(1.0), DEFAULT_EMBEDDING_MODEL
            assert await search(*place, limit=5) == []
            assert len(await load(table, DEFAULT_EMBEDDING_MODEL)) == 0
    await nothing_else_is_there(database, objects, settings, org_id)


async def test_of_many_memories_a_sample_is_compared(
    snapshots: Snapshots, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    for number in range(40):
        await remember(database, org_id, agent_id, f"Fact {number}.")
    await snapshots.take(org_id, NOW)
    async with snapshots.fetched(org_id, NOW.date()) as table:
        every = await load(table, DEFAULT_EMBEDDING_MODEL)
        some = await load(table, DEFAULT_EMBEDDING_MODEL, most=20)
    assert (len(every), every.share, some.of, some.share) == (40, 1.0, 40, 0.5)
    assert 8 <= len(some) <= 32
    assert set(some.ids) == set(every.thinned(0.5).ids)
    assert some.vectors.shape == (len(some), 384)


async def test_whoever_looks_after_the_buckets_finds_nothing_wrong(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Fact.")
    await snapshots.take(org_id, NOW)
    archive = SessionArchive(database, objects, settings)
    verifier = StoreVerifier(database, objects, archive, settings)
    now = datetime.now(UTC) + timedelta(days=7)
    found = await verifier.verify(now, org_id=org_id, share=1.0, repair=True)
    assert (found.files, found.read, found.findings) == (3, 3, [])


async def test_two_at_once_make_one(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Fact.")
    made = await asyncio.gather(*(snapshots.take(org_id, NOW) for _ in range(3)))
    assert made == 3 * await snapshots.all(org_id)
    await nothing_else_is_there(database, objects, settings, org_id)


async def test_today_is_made_anew_when_it_is_asked_for(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    for number in range(3):
        await remember(database, org_id, agent_id, f"Fact {number}.")
        made = await snapshots.take(org_id, NOW, again=True)
        assert made is not None
        assert made.rows == number + 1
        assert await snapshots.all(org_id) == [made]
        await nothing_else_is_there(database, objects, settings, org_id)
    with pytest.raises(NotFoundError):
        await rows(snapshots, org_id, date(2026, 4, 30))


async def test_what_is_kept_no_longer_leaves_nothing(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Fact.")
    brief = settings.model_copy(update={"snapshot_days": 2, "snapshot_months": 1})
    short = Snapshots(database, objects, brief)
    for days in range(4):
        await snapshots.take(org_id, NOW + days * DAY)
    assert await short.expire(org_id, NOW + 3 * DAY) == [date(2026, 5, 2)]
    assert [one.day.day for one in await snapshots.all(org_id)] == [1, 3, 4]
    await nothing_else_is_there(database, objects, settings, org_id)
    # The one with the newest version goes, and the next one is a day of its own all the same.
    await snapshots.drop(org_id, date(2026, 5, 4))
    with pytest.raises(NotFoundError):
        await snapshots.drop(org_id, date(2026, 5, 4))
    await remember(database, org_id, agent_id, "Another.")
    await snapshots.take(org_id, NOW + 4 * DAY)
    counts = {
        one.day.day: len(await rows(snapshots, org_id, one.day))
        for one in await snapshots.all(org_id)
    }
    assert counts == {1: 1, 3: 1, 5: 2}
    await nothing_else_is_there(database, objects, settings, org_id)


@pytest.mark.parametrize("column", ["memory_id", "agent_id", "user_id", "session_id"])
async def test_erasure_reaches_every_version(
    column: str,
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    identity: IdentityStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    other_agent = await identity.create_agent(org_id, "other")
    user = await identity.user(org_id, "user-1")
    for number in range(5):
        await remember(database, org_id, agent_id, f"Kept {number}.")
    session_id = await insert(database, org_id, "sessions", agent_id=other_agent, user_id=user)
    doomed = await remember(database, org_id, other_agent, "MARKER of the old words.", user_id=user)
    await change(database, org_id, doomed, session_id=session_id)
    await snapshots.take(org_id, NOW)
    await change(database, org_id, doomed, content="MARKER of the new words.", version=2)
    await snapshots.take(org_id, NOW + DAY)
    # What a process that was killed left in S3.
    lost = f"vectors/org={org_id}/{TABLE}.lance/data/left.lance"
    await objects.put(settings.lake_bucket, lost, b"MARKER of a snapshot that never was.")
    value = {
        "memory_id": doomed,
        "agent_id": other_agent,
        "user_id": user,
        "session_id": session_id,
    }[column]
    async with database.tenant(org_id) as connection:
        await connection.execute("DELETE FROM ibex_core.memories WHERE id = $1", doomed)
    await snapshots.take(org_id, NOW + 2 * DAY)
    before = await snapshots.all(org_id)

    erased = await snapshots.erase(org_id, Erasure(column, (str(value),)))  # type: ignore[arg-type]
    assert erased == [ErasedFrom(date(2026, 5, 1), 6, 5), ErasedFrom(date(2026, 5, 2), 6, 5)]
    assert [(one.day, one.made_at) for one in await snapshots.all(org_id)] == [
        (one.day, one.made_at) for one in before
    ]
    left = await keys(objects, settings, org_id)
    assert left == await manifest(database, org_id)
    assert lost not in left
    for key in left:
        assert b"MARKER" not in await objects.get(settings.lake_bucket, key), key
    for one in before:
        said = await rows(snapshots, org_id, one.day)
        assert sorted(said.values()) == [f"Kept {number}." for number in range(5)]
    assert await snapshots.erase(org_id, Erasure("memory_id", (str(doomed),))) == []
    assert await snapshots.erase_all(org_id) == 3
    assert not await keys(objects, settings, org_id)


async def test_a_search_as_of_a_day_sees_what_recall_saw(
    snapshots: Snapshots,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    user, other = [await identity.user(org_id, name) for name in ("user-1", "user-2")]
    elsewhere = await identity.create_agent(org_id, "elsewhere")
    old = await remember(database, org_id, agent_id, "Old.", vector=direction(1, 0.1))
    await remember(
        database, org_id, agent_id, "Its user's.", user_id=user, vector=direction(1, 0.2)
    )
    await remember(database, org_id, agent_id, "Another's.", user_id=other)
    await remember(database, org_id, elsewhere, "Another agent's.")
    ended = await remember(database, org_id, agent_id, "Ended.")
    expired = await remember(database, org_id, agent_id, "Expired.")
    expires = await remember(database, org_id, agent_id, "Expires.", vector=direction(1, 0.3))
    quarantined = await remember(database, org_id, agent_id, "Quarantined.")
    rejected = await remember(database, org_id, agent_id, "Rejected.")
    await change(database, org_id, ended, valid_from=NOW - DAY, valid_to=NOW)
    await change(database, org_id, expired, expires_at=NOW)
    await change(database, org_id, expires, expires_at=NOW + timedelta(seconds=1))
    await change(database, org_id, quarantined, status="quarantined")
    await change(database, org_id, rejected, status="rejected")
    await snapshots.take(org_id, NOW)
    await change(database, org_id, old, valid_from=NOW, valid_to=NOW + DAY)
    await remember(database, org_id, agent_id, "New.")
    await snapshots.take(org_id, NOW + 2 * DAY)

    async def found(day: date, user_id: UUID | None, limit: int = 20) -> list[Hit]:
        chosen = as_of(await snapshots.all(org_id), day)
        async with snapshots.fetched(org_id, chosen.day) as table:
            return await search(
                *(table, chosen, agent_id, user_id, direction(1.0), DEFAULT_EMBEDDING_MODEL, limit)
            )

    hits = await found(date(2026, 5, 2), None)
    assert [one.content for one in hits] == ["Old.", "Expires."]
    assert hits[0].similarity == pytest.approx(direction(1, 0.1)[0], abs=1e-3)
    assert [one.content for one in await found(date(2026, 5, 2), user)] == [
        "Old.",
        "Its user's.",
        "Expires.",
    ]
    assert [one.content for one in await found(date(2026, 5, 3), None)] == ["New."]
    assert [one.content for one in await found(date(2026, 5, 1), user, 1)] == ["Old."]
    with pytest.raises(NotFoundError):
        await found(date(2026, 4, 30), None)


async def test_an_organizations_snapshots_are_its_own(
    snapshots: Snapshots,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Ours.")
    await snapshots.take(org_id, NOW)
    other = await identity.create_organization(f"org-{new_id()}")
    assert await snapshots.all(other) == []
    with pytest.raises(NotFoundError):
        await rows(snapshots, other, NOW.date())
    with pytest.raises(NotFoundError):
        await snapshots.drop(other, NOW.date())
    assert await snapshots.erase_all(other) == 0
    assert len(await rows(snapshots, org_id, NOW.date())) == 1


async def test_a_changed_or_lost_file_is_told(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Fact.")
    await snapshots.take(org_id, NOW)
    (data,) = [key for key in await keys(objects, settings, org_id) if key.endswith(".lance")]
    whole = await objects.get(settings.lake_bucket, data)
    await objects.put(settings.lake_bucket, data, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArchiveDamagedError):
        await rows(snapshots, org_id, NOW.date())
    with pytest.raises(ArchiveDamagedError):
        await snapshots.erase(org_id, Erasure("agent_id", (str(agent_id),)))
    await objects.delete(settings.lake_bucket, data)
    with pytest.raises(ArchiveDamagedError):
        await rows(snapshots, org_id, NOW.date())
    await snapshots.take(org_id, NOW + DAY)
    await snapshots.drop(org_id, NOW.date())
    assert len(await rows(snapshots, org_id, (NOW + DAY).date())) == 1


async def test_without_s3_nothing_is_noted_and_the_next_try_makes_it(
    snapshots: Snapshots,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "Fact.")
    away = ObjectStore(settings.model_copy(update={"s3_url": f"http://127.0.0.1:{free_port()}"}))
    with pytest.raises(ObjectStoreUnavailableError):
        await Snapshots(database, away, settings).take(org_id, NOW)
    await away.close()
    assert await snapshots.all(org_id) == []

    class Dies(ObjectStore):
        """Before the file with this ending is there."""

        ending = ".manifest"

        async def put(self, bucket: str, key: str, data: bytes, **options: str) -> StoredObject:
            if key.endswith(self.ending):
                raise ObjectStoreUnavailableError
            return await super().put(bucket, key, data, **options)

    dying = Dies(settings)
    with pytest.raises(ObjectStoreUnavailableError):
        await Snapshots(database, dying, settings).take(org_id, NOW)
    assert await snapshots.all(org_id) == []
    assert await keys(objects, settings, org_id)
    made = await snapshots.take(org_id, NOW)
    assert made is not None
    assert made.rows == 1
    await nothing_else_is_there(database, objects, settings, org_id)

    # The tag is for others' readers: without it the snapshot is whole, and it follows.
    before = await keys(objects, settings, org_id)
    await remember(database, org_id, agent_id, "Another.")
    dying.ending = ".json"
    with pytest.raises(ObjectStoreUnavailableError):
        await Snapshots(database, dying, settings).take(org_id, NOW, again=True)
    await dying.close()
    assert len(await rows(snapshots, org_id, NOW.date())) == 2
    assert await snapshots.expire(org_id, NOW) == []
    await nothing_else_is_there(database, objects, settings, org_id)
    assert len(before & await keys(objects, settings, org_id)) == 1
    (tagged,) = [one for one in await manifest(database, org_id) if one.endswith(".json")]
    (version,) = [one for one in await manifest(database, org_id) if one.endswith(".manifest")]
    assert (
        version_of(version)
        == orjson.loads(await objects.get(settings.lake_bucket, tagged))["version"]
    )
    assert not list((settings.home / "scratch").iterdir())


@pytest.mark.usefixtures("environment", "embedder_server", "redis_server", "s3_server")
async def test_as_an_operator_does_it(
    database: Database, identity: IdentityStore, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    org = await name_of(database, org_id)
    user = await identity.user(org_id, "user-1")
    other = await identity.create_agent(org_id, "other")
    near = [direction(1.0), direction(1.0, 0.01), direction(0, 0, 1), direction(0, 0, 0, 1)]
    ids = [
        await remember(database, org_id, owner, f"Fact {number}.", vector=vector)
        for number, (owner, vector) in enumerate(
            zip((agent_id, other, agent_id, agent_id), near, strict=True)
        )
    ]
    mine = await remember(
        database, org_id, agent_id, "Fact 4.", user_id=user, vector=direction(0, 1, 1)
    )
    for number, memory_id in enumerate(ids):
        await insert_vector(database, org_id, memory_id, near[number][::-1].copy())

    # The job makes today's; the command finds it there.
    made = metadata(await run_job(settings, "snapshot"))["memory_snapshot"]
    assert (made["organizations"], made["vectors"], made["expired"]) == (1, 9, 0)
    (today,) = await ibex("vectors", "snapshot", "--org", org)
    assert today["rows"] == 9
    assert await ibex("vectors", "snapshots", "--org", org) == [today]

    found = await ibex("vectors", "search", "Fact?", "--agent", "assistant", "--org", org)
    assert found["snapshot"] == today["day"]
    assert {one["content"] for one in found["found"]} == {"Fact 0.", "Fact 2.", "Fact 3."}
    found = await ibex(
        *("vectors", "search", "Fact?", "--agent", str(agent_id), "--user", "user-1", "--org", org)
    )
    assert str(mine) in {one["memory_id"] for one in found["found"]}

    same = await ibex("vectors", "duplicates", "--org", org, "--samples")
    (group,) = same["listed"]
    assert set(group["members"]) == {str(ids[0]), str(ids[1])}
    assert (group["agents"], set(group["contents"])) == (2, {"Fact 0.", "Fact 1."})
    about = await ibex("vectors", "clusters", "--org", org, "--count", "3", "--agent", "assistant")
    assert sum(one["size"] for one in about["listed"]) == 4
    assert "contents" not in about["listed"][0]

    compared = await ibex(
        "vectors", "compare-models", DEFAULT_EMBEDDING_MODEL, "second", "--org", org
    )
    assert (compared["first"], compared["second"], compared["both"]) == (5, 4, 4)
    assert compared["neighbours"] == 1.0

    drift = await ibex("vectors", "drift", today["day"], today["day"], "--org", org)
    assert {
        one["agent"]: (one["before"], one["added"], one["gone"]) for one in drift["agents"]
    } == {
        "assistant": (4, 0, 0),
        "other": (1, 0, 0),
    }
    erased = await ibex("vectors", "erase", "--user", "user-1", "--org", org, "--yes")
    assert (erased["snapshots"], erased["rows"]) == (1, 1)
    assert await ibex("vectors", "drop", today["day"], "--org", org, "--yes")
    assert await ibex("vectors", "snapshots", "--org", org) == []


async def insert_vector(
    database: Database,
    org_id: UUID,
    memory_id: UUID,
    vector: Vector,
) -> None:
    async with database.tenant(org_id) as connection:
        await connection.execute(
            """
            INSERT INTO ibex_core.memory_embeddings (org_id, memory_id, model, embedding)
            VALUES ($1, $2, 'second', $3)
            """,
            org_id,
            memory_id,
            vector,
        )
