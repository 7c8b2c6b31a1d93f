"""Turns are read the same whether PostgreSQL has their content or their archive."""

from uuid import UUID

import pytest

from ibex.errors import ArchiveDamagedError, ObjectStoreUnavailableError
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive, archive_key
from ibex.stores.management import ManagementStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.stores.turns import TurnReader
from tests.integration.recorded import TALK, add_session, add_turn, drop_content


@pytest.fixture
def reader(database: Database, archive: SessionArchive) -> TurnReader:
    return TurnReader(database, archive)


@pytest.fixture
async def session_id(
    database: Database, archive: SessionArchive, org_id: UUID, agent_id: UUID
) -> UUID:
    """Archived; both turns still have their content."""
    session_id = await add_session(database, org_id, agent_id)
    await archive.archive(org_id, session_id)
    return session_id


async def test_nobody_notices_that_the_content_is_gone(
    reader: TurnReader, database: Database, org_id: UUID, session_id: UUID
) -> None:
    before = await reader.turns(org_id, session_id)
    assert before == await SessionStore(database).turns(org_id, session_id)
    await drop_content(database, org_id, session_id)
    assert await reader.turns(org_id, session_id) == before
    assert await reader.turns(org_id, session_id, 1) == before[1:]

    await add_turn(database, org_id, session_id, "And one more.")
    after = await reader.turns(org_id, session_id)
    assert after[:2] == before
    said = [one.messages[0]["content"] for one in after if one.messages]
    assert said == [*TALK, "And one more."]


async def test_rows_of_another_shape_are_filled_too(
    reader: TurnReader, database: Database, org_id: UUID, session_id: UUID
) -> None:
    management = ManagementStore(database)
    before = await management.turns(org_id, session_id, limit=10)
    await drop_content(database, org_id, session_id)
    rows = await management.turns(org_id, session_id, after=before[0].id, limit=10)
    (filled,) = await reader.filled(org_id, session_id, rows)
    assert list(filled.messages or ()) == before[1].messages
    assert (filled.id, filled.response) == (before[1].id, before[1].response)


@pytest.mark.parametrize("damage", ["cut off", "changed", "gone", "another session's"])
async def test_an_archive_that_is_not_what_was_written_is_not_read(
    reader: TurnReader,
    archive: SessionArchive,
    objects: ObjectStore,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    session_id: UUID,
    damage: str,
) -> None:
    await drop_content(database, org_id, session_id)
    place = settings.sessions_bucket, archive_key(org_id, agent_id, session_id)
    data = await objects.get(*place)
    if damage == "gone":
        await objects.delete(*place)
    elif damage == "another session's":
        other = await archive.archive(org_id, await add_session(database, org_id, agent_id))
        await objects.put(*place, await objects.get(other.bucket, other.key))
    else:
        whole = len(data) if damage == "changed" else len(data) // 2
        await objects.put(*place, data.replace(b"Noted.", b"Sworn.")[:whole])
    with pytest.raises(ArchiveDamagedError) as raised:
        await reader.turns(org_id, session_id)
    assert "smoketest" not in str(raised.value)


async def test_it_is_said_why_nothing_can_be_read(
    reader: TurnReader,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    session_id: UUID,
) -> None:
    nowhere = settings.model_copy(update={"s3_url": "http://127.0.0.1:9"})
    lost = TurnReader.of(database, ObjectStore(nowhere), nowhere)
    assert len(await lost.turns(org_id, session_id)) == 2  # PostgreSQL has all of it
    await drop_content(database, org_id, session_id)
    with pytest.raises(ObjectStoreUnavailableError):
        await lost.turns(org_id, session_id)

    unarchived = await add_session(database, org_id, agent_id)
    await drop_content(database, org_id, unarchived)
    with pytest.raises(ArchiveDamagedError, match="gone"):
        await reader.turns(org_id, unarchived)
