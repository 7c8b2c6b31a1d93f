"""The lake of all organizations, put together: export, compaction, and the end of old files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ibex.lake.compaction import Compacted, Compaction
from ibex.lake.export import LakeExport
from ibex.lake.files import LakeFiles
from ibex.lake.manifest import Manifest
from ibex.lake.schemas import TABLES
from ibex.lake.sources import POSTGRES, PostgresSource, Source
from ibex.lake.traces import ClickHouse, TraceSource, UsageSource
from ibex.settings import Settings
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader

_DELETED_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Lake:
    manifest: Manifest
    files: LakeFiles
    export: LakeExport
    compaction: Compaction
    objects: ObjectStore

    async def keep(self, org_id: UUID, before: datetime) -> "Kept":
        """Merge small files, and delete what was replaced at this time or before.

        Raises DatabaseUnavailableError and ObjectStoreUnavailableError.
        """
        compacted = Compacted()
        for table in TABLES:
            compacted.add(await self.compaction.run(org_id, table))
        return Kept(compacted, await self.sweep(org_id, before))

    async def sweep(self, org_id: UUID, before: datetime) -> int:
        """Delete the files that were replaced at this time or before; how many. First the object:
        what a crash leaves is still in the manifest, and deleted by the next."""
        gone = 0
        while retired := await self.manifest.retired(org_id, before, _DELETED_AT_ONCE):
            for file in retired:
                await self.objects.delete(file.bucket, file.key)
            await self.manifest.forget(org_id, [file.id for file in retired])
            gone += len(retired)
        return gone


@dataclass(frozen=True)
class Kept:
    compacted: Compacted
    deleted: int  # files


@asynccontextmanager
async def opened_lake(
    settings: Settings, database: Database, objects: ObjectStore, turns: TurnReader
) -> AsyncIterator[Lake]:
    traces = ClickHouse(settings, database)
    sources: dict[str, Source] = {
        **{table: PostgresSource(database, turns, table) for table in POSTGRES},
        "traces": TraceSource(traces),
        "usage": UsageSource(traces, settings.model_prices),
    }
    manifest = Manifest(database)
    files = LakeFiles(manifest, objects, settings.lake_bucket)
    try:
        yield Lake(
            manifest,
            files,
            LakeExport(manifest, files, sources),
            Compaction(manifest, files),
            objects,
        )
    finally:
        await traces.close()
