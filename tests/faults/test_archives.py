"""The object store has bad days, and processes die at any step: no turn is lost, none is twice."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from assets import session_archive
from ibex.errors import ConflictError, ObjectStoreUnavailableError
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive, copy_key
from ibex.stores.content import ContentDropper
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader
from ibex.stores.verifying import StoreVerifier
from tests.crashing import Crash, CrashingStore
from tests.faults.relay import Relay
from tests.integration.recorded import add_session, add_turn, let_time_pass

LATER = datetime.now(UTC) + timedelta(days=2)


class Life:
    """Of one session: what may happen to it, and what was said in it."""

    def __init__(
        self, settings: Settings, database: Database, objects: ObjectStore, org_id: UUID, id_: UUID
    ) -> None:
        self.said: list[str] = []
        self._settings = settings
        self._database = database
        self._org_id = org_id
        self.id = id_
        self.archive = SessionArchive(database, objects, settings)
        self._dropper = ContentDropper(database, self.archive)
        self._verifier = StoreVerifier(database, objects, self.archive, settings)

    async def goes_on(self) -> None:
        self.said.append(f"words {len(self.said)}")
        await add_turn(self._database, self._org_id, self.id, self.said[-1])
        await self._change("UPDATE ibex_core.sessions SET last_extracted_turn = turn_count")

    async def is_archived(self) -> None:
        with suppress(ConflictError):  # somebody died at it a moment ago
            await self.archive.archive(self._org_id, self.id)

    async def crashes(self, put: int, moment: str) -> None:
        store = CrashingStore(self._settings, put, moment)
        dying = SessionArchive(self._database, store, self._settings)
        with suppress(Crash, ConflictError):
            await dying.archive(self._org_id, self.id)
        await store.close()

    async def drops(self) -> None:
        await self._dropper.drop(LATER)

    async def moves_on(self) -> None:
        """As it is meant: then something is said that the archive has not."""
        await self.time_passes()
        await self.is_archived()
        await self.drops()
        await self.goes_on()

    async def time_passes(self) -> None:
        await let_time_pass(self._database, self._org_id)

    async def is_verified(self) -> None:
        await self._verifier.verify(LATER, org_id=self._org_id, share=1.0, repair=True)

    async def read(self) -> list[str]:
        turns = await TurnReader(self._database, self.archive).turns(self._org_id, self.id)
        assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
        return [turn.messages[0]["content"] for turn in turns if turn.messages]

    async def _change(self, statement: str) -> None:
        async with self._database.tenant(self._org_id) as connection:
            await connection.execute(statement)

    async def begin(self) -> None:
        await self._change("UPDATE ibex_core.extraction_jobs SET status = 'done'")


EVENTS = ("moves_on", "goes_on", "is_archived", "drops", "time_passes", "is_verified")
events = st.one_of(
    st.tuples(st.sampled_from(EVENTS)),
    st.tuples(
        st.just("crashes"), st.sampled_from([1, 2]), st.sampled_from(["before", "torn", "after"])
    ),
)


@trials(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, min_size=1, max_size=12))
async def test_whatever_happens_everything_that_was_said_can_be_read(
    settings: Settings,
    database: Database,
    objects: ObjectStore,
    org_id: UUID,
    agent_id: UUID,
    script: list[tuple[Any, ...]],
) -> None:
    session_id = await add_session(database, org_id, agent_id, said=())
    life = Life(settings, database, objects, org_id, session_id)
    await life.begin()
    await life.goes_on()
    for name, *arguments in script:
        await getattr(life, name)(*arguments)
        assert await life.read() == life.said

    await life.time_passes()
    await life.is_archived()
    await life.drops()
    assert await life.read() == life.said
    archived = await life.archive.compare(org_id, session_id)
    assert archived.turns == len(life.said)
    keys = await objects.keys(settings.sessions_bucket, f"{org_id}/{agent_id}/{session_id}/")
    assert keys == [archived.key]
    assert copy_key(archived.key) not in keys
    async with database.tenant(org_id) as connection:
        kept = await connection.fetchval(
            "SELECT count(*) FROM ibex_core.session_turns"
            " WHERE session_id = $1 AND messages IS NOT NULL",
            session_id,
        )
    assert kept == 0


async def test_a_slow_store_holds_up_nobody(
    settings: Settings,
    archive: SessionArchive,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sessions are left for the next run, also those that nobody has begun."""
    monkeypatch.setattr(session_archive, "_PATIENCE", 0.5)
    sessions = [await add_session(database, org_id, agent_id) for _ in range(20)]
    relay = Relay("127.0.0.1", urlsplit(settings.s3_endpoint).port or 0)
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    slow = settings.model_copy(update={"s3_url": f"http://127.0.0.1:{port}"})
    store = ObjectStore(slow)
    stores: Any = SimpleNamespace(archive=SessionArchive(database, store, slow))

    relay.hold()
    due = await archive.due(100)
    outcomes = await session_archive._archive_all(stores, due)
    assert len(outcomes.done) + len(outcomes.failed) == len(sessions)
    assert not any(outcomes.done)
    assert {type(error) for _, error in outcomes.failed} == {ObjectStoreUnavailableError}
    assert 0 < len(outcomes.failed) < len(sessions)

    relay.release()
    await let_time_pass(database, org_id)
    outcomes = await session_archive._archive_all(stores, await archive.due(100))
    assert (len(outcomes.done), outcomes.failed) == (len(sessions), [])
    for session_id in sessions:
        assert (await archive.compare(org_id, session_id)).turns == 2
    await store.close()
    server.close()
    await relay.close()


