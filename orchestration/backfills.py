"""Backfills of the extraction as a job: of one that was asked for, or made here from its config."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from dagster import (
    Config,
    DagsterInstance,
    DefaultSensorStatus,
    Failure,
    OpExecutionContext,
    RetryPolicy,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    job,
    op,
    sensor,
)
from pydantic import Field

from assets.stores import Stores
from ibex.errors import IbexError, InvalidRequestError
from ibex.ids import parse_id
from ibex.settings import Settings
from orchestration.sensors import RECENT, Watch, pause, since_end

if TYPE_CHECKING:
    from ibex.stores.backfills import BackfillStore

_STEPS = 20  # lines in the run's log, of each kind of work
_EVERY = 15  # seconds
_STARTING = 60.0  # seconds from a request to the lease
_TAG = "ibex/backfill"
_OURS = 500  # from this status on an error is not the request's


class WantedBackfill(Config):
    backfill: str = Field("", description="The id of one that is there; else one is made.")
    org: str = Field("demo", description="Of the new one: the organization's name.")
    since: str = Field("", description="Sessions that began from here on, e.g. 2026-01-01.")
    until: str = Field("", description="And before this; empty: until now.")
    agent: str = Field("", description="Of this agent only.")
    prompt: str = Field("", description="Its name; empty: the one in use.")
    model: str = Field("", description="Empty: the one in use.")


@op(required_resource_keys={"stores"}, retry_policy=RetryPolicy(max_retries=3, delay=30))
def read_again(context: OpExecutionContext, config: WantedBackfill) -> None:
    """Its sessions are read and compared, or it is switched or reverted, as it was asked for. A try
    goes on where the one before stopped."""
    # Not at the import of the definitions: every run would wait for it.
    from ibex.backfills.opening import open_tools  # noqa: PLC0415
    from ibex.backfills.running import BackfillRunner  # noqa: PLC0415
    from ibex.stores.backfills import BackfillStore  # noqa: PLC0415

    stores: Stores = context.resources.stores
    told: dict[str, int] = {}

    def watch(what: str, done: int, total: int) -> None:
        step = done * _STEPS // max(1, total)
        if told.get(what) != step:
            told[what] = step
            context.log.info(f"{what}: {done:,} of {total:,}")

    async def work() -> dict[str, object]:
        async with open_tools(stores.settings) as tools:
            store = BackfillStore(tools.database)
            org_id, backfill_id = await _chosen(stores, store, config, context)
            runner = BackfillRunner(tools, context.run_id, watch=watch)
            done = await runner.run(org_id, backfill_id)
            difference = await store.difference(org_id, backfill_id)
        return {
            "backfill": str(done.id),
            "state": done.status.value,
            "sessions": done.sessions,
            "unreadable": done.dead,
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "seconds": round(done.seconds, 3),
            "added": sum(one.added for one in difference.agents),
            "gone": sum(one.gone for one in difference.agents),
            "changed": sum(one.changed for one in difference.agents),
            "unchanged": done.unchanged,
            "before": difference.before.summary(),
            "after": difference.after.summary(),
        }

    try:
        found = stores.wait(work())
    except IbexError as error:
        if error.status >= _OURS:
            raise
        # What was asked for cannot be done, however often it is tried.
        raise Failure(f"{error.message} {error.advice}", allow_retries=False) from error
    context.add_output_metadata(found)


async def _chosen(
    stores: Stores, store: "BackfillStore", config: WantedBackfill, context: OpExecutionContext
) -> tuple[UUID, UUID]:
    """The organization and the backfill. One that is made here is made once, whatever is retried:
    its run's tags name it."""
    from ibex.backfills.wishing import wish  # noqa: PLC0415
    from ibex.stores.audit import Actor  # noqa: PLC0415
    from ibex.stores.identity import IdentityStore  # noqa: PLC0415

    named = config.backfill or context.run.tags.get(_TAG, "")
    if named:
        backfill_id = parse_id(named)
        if backfill_id is None:
            raise InvalidRequestError("This is not a backfill's id: it is a UUID.")
        return await store.organization_of(backfill_id), backfill_id
    identity = IdentityStore(stores.database)
    org_id = await identity.organization(config.org)
    agent_id = (await identity.agent(org_id, config.agent)).id if config.agent else None
    wanted = wish(
        stores.settings,
        _moment(config.since),
        _moment(config.until) if config.until else None,
        agent_id=agent_id,
        prompt=config.prompt or None,
        model=config.model or None,
    )
    made = await store.create(org_id, wanted, Actor("pipeline", context.run_id))
    context.instance.add_run_tags(context.run_id, {_TAG: str(made.id)})
    context.log.info(f"Backfill {made.id}: {made.sessions:,} sessions.")
    return org_id, made.id


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError(
            "A backfill needs a start: 'since', in the form 2026-01-01."
        ) from None


@job(description="Reads sessions again with another prompt or model; switches, reverts.")
def backfill() -> None:
    read_again()


@op(required_resource_keys={"stores"})
def forget_replaced_facts(context: OpExecutionContext) -> None:
    """What backfills replaced that can no longer be reverted (IBEX_BACKFILL_GRACE_DAYS)."""
    from ibex.stores.backfills import BackfillStore  # noqa: PLC0415

    stores: Stores = context.resources.stores
    now = datetime.now(UTC)

    async def work() -> int:
        store = BackfillStore(stores.database)
        expired = await store.expired(now)
        for one in expired:
            await store.forget_replaced(one, now)
        return len(expired)

    context.add_output_metadata({"backfills": stores.wait(work())})


@job(description="Deletes what switched backfills replaced, once they cannot be reverted.")
def settle_backfills() -> None:
    forget_replaced_facts()


def backfill_sensor(settings: Settings) -> SensorDefinition:
    watch = Watch(settings)

    @sensor(
        name="backfill_sensor",
        job_name=backfill.name,
        minimum_interval_seconds=_EVERY,
        default_status=DefaultSensorStatus.RUNNING,
        description="Starts a run for a backfill that waits for a worker, or whose worker is gone.",
    )
    def evaluate(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        waiting = watch.backfill()
        if waiting is None:
            return SkipReason("No backfill waits.")
        reason = _reason_to_wait(context.instance, datetime.now(UTC))
        if reason:
            return SkipReason(reason)
        config = {"backfill": str(waiting)}
        return RunRequest(run_config={"ops": {read_again.name: {"config": config}}})

    return evaluate


def _reason_to_wait(instance: DagsterInstance, now: datetime) -> str | None:
    """None when a run shall start now. A run that was just asked for has not taken it yet."""
    recent = instance.get_run_records(RunsFilter(job_name=backfill.name), limit=RECENT)
    for record in recent:
        age = (now - record.create_timestamp.astimezone(UTC)).total_seconds()
        if not record.dagster_run.is_finished and age < _STARTING:
            return f"Run {record.dagster_run.run_id} starts."
    seconds = pause(recent, urgent=False) - since_end(recent, now)
    return f"The last run failed; the next one starts in {seconds:.0f} s." if seconds > 0 else None
