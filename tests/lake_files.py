"""A file of every version that a table of the lake ever had, in tests/lake_files/.

`python -m tests.lake_files` writes the ones that are missing, after a version was added; what is
there stays as it is, for that is what the lakes of this world hold.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ibex.lake.schemas import TABLES, Kind, LakeTable, arrow_schema

FOLDER: Final = Path(__file__).parent / "lake_files"
DAY: Final = date(2026, 3, 1)
TIME: Final = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

_VALUES: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.TEXT: lambda name: f"a {name}",
    Kind.BOOL: lambda _: True,
    Kind.INT: lambda _: 3,
    Kind.BIG: lambda _: 2**40,
    Kind.FLOAT: lambda _: 0.25,
    Kind.DATE: lambda _: DAY,
    Kind.TIME: lambda _: TIME,
    Kind.TEXTS: lambda name: [name, "ü"],
    Kind.INTS: lambda _: [1, 2],
    Kind.COUNTS: lambda _: [{"kind": "EMAIL", "count": 2}],
    Kind.MESSAGES: lambda _: [{"role": "user", "name": None, "text": "Grüße"}],
}


def example(table: LakeTable, version: int | None = None) -> dict[str, Any]:
    """A row with a value in every column."""
    return {name: _VALUES[kind](name) for name, kind in table.columns(version).items()}


def path(table: LakeTable, version: int) -> Path:
    return FOLDER / f"{table.name}-v{version}.parquet"


def write_missing() -> None:
    FOLDER.mkdir(exist_ok=True)
    for table in TABLES.values():
        for version in range(1, table.version + 1):
            if not path(table, version).exists():
                rows = [example(table, version), dict.fromkeys(table.columns(version))]
                made = pa.Table.from_pylist(rows, schema=arrow_schema(table, version))
                pq.write_table(made, path(table, version), compression="zstd")


if __name__ == "__main__":
    write_missing()
