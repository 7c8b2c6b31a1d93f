"""What is kept no longer."""

import time
from datetime import UTC, datetime

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.each import error_code
from assets.memory_usefulness import refresh_hot_lists
from assets.stores import KEEPING, OWNERS, Stores
from ibex.stores.forgetting import Forgetting


@asset(group_name=KEEPING, owners=OWNERS, kinds={"postgres", "redis"})
def retention(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """Memories that have ended, are older than their category is kept, or too many, are deleted.

    By the rules of each agent, else of its organization, else by IBEX_RETENTION_… and
    IBEX_MEMORY_LIMIT_…. The hot lists that they stood in are made anew.
    """
    started = time.monotonic()
    forgetting = Forgetting(stores.database, stores.settings)
    gone = stores.wait(forgetting.forget(datetime.now(UTC)))
    context.add_output_metadata(
        {
            "expired": gone.expired,
            "old": {category.value: count for category, count in gone.old.items() if count},
            "over_limit": gone.over_limit,
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    refreshed = stores.wait(refresh_hot_lists(stores, gone.owners))
    if refreshed.failed:
        codes = sorted({error_code(error) for _, error in refreshed.failed})
        raise Failure(
            f"{len(refreshed.failed)} hot lists are stale ({', '.join(codes)}). The memories are "
            "deleted; the lists are made anew within the hour."
        )
