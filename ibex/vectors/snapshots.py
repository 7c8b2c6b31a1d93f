"""Snapshots of an organization's memories: made, fetched, kept for a while, erased from.

The manifest (`archive_files`, kind 'vectors') says which files a day's snapshot has, how long each
is and what its SHA-256 is. It changes in the transaction that holds the organization's lock, once
the files are in S3. What lies in S3 and is not in the manifest is nothing, and the next one who
holds the lock deletes it; a tag, which Lance's own readers go by and nothing here, is written then
if it is not yet. So a process may be killed anywhere.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from ibex.errors import ArchiveDamagedError, NotFoundError
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.objects import ObjectStore, StoredObject
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load
from ibex.vectors.dataset import (
    FOLDER,
    Written,
    on_disk,
    opened,
    scratch,
    tag,
    tag_name,
    version_of,
    write,
)
from ibex.vectors.keeping import expired
from ibex.vectors.rows import SCHEMA_VERSION, table, with_all_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import AsyncTable

_SQL = load("vectors")
CHUNK: Final = 16_384  # rows of one file, about 15 MiB
_PATIENCE: Final = 600.0  # seconds, for whoever works on the organization's snapshots just now
_AT_ONCE: Final = 4  # files
_MANIFEST: Final = ".manifest"
_TAG: Final = ".json"

Watch = Callable[[int, int], None]  # done, of how many


@dataclass(frozen=True)
class Snapshot:
    day: date  # UTC; its tag
    rows: int  # vectors: a memory with vectors of two models has two
    size: int  # bytes
    files: int
    schema_version: int
    made_at: datetime


@dataclass(frozen=True)
class Erasure:
    """Which rows go: those that have one of `values`, UUIDs as text, in `column`."""

    column: Literal["memory_id", "agent_id", "user_id", "session_id"]
    values: tuple[str, ...]


@dataclass(frozen=True)
class ErasedFrom:
    """A snapshot that was written anew without some rows."""

    day: date
    before: int  # rows
    after: int


@dataclass(frozen=True)
class _File:
    key: str
    date: date
    rows: int
    size: int  # bytes
    sha256: bytes
    schema_version: int
    created_at: datetime


class Snapshots:
    """Raises DatabaseUnavailableError, ObjectStoreUnavailableError and ScratchFolderError from
    every method."""

    def __init__(
        self, database: Database, objects: ObjectStore, settings: Settings, *, chunk: int = CHUNK
    ) -> None:
        self._database = database
        self._objects = objects
        self._settings = settings
        self._bucket = settings.lake_bucket
        self._chunk = chunk

    async def all(self, org_id: UUID) -> list[Snapshot]:
        """Oldest first."""
        async with self._database.tenant(org_id) as connection:
            return _snapshots(await _files(connection, org_id))

    async def take(self, org_id: UUID, now: datetime, *, again: bool = False) -> Snapshot | None:
        """The snapshot of today, made unless it is there; None where there is nothing to remember.

        `again`: made anew, in the place of today's earlier one.
        """
        today = now.astimezone(UTC).date()
        async with self._alone(org_id) as connection:
            files = await _files(connection, org_id)
            there = {one.day: one for one in _snapshots(files)}
            if today in there and not again:
                return there[today]
            if not there and not await connection.fetchval(_SQL["some"], org_id):
                return None
            with scratch(self._settings.home) as place:
                await self._fetch_newest_manifest(files, place)
                written = await write(place, self._chunks(connection, org_id))
                await self._store(connection, org_id, place, written, today, now)
        await self._settle(org_id)
        (made,) = [one for one in await self.all(org_id) if one.day == today]
        return made

    async def expire(self, org_id: UUID, now: datetime) -> list[date]:
        """Delete the snapshots that are kept no longer, by IBEX_SNAPSHOT_DAYS and …_MONTHS."""
        async with self._alone(org_id) as connection:
            days = expired(
                [one.day for one in _snapshots(await _files(connection, org_id))],
                now.astimezone(UTC).date(),
                daily=self._settings.snapshot_days,
                monthly=self._settings.snapshot_months,
            )
            for day in days:
                await connection.execute(_SQL["remove"], org_id, day)
        await self._settle(org_id)
        return sorted(days)

    async def drop(self, org_id: UUID, day: date) -> None:
        """Delete one day's snapshot. Raises NotFoundError."""
        async with self._alone(org_id) as connection:
            if await connection.execute(_SQL["remove"], org_id, day) == "DELETE 0":
                raise _no_snapshot(day)
        await self._settle(org_id)

    async def erase_all(self, org_id: UUID) -> int:
        """Delete every snapshot of the organization; how many there were."""
        async with self._alone(org_id) as connection:
            count = len(_snapshots(await _files(connection, org_id)))
            await connection.execute(_SQL["remove_all"], org_id)
        await self._settle(org_id)
        return count

    async def erase(
        self, org_id: UUID, what: Erasure, watch: Watch = lambda done, of: None
    ) -> list[ErasedFrom]:
        """Take rows out of every snapshot; which had some. Their files are written anew without
        them and the old ones deleted, whatever had been left behind as well.

        Comes after the rows are gone from PostgreSQL, or the next snapshot has them again. Doing it
        again after a failure goes on. Raises ArchiveDamagedError for a snapshot that cannot be
        read: `drop` it.
        """
        erased: list[ErasedFrom] = []
        seen: set[date] = set()
        while days := [one.day for one in await self.all(org_id) if one.day not in seen]:
            for number, day in enumerate(days):
                watch(number, len(days))
                done = await self._erase_from(org_id, day, what)
                if done is not None:
                    erased.append(done)
                seen.add(day)
        await self._settle(org_id)
        return erased

    async def _erase_from(self, org_id: UUID, day: date, what: Erasure) -> ErasedFrom | None:
        async with self._alone(org_id) as connection:
            files = await _files(connection, org_id)
            of_day = [one for one in files if one.date == day]
            if not of_day:  # it expired meanwhile
                return None
            with scratch(self._settings.home) as place, scratch(self._settings.home) as anew:
                snapshot = await self._opened(of_day, place)
                before = await snapshot.count_rows()
                kept = 0
                async for batch in _batches(snapshot, self._chunk):
                    kept += len(_without(batch, what))
                if kept == before:
                    return None
                await self._fetch_newest_manifest(files, anew)
                written = await write(anew, _all_without(snapshot, what, self._chunk))
                await self._store(
                    connection, org_id, anew, written, day, max(one.created_at for one in of_day)
                )
        return ErasedFrom(day, before, written.rows)

    @asynccontextmanager
    async def fetched(
        self, org_id: UUID, day: date, watch: Watch = lambda done, of: None
    ) -> AsyncIterator["AsyncTable"]:
        """That day's snapshot as a LanceDB table, for as long as the context lasts.

        Raises NotFoundError when there is none, ArchiveDamagedError when a file is not what was
        written.
        """
        files = await self._of_day(org_id, day)
        with scratch(self._settings.home) as place:
            try:
                table = await self._opened(files, place, watch)
            except ArchiveDamagedError:
                written_anew = await self._of_day(org_id, day)
                if written_anew == files:
                    raise
                table = await self._opened(written_anew, place, watch)
            yield table

    async def _of_day(self, org_id: UUID, day: date) -> "Sequence[_File]":
        async with self._database.tenant(org_id) as connection:
            files = [one for one in await _files(connection, org_id) if one.date == day]
        if not files:
            raise _no_snapshot(day)
        return files

    async def _opened(
        self, files: Sequence[_File], place: Path, watch: Watch = lambda done, of: None
    ) -> "AsyncTable":
        await self._fetch([one for one in files if not one.key.endswith(_TAG)], place, watch)
        (manifest,) = [one.key for one in files if one.key.endswith(_MANIFEST)]
        return await opened(place, version_of(manifest))

    async def _chunks(self, connection: Connection, org_id: UUID) -> AsyncIterator["pa.Table"]:
        cursor = await connection.cursor(_SQL["memories"], org_id)
        while records := await cursor.fetch(self._chunk):
            yield table(records)

    async def _fetch_newest_manifest(self, files: Sequence[_File], place: Path) -> None:
        """What Lance counts versions from."""
        manifests = [one for one in files if one.key.endswith(_MANIFEST)]
        if manifests:
            await self._fetch([min(manifests, key=lambda one: one.key)], place)

    async def _fetch(
        self, files: Sequence[_File], place: Path, watch: Watch = lambda done, of: None
    ) -> None:
        gate, done = asyncio.Semaphore(_AT_ONCE), 0

        async def fetch(file: _File) -> None:
            nonlocal done
            async with gate:
                try:
                    data = await self._objects.get(self._bucket, file.key)
                except NotFoundError:
                    raise ArchiveDamagedError(
                        f"A file of the snapshot of {file.date} is gone.", hint=_DROP
                    ) from None
                if len(data) != file.size or hashlib.sha256(data).digest() != file.sha256:
                    raise ArchiveDamagedError(
                        f"A file of the snapshot of {file.date} is not what was written.",
                        hint=_DROP,
                    )
                path = place / FOLDER / file.key.partition(f"/{FOLDER}/")[2]
                with on_disk():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                done += 1
                watch(done, len(files))

        try:
            async with asyncio.TaskGroup() as group:
                for file in files:
                    group.create_task(fetch(file))
        except ExceptionGroup as failed:  # not except*: Python 3.11.2 wraps what that raises
            raise failed.exceptions[0] from None

    async def _store(
        self,
        connection: Connection,
        org_id: UUID,
        place: Path,
        written: Written,
        day: date,
        made_at: datetime,
    ) -> None:
        """Into S3, then into the manifest, in the place of the day's earlier files."""
        prefix = f"{_prefix(org_id)}{FOLDER}/"
        stored = []
        for name in (*written.data, written.manifest):
            with on_disk():
                data = (place / FOLDER / name).read_bytes()
            stored.append(await self._objects.put(self._bucket, prefix + name, data))
        tagged = tag(written.manifest, stored[-1].size, made_at)
        tag_key = prefix + tag_name(str(day))
        digest = hashlib.sha256(tagged).digest()
        stored.append(StoredObject(self._bucket, tag_key, len(tagged), digest))
        await connection.execute(_SQL["remove"], org_id, day)
        for one in stored:
            rows = written.rows if one.key == prefix + written.manifest else 0
            await connection.execute(
                _SQL["record"],
                *(org_id, new_id(), one.bucket, one.key, day, rows, one.size, one.sha256),
                *(SCHEMA_VERSION, made_at),
            )

    async def _settle(self, org_id: UUID) -> None:
        """Let S3 have what the manifest says: what is not in it goes, tags follow."""
        async with self._alone(org_id) as connection:
            files = await _files(connection, org_id)
            known = {one.key for one in files}
            there = set(await self._objects.keys(self._bucket, _prefix(org_id)))
            for key in there - known:
                await self._objects.delete(self._bucket, key)
            for one in files:
                if one.key.endswith(_MANIFEST):
                    data = tag(one.key, one.size, one.created_at)
                    key = f"{_prefix(org_id)}{FOLDER}/{tag_name(str(one.date))}"
                    if key not in there or await self._objects.get(self._bucket, key) != data:
                        await self._objects.put(self._bucket, key, data)

    @asynccontextmanager
    async def _alone(self, org_id: UUID) -> AsyncIterator[Connection]:
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["alone"], str(org_id), timeout=_PATIENCE)
            yield connection


