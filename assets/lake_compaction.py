"""Fewer, larger files, and the end of old ones."""

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.each import each, error_code, log_unplanned
from assets.session_lake import session_lake
from assets.stores import LAKE, OWNERS, Stores
from assets.trace_lake import trace_lake
from assets.usage_rollup import usage_rollup

if TYPE_CHECKING:
    from ibex.lake.upkeep import Kept


@asset(
    group_name=LAKE,
    owners=OWNERS,
    kinds={"parquet", "s3"},
    deps=[session_lake, trace_lake, usage_rollup],
)
def lake_compaction(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """The small files of a month as one; files replaced IBEX_LAKE_GRACE_HOURS ago are deleted.

    New files are written first, then the manifest is swapped in one transaction.
    """
    from ibex.lake.upkeep import opened_lake  # noqa: PLC0415 — see assets/lake.py

    started = time.monotonic()
    before = datetime.now(UTC) - timedelta(hours=stores.settings.lake_grace_hours)

    async def work() -> "tuple[list[Kept], list[Exception]]":
        async with opened_lake(
            stores.settings, stores.database, stores.objects, stores.turns
        ) as lake:

            async def one(org_id: UUID) -> "Kept":
                return await lake.keep(org_id, before)

            # One after the other: each has a month in memory.
            outcomes = await each(await lake.manifest.organizations(), one, at_once=1)
        for org_id, error in outcomes.failed:
            log_unplanned(f"lake of organization {org_id}", error)
        return outcomes.done, [error for _, error in outcomes.failed]

    done, errors = stores.wait(work())
    damaged = sum(one.compacted.damaged for one in done)
    context.add_output_metadata(
        {
            "merged": sum(one.compacted.merged for one in done),
            "made": sum(one.compacted.made for one in done),
            "bytes_before": sum(one.compacted.bytes_before for one in done),
            "bytes_after": sum(one.compacted.bytes_after for one in done),
            "late": sum(one.compacted.late for one in done),
            "damaged": damaged,
            "deleted": sum(one.deleted for one in done),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    if errors or damaged:
        codes = ", ".join(sorted({error_code(error) for error in errors})) or "archive_damaged"
        raise Failure(
            f"{len(errors)} organizations and {damaged} months were left as they are ({codes})."
        )
