import asyncio
import hashlib
import io
from typing import Any
from uuid import UUID

import orjson
import pytest
from pyreqwest.client import ClientBuilder

from ibex.errors import (
    ArchiveDamagedError,
    ConflictError,
    NotFoundError,
    ObjectStoreUnavailableError,
    SessionNotFoundError,
)
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.archive import ArchivedSession, SessionArchive, archive_key, copy_key
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionKey, SessionStore
from tests.crashing import Crash, CrashingStore
from tests.integration.recorded import TALK, add_session, add_turn, drop_content, let_time_pass


async def test_the_archive_is_the_turns(
    archive: SessionArchive,
    objects: ObjectStore,
    database: Database,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    assert await archive.due(10) == [SessionKey(org_id, session_id)]

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
    assert await archive.due(10) == []


async def test_archiving_again_changes_nothing_and_a_longer_session_is_written_anew(
    archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    first = await archive.archive(org_id, session_id)
    assert await archive.archive(org_id, session_id) == first

    await add_turn(database, org_id, session_id, "And one more.")
    assert len(await archive.due(10)) == 1
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
    assert await archive.due(1) == []  # not before a moment has passed
    await let_time_pass(database, org_id)
    assert await archive.due(1) == [SessionKey(org_id, session_id)]


async def test_a_session_that_goes_on_without_its_content_keeps_its_old_lines(
    archive: SessionArchive,
    objects: ObjectStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    first = await archive.archive(org_id, session_id)
    before = await objects.get(first.bucket, first.key)
    await drop_content(database, org_id, session_id)
    assert await archive.archive(org_id, session_id) == first  # from itself

    await add_turn(database, org_id, session_id, "And one more.")
    second = await archive.archive(org_id, session_id)
    after = await objects.get(second.bucket, second.key)
    assert after.startswith(before)
    assert orjson.loads(after.splitlines()[-1])["messages"][0]["content"] == "And one more."
    assert [one.number for one in await archive.read(org_id, session_id)] == [1, 2, 3]
    assert await archive.compare(org_id, session_id) == second
    with pytest.raises(NotFoundError):
        await objects.get(second.bucket, copy_key(second.key))


@pytest.mark.parametrize("moment", ["before", "torn", "after"])
@pytest.mark.parametrize("put", [1, 2], ids=["the copy", "the object"])
async def test_a_crash_loses_no_turn_that_only_the_archive_has(
    archive: SessionArchive,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    put: int,
    moment: str,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    await archive.archive(org_id, session_id)
    old = await archive.read(org_id, session_id)
    await drop_content(database, org_id, session_id)
    await add_turn(database, org_id, session_id, "And one more.")

    store = CrashingStore(settings, put, moment)
    with pytest.raises(Crash):
        await SessionArchive(database, store, settings).archive(org_id, session_id)
    await store.close()
    assert (await archive.read(org_id, session_id))[:2] == old
    with pytest.raises(ConflictError):  # the lease of the one that died
        await archive.archive(org_id, session_id)

    await let_time_pass(database, org_id)
    await add_turn(database, org_id, session_id, "And another.")
    archived = await archive.archive(org_id, session_id)
    turns = await archive.read(org_id, session_id)
    assert turns[:2] == old
    assert [one.number for one in turns] == [1, 2, 3, 4]
    assert await archive.compare(org_id, session_id) == archived


async def test_a_damaged_archive_never_takes_the_place_of_a_good_one(
    archive: SessionArchive,
    objects: ObjectStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    """As long as PostgreSQL has the turns it is written anew; then it is left as it is."""
    session_id = await add_session(database, org_id, agent_id)
    archived = await archive.archive(org_id, session_id)
    place = archived.bucket, archived.key
    good = await objects.get(*place)
    await objects.put(*place, good[:-10])
    with pytest.raises(ArchiveDamagedError):
        await archive.compare(org_id, session_id)
    assert await archive.archive(org_id, session_id) == archived
    assert await objects.get(*place) == good

    await drop_content(database, org_id, session_id)
    await objects.put(*place, good[:-10])
    await add_turn(database, org_id, session_id, "And one more.")
    with pytest.raises(ArchiveDamagedError):
        await archive.archive(org_id, session_id)
    assert await objects.get(*place) == good[:-10]
    assert await archive.due(10) == []  # it is tried again later
    await objects.put(*place, good)  # from a copy that somebody has
    await let_time_pass(database, org_id)
    assert (await archive.archive(org_id, session_id)).turns == 3


async def test_an_archive_that_says_something_else_than_the_database_is_told(
    archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    await archive.archive(org_id, session_id)
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.session_turns SET model = 'other' WHERE number = 2"
        )
    with pytest.raises(ArchiveDamagedError, match="not what PostgreSQL has"):
        await archive.compare(org_id, session_id)


async def test_one_process_archives_a_session_at_a_time(
    archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    done = await asyncio.gather(
        *(archive.archive(org_id, session_id) for _ in range(5)), return_exceptions=True
    )
    assert {type(one) for one in done} <= {ArchivedSession, ConflictError}
    assert any(isinstance(one, ArchivedSession) for one in done)
    assert await archive.compare(org_id, session_id) in done
    async with database.tenant(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ibex_core.archive_uploads") == 0


async def test_what_arrives_changed_is_no_archive(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    """A store that keeps the length and changes a byte."""

    class Forgetful(ObjectStore):
        async def _call(self, work: Any, deadline: float = 1.0) -> Any:
            return await super()._call(lambda client: work(_Flipping(client)), deadline)

    session_id = await add_session(database, org_id, agent_id)
    store = Forgetful(settings)
    with pytest.raises(ObjectStoreUnavailableError, match="other bytes"):
        await SessionArchive(database, store, settings).archive(org_id, session_id)
    await store.close()
    session = await SessionStore(database).session(org_id, session_id)
    assert session.archived_turn == 0


class _Flipping:
    def __init__(self, client: Any) -> None:
        self._client = client

    def put_object(self, bucket: str, key: str, data: io.BytesIO, *rest: Any) -> Any:
        changed = bytearray(data.read())
        changed[7] ^= 1
        return self._client.put_object(bucket, key, io.BytesIO(bytes(changed)), *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
