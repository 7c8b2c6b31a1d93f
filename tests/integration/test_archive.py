import hashlib
from collections.abc import AsyncIterator
from uuid import UUID

import orjson
import pytest
from pyreqwest.client import ClientBuilder

from ibex.embedded.process import ProcessSpec
from ibex.errors import NotFoundError, ObjectStoreUnavailableError, SessionNotFoundError
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive, archive_key
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionKey
from tests.integration.recorded import TALK, add_session, add_turn


@pytest.fixture
async def objects(settings: Settings, s3_server: ProcessSpec) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(settings)
    yield store
    await store.close()


@pytest.fixture
def archive(database: Database, objects: ObjectStore, settings: Settings) -> SessionArchive:
    return SessionArchive(database, objects, settings)


async def test_the_archive_is_the_turns(
    archive: SessionArchive,
    objects: ObjectStore,
    database: Database,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    jobs = JobStore(database)
    session_id = await add_session(database, org_id, agent_id)
    assert await jobs.sessions_to_archive(10) == [SessionKey(org_id, session_id)]

    archived = await archive.archive(org_id, session_id)
    data = await objects.get(settings.sessions_bucket, archive_key(org_id, agent_id, session_id))
    assert (len(data), hashlib.sha256(data).digest()) == (archived.size, archived.sha256)
    lines = [orjson.loads(line) for line in data.splitlines()]
    assert [line["turn"] for line in lines] == [1, 2]
    assert [line["messages"][0]["content"] for line in lines] == list(TALK)
    assert lines[0]["response"] == {"role": "assistant", "content": "Noted."}
    assert lines[0]["created_at"] == "2026-03-01T12:01:00Z"
    assert lines[0]["chain_hash"] == hashlib.sha256(TALK[0].encode()).hexdigest()
    assert {(line["schema_version"], line["session_id"]) for line in lines} == {
        (1, str(session_id))
    }
    assert await jobs.sessions_to_archive(10) == []


async def test_archiving_again_changes_nothing_and_a_longer_session_is_written_anew(
    archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    first = await archive.archive(org_id, session_id)
    assert await archive.archive(org_id, session_id) == first

    await add_turn(database, org_id, session_id, "And one more.")
    assert len(await JobStore(database).sessions_to_archive(10)) == 1
    second = await archive.archive(org_id, session_id)
    assert (second.key, second.turns) == (first.key, 3)
    async with database.tenant(org_id) as connection:
        files = await connection.fetch("SELECT rows, bytes, sha256 FROM ibex_core.archive_files")
    assert [tuple(file) for file in files] == [(3, second.size, second.sha256)]


async def test_an_archive_is_read_by_its_presigned_url_only(
    archive: SessionArchive,
    objects: ObjectStore,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    with pytest.raises(NotFoundError):
        await archive.presign(org_id, session_id)
    archived = await archive.archive(org_id, session_id)
    url = await archive.presign(org_id, session_id)
    async with ClientBuilder().no_proxy().build() as client:
        read = await client.get(url).build().send()
        assert (read.status, len(bytes(await read.bytes()))) == (200, archived.size)
        tampered = (
            await client.get(url.replace("X-Amz-Expires=900", "X-Amz-Expires=9000")).build().send()
        )
        assert tampered.status == 403

    other = await identity.create_organization(f"other-{new_id()}")
    with pytest.raises(NotFoundError):
        await archive.presign(other, session_id)
    with pytest.raises(SessionNotFoundError):
        await archive.archive(other, session_id)


async def test_objects_come_and_go(objects: ObjectStore, settings: Settings) -> None:
    key = f"{new_id()}/x"
    await objects.put(settings.lake_bucket, key, b"bytes")
    assert await objects.get(settings.lake_bucket, key) == b"bytes"
    await objects.delete(settings.lake_bucket, key)
    await objects.delete(settings.lake_bucket, key)
    with pytest.raises(NotFoundError):
        await objects.get(settings.lake_bucket, key)


async def test_without_an_object_store_the_session_stays_due(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    nowhere = settings.model_copy(update={"s3_url": "http://127.0.0.1:9"})
    archive = SessionArchive(database, ObjectStore(nowhere), nowhere)
    with pytest.raises(ObjectStoreUnavailableError):
        await archive.archive(org_id, session_id)
    assert await JobStore(database).sessions_to_archive(1) == [SessionKey(org_id, session_id)]