async def test_a_session_that_takes_longer_gets_its_time_with_the_next_try(
    archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    with pytest.raises(ObjectStoreUnavailableError):
        await archive.archive(org_id, session_id, patience=0.0)
    with pytest.raises(ConflictError):  # what was sent may still be on its way
        await archive.archive(org_id, session_id)
    await let_time_pass(database, org_id)
    assert (await archive.archive(org_id, session_id, patience=0.0)).turns == 2


FULL = b"""<?xml version="1.0"?><Error><Code>XMinioStorageFull</Code></Error>"""


async def test_a_full_store_is_said_and_what_is_there_stays(
    settings: Settings, archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    """As MinIO says it. https://github.com/minio/minio/blob/master/cmd/api-errors.go"""

    connections: list[asyncio.StreamWriter] = []

    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while line := await reader.readline():
            headers = line + await reader.readuntil(b"\r\n\r\n")
            length = 0
            for one in headers.split(b"\r\n"):
                if one.lower().startswith(b"content-length:"):
                    length = int(one.partition(b":")[2])
            await reader.readexactly(length)
            status = b"507 Insufficient Storage" if line.startswith(b"PUT") else b"200 OK"
            body = FULL if line.startswith(b"PUT") else b""
            writer.write(
                b"HTTP/1.1 "
                + status
                + b"\r\nContent-Type: application/xml\r\nContent-Length: "
                + str(len(body)).encode()
                + b"\r\n\r\n"
                + body
            )

    session_id = await add_session(database, org_id, agent_id)
    first = await archive.archive(org_id, session_id)
    await add_turn(database, org_id, session_id, "And one more.")
    server = await asyncio.start_server(full, "127.0.0.1", 0)
    there = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = ObjectStore(settings.model_copy(update={"s3_url": there}))
    with pytest.raises(ObjectStoreUnavailableError, match="XMinioStorageFull"):
        await SessionArchive(database, store, settings).archive(org_id, session_id)
    await store.close()
    server.close()
    for connection in connections:
        connection.close()
        await connection.wait_closed()

    assert [turn.number for turn in await archive.read(org_id, session_id)] == [1, 2]
    await let_time_pass(database, org_id)
    second = await archive.archive(org_id, session_id)
    assert (second.key, second.turns) == (first.key, 3)
