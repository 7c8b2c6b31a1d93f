"""What is kept for a while only goes."""

from datetime import UTC, datetime, timedelta

from dagster import OpExecutionContext, job, op

from assets.stores import Stores
from ibex.stores.housekeeping import Housekeeping


@op(required_resource_keys={"stores"})
def prune_idempotency_keys(context: OpExecutionContext) -> None:
    """Notes of requests that were sent again, and of idempotency keys, older than
    IBEX_IDEMPOTENCY_DAYS."""
    stores: Stores = context.resources.stores
    before = datetime.now(UTC) - timedelta(days=stores.settings.idempotency_days)
    gone = stores.wait(Housekeeping(stores.database).prune_idempotency_keys(before))
    context.add_output_metadata({"deleted": gone})


@job(description="Deletes what is kept for a while only.")
def housekeeping() -> None:
    prune_idempotency_keys()
