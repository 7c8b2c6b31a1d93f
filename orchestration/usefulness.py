"""When answers are looked at, and hot lists made anew whatever happened."""

from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    Failure,
    OpExecutionContext,
    RunRequest,
    RunsFilter,
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
from orchestration.sensors import IN_FLIGHT, RECENT, Watch, pause, since_end

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
        reason = _reason_to_wait(context.instance, datetime.now(UTC))
        return SkipReason(reason) if reason else RunRequest()

    return evaluate


def _reason_to_wait(instance: DagsterInstance, now: datetime) -> str | None:
    """None when a run shall start now."""
    recent = instance.get_run_records(RunsFilter(job_name=observe.name), limit=RECENT)
    for record in recent:
        age = now - record.create_timestamp.astimezone(UTC)
        if record.dagster_run.status in IN_FLIGHT and age < _GIVEN_UP:
            return f"Run {record.dagster_run.run_id} is at work."
    seconds = pause(recent, urgent=False) - since_end(recent, now)
    return f"The last run failed; the next one starts in {seconds:.0f} s." if seconds > 0 else None


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
