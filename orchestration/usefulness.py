"""When answers are looked at, and hot lists made anew whatever happened."""

from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Failure,
    OpExecutionContext,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    job,
    op,
    sensor,
)

from assets.each import error_code
from assets.memory_usefulness import refresh_hot_lists
from assets.stores import Stores
from ibex.settings import Settings
from ibex.stores.usefulness import UsefulnessStore
from orchestration.jobs import observe
from orchestration.sensors import IN_FLIGHT, Watch

_GIVEN_UP = timedelta(minutes=30)  # the age at which a run in progress is taken for killed
_AT_WORK = timedelta(days=1)  # whose lists are worth it: as long as one lives in Redis


def answer_sensor(settings: Settings) -> SensorDefinition:
    watch = Watch(settings)

    @sensor(
        name="answer_sensor",
        job=observe,
        minimum_interval_seconds=settings.usefulness_interval,
        default_status=DefaultSensorStatus.RUNNING,
        description="Starts a run when there are answers of which nobody knows what they rest on.",
    )
    def evaluate(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        if not watch.answers():
            return SkipReason("No answer waits.")
        since = datetime.now(UTC) - _GIVEN_UP
        running = context.instance.get_runs(
            RunsFilter(job_name=observe.name, statuses=list(IN_FLIGHT), created_after=since),
            limit=1,
        )
        return SkipReason(f"Run {running[0].run_id} is at work.") if running else RunRequest()

    return evaluate


@op(required_resource_keys={"stores"})
def refresh_lists(context: OpExecutionContext) -> None:
    """The hot lists of all agents and users with a turn of the last day."""
    stores: Stores = context.resources.stores
    store = UsefulnessStore(stores.database)
    owners = stores.wait(store.owners_at_work(datetime.now(UTC) - _AT_WORK))
    refreshed = stores.wait(refresh_hot_lists(stores, set(owners)))
    if refreshed.failed:
        codes = sorted({error_code(error) for _, error in refreshed.failed})
        raise Failure(f"{len(refreshed.failed)} hot lists are stale ({', '.join(codes)}).")
    context.add_output_metadata({"lists": len(refreshed.done)})


@job(description="Makes the hot lists anew: scores fall with time, also of what nobody changes.")
def hot_lists() -> None:
    refresh_lists()


hot_schedule = ScheduleDefinition(
    name="hot_lists_hourly",
    job=hot_lists,
    cron_schedule="41 * * * *",
    default_status=DefaultScheduleStatus.RUNNING,
)
