"""Files of the lake: rows to Parquet, Parquet to the object store, and back.

zstd, rows sorted by agent and time, row groups of ROW_GROUP rows with statistics, so that a query
for one agent or an hour reads a part of a file; a file of FILE_BYTES is followed by another one.
"""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from ibex.errors import (
    ArchiveDamagedError,
    LakeConflictError,
    NotFoundError,
    ObjectStoreUnavailableError,
)
from ibex.ids import new_id
from ibex.lake.manifest import Day, LakeFile, Manifest
from ibex.lake.schemas import TABLES, LakeTable, arrow_schema, conform
from ibex.stores.objects import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP: Final = 65_536  # rows
FILE_BYTES: Final = 64 * 1024 * 1024
_GROUP_BYTES: Final = 64 * 1024 * 1024  # of a row group, before it is packed
_AGAIN: Final = (
    "'ibex lake verify --deep --repair', then 'ibex lake refresh', writes its days anew."
)
_TYPE: Final = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Part:
    """A whole Parquet file."""

    data: bytes
    rows: int
    min_time: datetime | None
    max_time: datetime | None


def to_arrow(table: LakeTable, day: date, rows: Iterable[dict[str, Any]]) -> "pa.Table":
    """Rows of one day; keys that are no columns are left out."""
    import pyarrow as pa  # noqa: PLC0415 — a third of a second, which a service does not need

    return pa.Table.from_pylist([row | {"date": day} for row in rows], schema=arrow_schema(table))


class PartWriter:
    """Rows come sorted, in tables of any size; files go out whole."""

    def __init__(
        self, table: LakeTable, *, file_bytes: int = FILE_BYTES, row_group: int = ROW_GROUP
    ) -> None:
        self._table = table
        self._file_bytes = file_bytes
        self._row_group = row_group
        self._waiting: list[pa.Table] = []
        self._open: _Open | None = None

    def add(self, data: "pa.Table") -> Part | None:
        """A file that these rows have filled."""
        self._waiting.append(data)
        rows = sum(one.num_rows for one in self._waiting)
        size = sum(one.nbytes for one in self._waiting)
        if rows < self._row_group and size < _GROUP_BYTES:
            return None
        self._write_group()
        full = self._open is not None and self._open.size >= self._file_bytes
        return self._finished() if full else None

    def close(self) -> Part | None:
        """The rest; None when there was no row."""
        self._write_group()
        return self._finished()

    def _write_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415

        waiting, self._waiting = self._waiting, []
        if not any(one.num_rows for one in waiting):
            return
        if self._open is None:
            self._open = _Open(self._table)
        self._open.write(pa.concat_tables(waiting), self._row_group)

    def _finished(self) -> Part | None:
        opened, self._open = self._open, None
        return opened.part() if opened else None


class _Open:
    """A file that is being written, in memory: the object store wants its length first."""

    def __init__(self, table: LakeTable) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._time = table.time
        self._rows = 0
        self._times: list[datetime] = []
        self._sink = io.BytesIO()
        schema = arrow_schema(table)
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            write_page_index=True,
            sorting_columns=pq.SortingColumn.from_ordering(
                schema, [(name, "ascending") for name in table.sort]
            ),
        )

    @property
    def size(self) -> int:
        return self._sink.tell()

    def write(self, data: "pa.Table", row_group: int) -> None:
        import pyarrow.compute as pc  # noqa: PLC0415

        self._writer.write_table(data, row_group_size=row_group)
        self._rows += data.num_rows
        bounds = pc.min_max(data.column(self._time)).as_py()
        self._times += [time for time in bounds.values() if time is not None]

    def part(self) -> Part:
        self._writer.close()
        data = self._sink.getvalue()
        if not self._times:
            return Part(data, self._rows, None, None)
        return Part(data, self._rows, min(self._times), max(self._times))


class LakeFiles:
    """Raises ObjectStoreUnavailableError from every method."""

    def __init__(self, manifest: Manifest, objects: ObjectStore, bucket: str) -> None:
        self._manifest = manifest
        self._objects = objects
        self._bucket = bucket

    async def read(self, file: LakeFile) -> "pa.Table":
        """All of it, with the columns of today.

        Raises ArchiveDamagedError when it is gone or not what was written.
        """
        try:
            data = await self._objects.get(file.bucket, file.key)
        except NotFoundError:
            raise ArchiveDamagedError(f"The lake's file {file.id} is gone.", hint=_AGAIN) from None
        if len(data) != file.size or hashlib.sha256(data).digest() != file.sha256:
            raise ArchiveDamagedError(
                f"The lake's file {file.id} is not what was written.", hint=_AGAIN
            )
        return await asyncio.to_thread(_parse, file.table, data)

    async def replace(
        self,
        org_id: UUID,
        table: LakeTable,
        first: date,
        last: date,
        replaced: Sequence[LakeFile],
        rows: "AsyncIterator[pa.Table]",
        days: Sequence[Day],
    ) -> list[LakeFile]:
        """Write these sorted rows, and let them stand for the files that are replaced: all of the
        days `first` to `last`. `days` are those that were read anew, with their fingerprints; how
        many rows each has is counted here.

        Raises LakeConflictError when somebody else was faster; nothing is changed then, and after
        any error. What a crash leaves is in no manifest.
        """
        made: list[LakeFile] = []
        counts: dict[date, int] = {}
        try:
            writer = PartWriter(table)
            async for data in rows:
                _count(data, counts)
                if part := await asyncio.to_thread(writer.add, data):
                    made.append(await self._put(org_id, table, first, last, part))
            if part := await asyncio.to_thread(writer.close):
                made.append(await self._put(org_id, table, first, last, part))
        except Exception:
            await self._take_back(made)
            raise
        noted = [Day(day.date, day.fingerprint, counts.get(day.date, 0)) for day in days]
        ids = [file.id for file in replaced]
        try:
            await self._manifest.swap(
                org_id, table.name, first, last, replaced=ids, files=made, days=noted
            )
        except LakeConflictError:
            # Of another error nobody knows whether it was committed: then the objects stay.
            await self._take_back(made)
            raise
        return made

    async def _put(
        self, org_id: UUID, table: LakeTable, first: date, last: date, part: Part
    ) -> LakeFile:
        file_id = new_id()
        span = f"date={first}" if first == last else f"month={first:%Y-%m}"
        key = f"{table.name}/org={org_id}/{span}/part-{file_id}.parquet"
        stored = await self._objects.put(self._bucket, key, part.data, content_type=_TYPE)
        return LakeFile(
            id=file_id,
            table=table.name,
            bucket=stored.bucket,
            key=stored.key,
            first=first,
            last=last,
            rows=part.rows,
            size=stored.size,
            sha256=stored.sha256,
            schema_version=table.version,
            min_time=part.min_time,
            max_time=part.max_time,
        )

    async def _take_back(self, made: Sequence[LakeFile]) -> None:
        for file in made:
            with suppress(ObjectStoreUnavailableError):
                await self._objects.delete(file.bucket, file.key)


def _parse(table: str, data: bytes) -> "pa.Table":
    import pyarrow.parquet as pq  # noqa: PLC0415

    return conform(TABLES[table], pq.read_table(io.BytesIO(data)))


def _count(data: "pa.Table", counts: dict[date, int]) -> None:
    for one in data.column("date").value_counts().to_pylist():
        counts[one["values"]] = counts.get(one["values"], 0) + one["counts"]
