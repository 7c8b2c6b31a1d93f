"""The lake's columns: they only ever grow, and every file that was ever written can be read."""

import duckdb
import pyarrow.parquet as pq
import pytest

from ibex.lake.schemas import (
    TABLES,
    VERSION_KEY,
    Kind,
    LakeTable,
    arrow_schema,
    conform,
)
from tests.lake_files import example, path

VERSIONS = [
    pytest.param(table, version, id=f"{table.name}-v{version}")
    for table in TABLES.values()
    for version in range(1, table.version + 1)
]


@pytest.mark.parametrize(("table", "version"), VERSIONS)
def test_a_file_of_every_version_has_the_columns_that_the_registry_says(
    table: LakeTable, version: int
) -> None:
    """Who changes a column of a version that was written finds out here; a new version wants
    `python -m tests.lake_files`."""
    stored = pq.read_schema(path(table, version))
    assert stored.equals(arrow_schema(table, version)), table.name
    assert stored.metadata[VERSION_KEY] == str(version).encode()


@pytest.mark.parametrize(("table", "version"), VERSIONS)
def test_a_file_of_every_version_is_read_with_the_columns_of_today(
    table: LakeTable, version: int
) -> None:
    read = conform(table, pq.read_table(path(table, version)))
    assert read.schema.equals(arrow_schema(table))
    full, empty = read.to_pylist()
    assert full == dict.fromkeys(table.columns()) | example(table, version)
    assert set(empty.values()) == {None}


@pytest.mark.parametrize(("table", "version"), VERSIONS)
def test_duckdb_has_the_types_that_the_registry_names(table: LakeTable, version: int) -> None:
    read = duckdb.read_parquet(str(path(table, version)))
    assert dict(zip(read.columns, map(str, read.types), strict=True)) == {
        name: kind.value for name, kind in table.columns(version).items()
    }


def test_a_version_adds_to_the_one_before() -> None:
    table = LakeTable(
        "things", "", "at", "id", ({"at": Kind.TIME, "id": Kind.TEXT}, {"size": Kind.INT})
    )
    assert table.version == 2
    assert list(table.columns(1)) == ["at", "id"]
    assert list(table.columns()) == ["at", "id", "size"]
    earlier = arrow_schema(table, 1).empty_table()
    assert conform(table, earlier).schema.names == ["at", "id", "size"]
    for wrong in (0, 3):
        with pytest.raises(ValueError, match="no schema version"):
            table.columns(wrong)


def test_every_table_has_what_it_is_sorted_and_dated_by() -> None:
    for table in TABLES.values():
        columns = table.columns()
        assert columns["date"] is Kind.DATE
        assert columns[table.time] is Kind.TIME
        assert set(table.sort) <= set(columns), table.name
        assert sum(len(added) for added in table.versions) == len(columns), table.name
