"""Which files count: swapped in one transaction, and never for a day that another swap has."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from ibex.errors import LakeConflictError
from ibex.ids import new_id
from ibex.lake.manifest import Day, LakeFile, Manifest, Retired
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database

MARCH = date(2026, 3, 1)


def file(first: date, last: date | None = None, *, rows: int = 3, table: str = "turns") -> LakeFile:
    file_id = new_id()
    at = datetime(first.year, first.month, first.day, 12, tzinfo=UTC)
    return LakeFile(
        id=file_id,
        table=table,
        bucket="ibex-lake",
        key=f"{table}/date={first}/part-{file_id}.parquet",
        first=first,
        last=last or first,
        rows=rows,
        size=100 * rows,
        sha256=bytes(32),
        schema_version=1,
        min_time=at,
        max_time=at,
    )


@pytest.fixture
def manifest(database: Database) -> Manifest:
    return Manifest(database)


async def test_a_swap_replaces_what_counts_and_keeps_the_old_for_a_while(
    manifest: Manifest, org_id: UUID
) -> None:
    old, other = file(MARCH), file(MARCH + timedelta(1))
    for one in (old, other):
        await manifest.swap(
            org_id,
            "turns",
            one.first,
            one.last,
            replaced=[],
            files=[one],
            days=[Day(one.first, 7, one.rows)],
        )
    new = file(MARCH, rows=5)
    await manifest.swap(
        org_id, "turns", MARCH, MARCH, replaced=[old.id], files=[new], days=[Day(MARCH, 8, 5)]
    )
    assert await manifest.live_files(org_id, "turns") == [new, other]
    assert await manifest.live_files(org_id, since=MARCH + timedelta(1)) == [other]
    assert await manifest.live_files(org_id, "turns", until=MARCH) == [new]
    assert await manifest.live_files(org_id, "memories") == []
    days = await manifest.days(org_id, "turns")
    assert days == {MARCH: Day(MARCH, 8, 5), other.first: Day(other.first, 7, 3)}

    now = datetime.now(UTC) + timedelta(minutes=1)
    assert await manifest.retired(org_id, now, 10) == [Retired(old.id, old.bucket, old.key)]
    assert await manifest.retired(org_id, now - timedelta(hours=1), 10) == []
    (status,) = await manifest.status(org_id)
    assert (status.files, status.rows, status.bytes, status.retired) == (2, 8, 800, 1)
    assert (status.since, status.until) == (MARCH, other.first)
    await manifest.forget(org_id, [old.id, new.id])  # what is live is not forgotten
    assert await manifest.retired(org_id, now, 10) == []
    assert await manifest.live_files(org_id, "turns") == [new, other]


async def test_a_day_that_is_empty_now_has_no_file_and_no_note(
    manifest: Manifest, org_id: UUID
) -> None:
    old = file(MARCH)
    await manifest.swap(
        org_id, "turns", MARCH, MARCH, replaced=[], files=[old], days=[Day(MARCH, 7, 3)]
    )
    await manifest.swap(
        org_id, "turns", MARCH, MARCH, replaced=[old.id], files=[], days=[Day(MARCH, 0, 0)]
    )
    assert await manifest.live_files(org_id) == []
    assert await manifest.days(org_id, "turns") == {}


async def test_whoever_is_late_changes_nothing(manifest: Manifest, org_id: UUID) -> None:
    """Nobody saw a file of the day, or both replace the same one: one of them writes it."""

    async def write(replaced: list[UUID], last: date) -> LakeFile:
        one = file(MARCH, last)
        await manifest.swap(org_id, "turns", MARCH, last, replaced=replaced, files=[one])
        return one

    for last in (MARCH, MARCH + timedelta(30)):
        before = [one.id for one in await manifest.live_files(org_id, "turns")]
        tried = await asyncio.gather(
            *(write(before, last) for _ in range(4)), return_exceptions=True
        )
        done = [one for one in tried if isinstance(one, LakeFile)]
        late = [one for one in tried if isinstance(one, LakeConflictError)]
        assert (len(done), len(late)) == (1, 3)
        assert await manifest.live_files(org_id, "turns") == done


async def test_another_organization_has_files_of_its_own(
    manifest: Manifest, identity: IdentityStore, org_id: UUID
) -> None:
    mine, theirs = file(MARCH), file(MARCH)
    other = await identity.create_organization(f"other-{new_id()}")
    await manifest.swap(org_id, "turns", MARCH, MARCH, replaced=[], files=[mine])
    await manifest.swap(other, "turns", MARCH, MARCH, replaced=[], files=[theirs])
    assert await manifest.live_files(org_id) == [mine]
    with pytest.raises(LakeConflictError):
        await manifest.swap(org_id, "turns", MARCH, MARCH, replaced=[theirs.id], files=[])
    assert await manifest.live_files(other) == [theirs]
