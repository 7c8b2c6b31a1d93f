"""Which files of the lake count.

A reader takes the live files of a table at one moment and may go on reading them for as long as
retired files are kept (IBEX_LAKE_GRACE_HOURS). A writer makes its files first, then swaps: in one
transaction the new ones are live and the ones that they stand for are retired. Live files of a
table never share a day, but those of one swap; a swap that another one came before is refused
(LakeConflictError), so two writers or compactions at once cost work and never a row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg

from ibex.errors import LakeConflictError
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("lake")


@dataclass(frozen=True)
class LakeFile:
    """An object in the lake, `s3://{bucket}/{key}`."""

    id: UUID
    table: str
    bucket: str
    key: str
    first: date  # the first and the last UTC day that it may have rows of
    last: date
    rows: int
    size: int  # bytes
    sha256: bytes
    schema_version: int
    min_time: datetime | None  # of its rows, by the table's time; None: it has none
    max_time: datetime | None


@dataclass(frozen=True)
class Retired:
    """A file that no new reader takes."""

    id: UUID
    bucket: str
    key: str


@dataclass(frozen=True)
class Day:
    """What of a day is in the lake; a source with another fingerprint has changed since."""

    date: date
    fingerprint: int
    rows: int


@dataclass(frozen=True)
class TableStatus:
    table: str
    files: int
    rows: int
    bytes: int
    since: date | None
    until: date | None
    written_at: datetime
    retired: int  # files that wait to be deleted


class Manifest:
    """Raises DatabaseUnavailableError from every method."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def organizations(self) -> list[UUID]:
        """All that there are."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["organizations"])
        return [row["id"] for row in rows]

    async def live_files(
        self,
        org_id: UUID,
        table: str | None = None,
        *,
        since: date | None = None,
        until: date | None = None,
    ) -> list[LakeFile]:
        """The files that count: of one table or of all, that may have rows from day `since`
        through day `until`; by table, day and key."""
        async with self._database.tenant(org_id) as connection:
            return await _live(connection, org_id, table, since, until)

    async def swap(
        self,
        org_id: UUID,
        table: str,
        first: date,
        last: date,
        *,
        replaced: Collection[UUID],
        files: Sequence[LakeFile],
        days: Sequence[Day] = (),
    ) -> None:
        """From now on `files`, whose objects are there, stand for the live files of these days,
        which are `replaced`. `days` are noted; one without rows is forgotten.

        Raises LakeConflictError when other files are live than those that were to be replaced:
        somebody else was faster; nothing has changed.
        """
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["lock"], str(org_id), table)
            live = await _live(connection, org_id, table, first, last)
            if {file.id for file in live} != set(replaced):
                raise LakeConflictError
            await connection.execute(_SQL["retire"], org_id, list(replaced))
            await connection.executemany(_SQL["add"], [_row(org_id, file) for file in files])
            await connection.executemany(
                _SQL["note_day"],
                [(org_id, table, day.date, day.fingerprint, day.rows) for day in days if day.rows],
            )
            empty = [day.date for day in days if not day.rows]
            await connection.execute(_SQL["forget_days"], org_id, table, empty)

    async def days(self, org_id: UUID, table: str) -> Mapping[date, Day]:
        """What was written of each day that has rows."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["days"], org_id, table)
        return {row["date"]: Day(row["date"], row["fingerprint"], row["rows"]) for row in rows}

    async def retired(self, org_id: UUID, before: datetime, limit: int) -> list[Retired]:
        """Files retired at this time or before, the oldest first."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["retired_files"], org_id, before, limit)
        return [Retired(row["id"], row["bucket"], row["key"]) for row in rows]

    async def forget(self, org_id: UUID, ids: Sequence[UUID]) -> None:
        """Retired files whose objects are deleted."""
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["forget_files"], org_id, list(ids))

    async def status(self, org_id: UUID) -> list[TableStatus]:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["status"], org_id)
        return [TableStatus(**{"table": row["lake_table"]} | _without_table(row)) for row in rows]


async def _live(
    connection: Connection, org_id: UUID, table: str | None, since: date | None, until: date | None
) -> list[LakeFile]:
    rows = await connection.fetch(_SQL["live_files"], org_id, table, since, until)
    return [
        LakeFile(
            id=row["id"],
            table=row["lake_table"],
            bucket=row["bucket"],
            key=row["key"],
            first=row["date"],
            last=row["date_to"],
            rows=row["rows"],
            size=row["bytes"],
            sha256=row["sha256"],
            schema_version=row["schema_version"],
            min_time=row["min_time"],
            max_time=row["max_time"],
        )
        for row in rows
    ]


def _row(org_id: UUID, file: LakeFile) -> tuple[object, ...]:
    return (
        org_id,
        file.id,
        file.table,
        file.bucket,
        file.key,
        file.first,
        file.last,
        file.rows,
        file.size,
        file.sha256,
        file.schema_version,
        file.min_time,
        file.max_time,
    )


def _without_table(row: asyncpg.Record) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "lake_table"}
