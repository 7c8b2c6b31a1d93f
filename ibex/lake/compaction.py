"""Fewer, larger files: the small ones of a month become one.

What is merged is read whole and checked, written as a new file, and swapped in one transaction;
the old files stay for the grace time. Two compactions at once, or one beside an export: who comes
second changes nothing. The newest day of a table is left alone, for it grows; the clock is not
asked.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING, Final
from uuid import UUID

from ibex.errors import ArchiveDamagedError, LakeConflictError
from ibex.lake.files import LakeFiles
from ibex.lake.manifest import LakeFile, Manifest
from ibex.lake.schemas import TABLES, LakeTable, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

#: A month that still gets days is not merged for fewer files, or the same rows would be written
#: again every day.
ENOUGH: Final = 4
#: What is merged is sorted in memory, where words take several times as much.
MERGED_BYTES: Final = 32 * 1024 * 1024

_log = logging.getLogger("ibex.lake")


@dataclass
class Compacted:
    merged: int = 0  # files that others stand for now
    made: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    late: int = 0  # groups that somebody else changed meanwhile
    damaged: int = 0  # groups with a file that is not what was written

    def add(self, other: "Compacted") -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def plan(live: Sequence[LakeFile], *, file_bytes: int = MERGED_BYTES) -> list[list[LakeFile]]:
    """Live files of one table that become one file each; neighbours in time, of one month.

    Files of the same days are together or not at all, so that no two live files share a day.
    """
    if not live:
        return []
    newest = max(file.last for file in live)
    days = sorted(live, key=lambda file: (file.first, file.last))
    groups: list[list[LakeFile]] = []
    for month, inside in groupby(days, key=lambda file: (file.first.year, file.first.month)):
        sets = [list(same) for _, same in groupby(inside, key=lambda file: (file.first, file.last))]
        done = [one for one in sets if one[0].last < newest]
        enough = ENOUGH if month == (newest.year, newest.month) else 2
        groups += [
            [file for one in run for file in one]
            for run in _runs(done, file_bytes)
            if len(run) >= enough
        ]
    return groups


def _runs(sets: Sequence[list[LakeFile]], file_bytes: int) -> list[list[list[LakeFile]]]:
    """Neighbours whose bytes together fit one file."""
    runs: list[list[list[LakeFile]]] = [[]]
    filled = 0
    for one in sets:
        if filled + _size(one) > file_bytes:
            runs.append([])
            filled = 0
        runs[-1].append(one)
        filled += _size(one)
    return runs


def _size(files: Sequence[LakeFile]) -> int:
    return sum(file.size for file in files)


class Compaction:
    def __init__(
        self, manifest: Manifest, files: LakeFiles, *, file_bytes: int = MERGED_BYTES
    ) -> None:
        self._manifest = manifest
        self._files = files
        self._file_bytes = file_bytes

    async def run(self, org_id: UUID, table: str) -> Compacted:
        """Merge what there is to merge of one table.

        Raises DatabaseUnavailableError and ObjectStoreUnavailableError; what was swapped stays.
        """
        done = Compacted()
        live = await self._manifest.live_files(org_id, table)
        for group in plan(live, file_bytes=self._file_bytes):
            first, last = group[0].first, max(file.last for file in group)
            rows = self._merged(TABLES[table], group)
            try:
                made = await self._files.replace(
                    org_id, TABLES[table], first, last, group, rows, ()
                )
            except LakeConflictError:
                done.late += 1
            except ArchiveDamagedError as error:
                _log.error("%s, %s to %s is not merged: %s", table, first, last, error.message)
                done.damaged += 1
            else:
                done.merged += len(group)
                done.made += len(made)
                done.bytes_before += _size(group)
                done.bytes_after += _size(made)
        return done

    async def _merged(
        self, table: LakeTable, group: Sequence[LakeFile]
    ) -> AsyncIterator["pa.Table"]:
        import polars as pl  # noqa: PLC0415 — only whoever merges needs it

        frames = [pl.from_arrow(await self._files.read(file)) for file in group]
        schema = arrow_schema(table)
        merged = pl.concat([frame for frame in frames if isinstance(frame, pl.DataFrame)])
        yield merged.sort(table.sort, nulls_last=True).to_arrow().cast(schema)
