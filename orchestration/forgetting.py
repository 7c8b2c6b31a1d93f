"""Once an hour: memories that have ended, are too old, or are too many, are forgotten."""

from datetime import UTC, datetime

from dagster import DefaultScheduleStatus, Failure, OpExecutionContext, ScheduleDefinition, job, op

from assets.each import error_code
from assets.memory_usefulness import refresh_hot_lists
from assets.stores import Stores
from ibex.stores.forgetting import Forgetting


@op(required_resource_keys={"stores"})
def forget_memories(context: OpExecutionContext) -> None:
    """By the rules of each agent, else of its organization, else by IBEX_RETENTION_… and
    IBEX_MEMORY_LIMIT_…; then the hot lists that they stood in are made anew."""
    stores: Stores = context.resources.stores
    forgetting = Forgetting(stores.database, stores.settings)
    gone = stores.wait(forgetting.forget(datetime.now(UTC)))
    context.add_output_metadata(
        {
            "expired": gone.expired,
            "old": {category.value: count for category, count in gone.old.items() if count},
            "over_limit": gone.over_limit,
        }
    )
    refreshed = stores.wait(refresh_hot_lists(stores, gone.owners))
    if refreshed.failed:
        codes = sorted({error_code(error) for _, error in refreshed.failed})
        raise Failure(
            f"{len(refreshed.failed)} hot lists are stale ({', '.join(codes)}). The memories are "
            "deleted; the lists are made anew within the hour."
        )


@job(description="Forgets memories that have ended, are older than they are kept, or too many.")
def forgetting() -> None:
    forget_memories()


forgetting_schedule = ScheduleDefinition(
    name="forgetting_hourly",
    job=forgetting,
    cron_schedule="29 * * * *",
    default_status=DefaultScheduleStatus.RUNNING,
)