_DROP: Final = "'ibex vectors drop' deletes this day's snapshot; the others are whole."


def _prefix(org_id: UUID) -> str:
    return f"vectors/org={org_id}/"


def _no_snapshot(day: date) -> NotFoundError:
    return NotFoundError(
        f"There is no snapshot of {day}.", hint="'ibex vectors snapshots' lists those there are."
    )


async def _files(connection: Connection, org_id: UUID) -> list[_File]:
    return [_File(**row) for row in await connection.fetch(_SQL["files"], org_id)]


def _snapshots(files: Sequence[_File]) -> list[Snapshot]:
    return [
        Snapshot(
            day=day,
            rows=sum(one.rows for one in of_day),
            size=sum(one.size for one in of_day),
            files=len(of_day),
            schema_version=max(one.schema_version for one in of_day),
            made_at=max(one.created_at for one in of_day),
        )
        for day, of_day in (
            (day, list(group)) for day, group in groupby(files, key=lambda one: one.date)
        )
    ]


async def _batches(snapshot: "AsyncTable", rows: int) -> AsyncIterator["pa.Table"]:
    with on_disk():
        batches = await snapshot.query().to_batches(max_batch_length=rows)
    async for batch in batches:
        yield with_all_columns(batch)


async def _all_without(
    snapshot: "AsyncTable", what: Erasure, rows: int
) -> AsyncIterator["pa.Table"]:
    async for batch in _batches(snapshot, rows):
        kept = _without(batch, what)
        if len(kept):
            yield kept


def _without(batch: "pa.Table", what: Erasure) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    gone = pc.is_in(batch.column(what.column), value_set=pa.array(what.values, pa.string()))
    return batch.filter(pc.invert(gone))
