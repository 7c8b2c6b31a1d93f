"""What has changed since, into the lake: day by day, whole days.

A day whose source has another fingerprint than the one that was written is written anew, all of it,
and its files are swapped: the same rows give the same rows, what goes on or is erased is replaced,
and a run that dies is done again by the next. Days come from the rows, never from the clock. A day
that lies in a file of several (see compaction) takes the other days' rows along.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final
from uuid import UUID

from ibex.errors import ArchiveDamagedError, LakeConflictError
from ibex.lake.files import LakeFiles, to_arrow
from ibex.lake.manifest import Day, LakeFile, Manifest
from ibex.lake.schemas import TABLES, LakeTable, arrow_schema
from ibex.lake.sources import Earlier, Row, Source, SourceDays, never

if TYPE_CHECKING:
    import pyarrow as pa

_TRIES: Final = 3  # of a table that others write as well

#: Of a turn: what PostgreSQL may have no longer.
_WORDS: Final = ("roles", "messages", "said", "answer")

_log = logging.getLogger("ibex.lake")

#: Told the table, the days done and the days to do.
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Span:
    """Days that are written together, for their rows are in the same files."""

    first: date
    last: date
    days: tuple[Day, ...]  # to be read anew
    files: tuple[LakeFile, ...]  # to be replaced


@dataclass
class Exported:
    """What one run did to one table."""

    days: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    failed: list[tuple[date, Exception]] = field(default_factory=list)

    def add(self, other: "Exported") -> None:
        self.days += other.days
        self.rows += other.rows
        self.files += other.files
        self.bytes += other.bytes
        self.failed += other.failed


def spans(days: Sequence[Day], live: Sequence[LakeFile]) -> list[Span]:
    """The changed days, each with the live files that it has a part in; in order. Files never share
    a day unless they span the same ones."""
    found: dict[tuple[date, date], tuple[list[Day], list[LakeFile]]] = {}
    for day in days:
        files = [file for file in live if file.first <= day.date <= file.last]
        bounds = (files[0].first, files[0].last) if files else (day.date, day.date)
        found.setdefault(bounds, ([], files))[0].append(day)
    return [
        Span(*bounds, tuple(wanted), tuple(files))
        for bounds, (wanted, files) in sorted(found.items())
    ]


class LakeExport:
    def __init__(self, manifest: Manifest, files: LakeFiles, sources: Mapping[str, Source]) -> None:
        self._manifest = manifest
        self._files = files
        self._sources = sources

    async def run(
        self,
        org_id: UUID,
        tables: Iterable[str],
        *,
        again: Callable[[date], bool] = never,
        watch: Watch = lambda table, done, total: None,
    ) -> dict[str, Exported]:
        """Every changed day of these tables, and those that `again` wants whether or not they have
        changed. A day that others write all the time, or whose words are damaged in their archive,
        is in `failed` with the error; it has changed the next time again.

        Raises DependencyError when the source or the object store is away; what was swapped stays.
        """
        done: dict[str, Exported] = {}
        for name in tables:
            done[name] = await self._table(TABLES[name], org_id, again, watch)
        return done

    async def _table(
        self, table: LakeTable, org_id: UUID, again: Callable[[date], bool], watch: Watch
    ) -> Exported:
        found = await self._sources[table.name].days(org_id)
        changed = found.changed(await self._manifest.days(org_id, table.name), again)
        done, total = Exported(), len(changed)
        for tried in range(1, _TRIES + 1):
            late: list[Day] = []
            live = await self._manifest.live_files(org_id, table.name)
            for span in spans(changed, live):
                try:
                    done.add(await self._span(table, org_id, span, found))
                except LakeConflictError as error:
                    late += span.days
                    if tried == _TRIES:
                        done.failed.append((span.first, error))
                except ArchiveDamagedError as error:
                    done.failed.append((span.first, error))
                watch(table.name, done.days, total)
            if not late:
                break
            changed = late
        return done

    async def _span(
        self, table: LakeTable, org_id: UUID, span: Span, found: SourceDays
    ) -> Exported:
        try:
            kept = await self._kept(table, span)
        except ArchiveDamagedError as error:
            # What the file had is in its source still: all its days are written anew.
            if span.first < found.since:
                raise
            _log.warning("%s, %s to %s: %s", table.name, span.first, span.last, error.message)
            inside = [day for day in found.days.values() if span.first <= day.date <= span.last]
            fresh = {day.date: day for day in (*span.days, *inside)}
            span = Span(span.first, span.last, tuple(fresh.values()), span.files)
            kept = []
        rows = self._rows(table, org_id, span.days, _Replaced(self._files, span.files))
        if span.first != span.last:
            rows = _merged(table, kept, rows)
        files = await self._files.replace(
            org_id, table, span.first, span.last, span.files, rows, span.days
        )
        return Exported(
            len(span.days),
            sum(file.rows for file in files),
            len(files),
            sum(file.size for file in files),
        )

    async def _kept(self, table: LakeTable, span: Span) -> list["pa.Table"]:
        """The other days' rows of the files that are replaced."""
        if span.first == span.last:
            return []
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        days = pa.array([day.date for day in span.days], pa.date32())
        read = [await self._files.read(file) for file in span.files]
        return [data.filter(pc.invert(pc.is_in(data.column("date"), days))) for data in read]

    async def _rows(
        self, table: LakeTable, org_id: UUID, days: Sequence[Day], earlier: Earlier
    ) -> AsyncIterator["pa.Table"]:
        async for day, rows in self._sources[table.name].rows(org_id, days, earlier):
            yield to_arrow(table, day, rows)


class _Replaced:
    """The words in files that are about to be replaced; read when the first are asked for."""

    def __init__(self, files: LakeFiles, replaced: Sequence[LakeFile]) -> None:
        self._files = files
        self._replaced = replaced
        self._read: list[pa.Table] | None = None

    async def words(self, turn_ids: Sequence[str]) -> Mapping[str, Row]:
        if not turn_ids:
            return {}
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        if self._read is None:
            self._read = [data async for data in self._undamaged()]
        wanted = pa.array(turn_ids, pa.string())
        found = [
            row
            for data in self._read
            for row in data.filter(pc.is_in(data.column("turn_id"), wanted)).to_pylist()
        ]
        return {row.pop("turn_id"): row for row in found}

    async def _undamaged(self) -> AsyncIterator["pa.Table"]:
        for file in self._replaced:
            try:
                data = await self._files.read(file)
            except ArchiveDamagedError as error:
                _log.warning("%s: %s", file.table, error.message)
            else:
                yield data.select(["turn_id", *_WORDS])


async def _merged(
    table: LakeTable, kept: Sequence["pa.Table"], rows: AsyncIterator["pa.Table"]
) -> AsyncIterator["pa.Table"]:
    """One sorted table of them all: what lies in a file of several days is never much."""
    import pyarrow as pa  # noqa: PLC0415

    empty = arrow_schema(table).empty_table()
    everything = pa.concat_tables([empty, *kept, *[data async for data in rows]])
    yield everything.sort_by([(name, "ascending") for name in table.sort])
