"""Files in the lake with rows of a test's own, listed in the manifest as an export leaves them."""

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from ibex.ids import new_id
from ibex.lake.manifest import LakeFile, Manifest
from ibex.lake.schemas import TABLES, arrow_schema
from ibex.settings import Settings
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database


async def add_rows(
    settings: Settings,
    database: Database,
    org_id: UUID,
    table: str,
    rows: Sequence[Mapping[str, Any]],
) -> LakeFile:
    """One file with these rows, of the days that they say; what they do not name is null."""
    schema = arrow_schema(TABLES[table])
    columns = [pa.array([row.get(one.name) for row in rows], one.type) for one in schema]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    days: list[date] = sorted(row["date"] for row in rows)
    file_id = new_id()
    key = f"{table}/org={org_id}/date={days[0]}/part-{file_id}.parquet"
    objects = ObjectStore(settings)
    try:
        stored = await objects.put(settings.lake_bucket, key, sink.getvalue())
    finally:
        await objects.close()
    file = LakeFile(
        id=file_id,
        table=table,
        bucket=stored.bucket,
        key=stored.key,
        first=days[0],
        last=days[-1],
        rows=len(rows),
        size=stored.size,
        sha256=stored.sha256,
        schema_version=TABLES[table].version,
        min_time=None,
        max_time=None,
    )
    manifest = Manifest(database)
    await manifest.swap(org_id, table, days[0], days[-1], replaced=[], files=[file])
    return file
