"""The memories of every day."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.each import each, error_code, log_unplanned
from assets.memories import memories
from assets.stores import OWNERS, SNAPSHOTS, Stores
from ibex.stores.embeddings import EmbeddingStore
from ibex.vectors.snapshots import Snapshot, Snapshots

_AT_ONCE = 1  # one organization after the other: nobody waits for it


@dataclass(frozen=True)
class _Kept:
    snapshot: Snapshot | None
    expired: int


@asset(group_name=SNAPSHOTS, owners=OWNERS, kinds={"lancedb", "s3"}, deps=[memories])
def memory_snapshot(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """All memories with their vectors, a tagged version of a Lance dataset in S3 for each
    organization and day. Those that are kept no longer go (IBEX_SNAPSHOT_DAYS, …_MONTHS).

    Today's is made once: doing it again changes nothing.
    """
    started, now = time.monotonic(), datetime.now(UTC)
    snapshots = Snapshots(stores.database, stores.objects, stores.settings)

    async def keep(org_id: UUID) -> _Kept:
        snapshot = await snapshots.take(org_id, now)
        return _Kept(snapshot, len(await snapshots.expire(org_id, now)))

    organizations = stores.wait(EmbeddingStore(stores.database).organizations())
    outcomes = stores.wait(each(organizations, keep, at_once=_AT_ONCE))
    for org_id, error in outcomes.failed:
        log_unplanned(f"snapshot of organization {org_id}", error)
    if outcomes.failed:
        codes = sorted({error_code(error) for _, error in outcomes.failed})
        raise Failure(
            f"{len(outcomes.failed)} of {len(organizations)} organizations have no snapshot of "
            f"today ({', '.join(codes)}). The next run makes what is missing."
        )
    made = [one.snapshot for one in outcomes.done if one.snapshot is not None]
    context.add_output_metadata(
        {
            "organizations": len(made),
            "vectors": sum(one.rows for one in made),
            "bytes": sum(one.size for one in made),
            "expired": sum(one.expired for one in outcomes.done),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
