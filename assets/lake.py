"""What the assets of the lake share: every organization's changed days of some tables."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from dagster import AssetExecutionContext, Failure

from assets.each import each, error_code, log_unplanned
from assets.stores import Stores

if TYPE_CHECKING:
    from ibex.lake.export import Exported

_AT_ONCE = 2  # organizations: each has a file in memory


def export(context: AssetExecutionContext, stores: Stores, tables: Sequence[str]) -> None:
    """A failure when anything was left; it has changed the next time again."""
    # Parquet and ClickHouse are a second to import, which no other run needs.
    from ibex.lake.upkeep import opened_lake  # noqa: PLC0415

    started = time.monotonic()

    async def work() -> "list[Exported]":
        async with opened_lake(
            stores.settings, stores.database, stores.objects, stores.turns
        ) as lake:

            async def one(org_id: UUID) -> "dict[str, Exported]":
                return await lake.export.run(org_id, tables)

            outcomes = await each(await lake.manifest.organizations(), one, at_once=_AT_ONCE)
        for org_id, error in outcomes.failed:
            log_unplanned(f"lake of organization {org_id}", error)
        errors.extend(error for _, error in outcomes.failed)
        return [done for org in outcomes.done for done in org.values()]

    errors: list[Exception] = []
    done = stores.wait(work())
    errors += [error for one in done for _, error in one.failed]
    context.add_output_metadata(
        {
            "days": sum(one.days for one in done),
            "rows": sum(one.rows for one in done),
            "files": sum(one.files for one in done),
            "bytes": sum(one.bytes for one in done),
            "failed": len(errors),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    if errors:
        codes = ", ".join(sorted({error_code(error) for error in errors}))
        raise Failure(
            f"{len(errors)} days or organizations were left ({codes}). Their rows are where they "
            "come from; the next run takes them."
        )
