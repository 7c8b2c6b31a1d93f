"""Content leaves PostgreSQL when it is in the archive for good, and not before."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ibex.conversation import outline
from ibex.errors import ObjectStoreUnavailableError
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.archive import ArchivedSession, SessionArchive, archive_key
from ibex.stores.content import ContentDropper, Dropped
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import NewTurn, SessionStore, new_session
from ibex.stores.turns import TurnReader
from tests.integration.recorded import START, TALK, add_session, add_turn
from tests.pipeline import contents, learn
from tests.seeding import add_injection

NOW = datetime.now(UTC)
LATER = NOW + timedelta(hours=1)
OF_JOB = "UPDATE ibex_core.extraction_jobs SET {} WHERE org_id = $1 AND session_id = $2"
OF_SESSION = "UPDATE ibex_core.sessions SET {} WHERE org_id = $1 AND id = $2"
BEING_WRITTEN = (
    "INSERT INTO ibex_core.archive_uploads (org_id, session_id, upload_id) VALUES ($1, $2, $2)"
)


@pytest.fixture
async def session_id(
    database: Database, archive: SessionArchive, org_id: UUID, agent_id: UUID
) -> UUID:
    return await finished(database, archive, org_id, agent_id)


async def finished(
    database: Database, archive: SessionArchive, org_id: UUID, agent_id: UUID
) -> UUID:
    """Extracted and archived; its content may go."""
    session_id = await add_session(database, org_id, agent_id)
    await extracted(database, org_id, session_id)
    await archive.archive(org_id, session_id)
    return session_id


async def extracted(database: Database, org_id: UUID, session_id: UUID) -> None:
    await change(
        database,
        org_id,
        session_id,
        OF_JOB.format("status = 'done'"),
        OF_SESSION.format("last_extracted_turn = turn_count, status = 'completed'"),
    )


async def change(database: Database, org_id: UUID, session_id: UUID, *statements: str) -> None:
    async with database.tenant(org_id) as connection:
        for statement in statements:
            await connection.execute(statement, org_id, session_id)


async def said(database: Database, org_id: UUID, session_id: UUID) -> list[str | None]:
    """As PostgreSQL has it."""
    turns = await SessionStore(database).turns(org_id, session_id)
    return [one.messages[0]["content"] if one.messages else None for one in turns]


async def test_the_content_goes_and_is_read_from_the_archive(
    archive: SessionArchive, database: Database, org_id: UUID, session_id: UUID
) -> None:
    reader = TurnReader(database, archive)
    before = await reader.turns(org_id, session_id)
    dropper = ContentDropper(database, archive)
    assert await dropper.drop(START - timedelta(seconds=1)) == Dropped()  # too young
    assert await dropper.drop(NOW) == Dropped(sessions=1, turns=2)
    assert await said(database, org_id, session_id) == [None, None]
    assert await reader.turns(org_id, session_id) == before
    assert await dropper.drop(NOW) == Dropped()

    await add_turn(database, org_id, session_id, "And one more.")
    await extracted(database, org_id, session_id)
    assert await dropper.drop(NOW) == Dropped()  # its archive is not of today
    await archive.archive(org_id, session_id)
    assert await said(database, org_id, session_id) == [None, None, "And one more."]
    assert await dropper.drop(NOW) == Dropped(sessions=1, turns=1)
    after = await reader.turns(org_id, session_id)
    assert (after[:2], len(after)) == (before, 3)


@pytest.mark.parametrize(
    ("statement", "looked_at"),
    [
        (OF_JOB.format("status = 'waiting'"), False),
        (OF_JOB.format("status = 'dead', attempts = 3"), False),
        (OF_SESSION.format("status = 'active'"), False),
        (OF_SESSION.format("last_extracted_turn = 1"), False),
        (OF_SESSION.format("archived_turn = 1"), False),
        (BEING_WRITTEN, True),
    ],
    ids=["to extract", "dead letter", "goes on", "half read", "half archived", "being written"],
)
async def test_what_is_needed_stays(
    archive: SessionArchive,
    database: Database,
    org_id: UUID,
    session_id: UUID,
    statement: str,
    looked_at: bool,
) -> None:
    await change(database, org_id, session_id, statement)
    dropped = await ContentDropper(database, archive).drop(NOW)
    assert dropped == Dropped(needed=1 if looked_at else 0)
    assert await said(database, org_id, session_id) == list(TALK)


async def test_an_answer_that_nobody_has_looked_at_keeps_its_session(
    archive: SessionArchive, database: Database, org_id: UUID, agent_id: UUID, session_id: UUID
) -> None:
    (turn, _) = await SessionStore(database).turns(org_id, session_id)
    await add_injection(database, org_id, agent_id, session_id, turn.request_id, [session_id])
    dropper = ContentDropper(database, archive)
    assert await dropper.drop(NOW) == Dropped(needed=1)
    await change(
        database,
        org_id,
        session_id,
        "UPDATE ibex_core.context_injections SET observed_at = now()"
        " WHERE org_id = $1 AND session_id = $2",
    )
    assert await dropper.drop(NOW) == Dropped(sessions=1, turns=2)


@pytest.mark.parametrize("damage", ["gone", "cut off", "changed"])
async def test_for_a_damaged_archive_nothing_is_dropped_and_it_is_written_anew(
    archive: SessionArchive,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    session_id: UUID,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = await finished(database, archive, org_id, agent_id)
    place = settings.sessions_bucket, archive_key(org_id, agent_id, session_id)
    if damage == "gone":
        await objects.delete(*place)
    else:
        data = await objects.get(*place)
        whole = len(data) if damage == "changed" else len(data) // 2
        await objects.put(*place, data.replace(b"short", b"large")[:whole])
    dropper = ContentDropper(database, archive)
    assert await dropper.drop(NOW) == Dropped(sessions=1, turns=2, damaged=1)
    assert await said(database, org_id, session_id) == list(TALK)
    assert await said(database, org_id, other) == [None, None]
    assert str(session_id) in caplog.text
    assert "short answers" not in caplog.text

    assert [key.session_id for key in await archive.due(10)] == [session_id]
    await archive.archive(org_id, session_id)
    assert await dropper.drop(NOW) == Dropped(sessions=1, turns=2)


async def test_a_turn_that_comes_in_between_keeps_all_of_them(
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    session_id: UUID,
) -> None:
    """And an archive that another process writes anew in between."""
    happens: list[Callable[[], Awaitable[object]]] = []

    class Interrupted(SessionArchive):
        async def compare(self, org_id: UUID, session_id: UUID) -> ArchivedSession:
            archived = await super().compare(org_id, session_id)
            while happens:
                await happens.pop()()
            return archived

    archive = Interrupted(database, objects, settings)
    dropper = ContentDropper(database, archive)

    async def goes_on() -> None:
        await add_turn(database, org_id, session_id, "And one more.")
        await extracted(database, org_id, session_id)

    async def is_archived() -> None:
        await goes_on()
        await archive.archive(org_id, session_id)

    happens.append(goes_on)
    assert await dropper.drop(NOW) == Dropped(needed=1)
    await archive.archive(org_id, session_id)
    happens.append(is_archived)
    assert await dropper.drop(NOW) == Dropped(needed=1)
    assert None not in await said(database, org_id, session_id)
    assert await dropper.drop(NOW) == Dropped(sessions=1, turns=4)


async def test_without_the_object_store_nothing_is_dropped(
    settings: Settings, database: Database, org_id: UUID, session_id: UUID
) -> None:
    nowhere = settings.model_copy(update={"s3_url": "http://127.0.0.1:9"})
    archive = SessionArchive(database, ObjectStore(nowhere), nowhere)
    with pytest.raises(ObjectStoreUnavailableError):
        await ContentDropper(database, archive).drop(NOW)
    assert await said(database, org_id, session_id) == list(TALK)


@pytest.mark.usefixtures("redis_server", "embedder_server", "sandbox_server")
async def test_a_conversation_goes_on_after_its_content_went(
    settings: Settings,
    archive: SessionArchive,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    """As a client has it that sends all of it again: its session is found, only what is new is
    learned, and the archive is whole."""
    sessions = SessionStore(database)
    conversation: list[dict[str, str]] = []

    async def say(text: str) -> UUID:
        asked = [*conversation, {"role": "user", "content": text}]
        found = await sessions.find_conversation(org_id, agent_id, None, outline(asked))
        opened = found or new_session(org_id, agent_id, None)
        answer = {"role": "assistant", "content": "Noted."}
        recorded = await sessions.record_turn(
            NewTurn(
                org_id=org_id,
                session_id=opened.id,
                request_id=str(new_id()),
                messages=asked,
                response=answer,
                model="sandbox",
                resent=True,
                opened=opened,
                found_by_content=True,
            )
        )
        conversation[:] = [*asked, answer]
        return recorded.session.id

    session_id = await say(TALK[0])
    assert await say(TALK[1]) == session_id
    await sessions.complete(org_id, session_id)
    await learn(settings)
    before = await contents(database, org_id)
    dropper = ContentDropper(database, archive)
    assert await dropper.drop(LATER) == Dropped(sessions=1, turns=2)

    assert await say("My cat is called Wilhelmina.") == session_id
    await sessions.complete(org_id, session_id)
    await learn(settings)
    after = await contents(database, org_id)
    assert after[: len(before)] == before
    assert all("Wilhelmina" in one for one in after[len(before) :])
    assert len(after) > len(before)
    assert await dropper.drop(LATER) == Dropped(sessions=1, turns=1)
    turns = await TurnReader(database, archive).turns(org_id, session_id)
    said = [message for turn in turns for message in (*(turn.messages or ()), turn.response)]
    assert said == conversation
