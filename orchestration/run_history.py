"""Dagster's own history, its runs with their events and its ticks, is kept for some days."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, OpExecutionContext, RunsFilter, job, op

from assets.stores import Stores

_KEPT = 20  # of each job the latest, however old: what ran last and how long it took
_MOST = 5_000  # runs at a time; the next time goes on
_PAGE = 500


@dataclass(frozen=True)
class Pruned:
    runs: int
    instigators: int  # sensors and schedules whose old ticks went


def prune(
    instance: DagsterInstance,
    *,
    runs_before: datetime,
    ticks_before: datetime,
    keep: int = _KEPT,
    most: int = _MOST,
) -> Pruned:
    """Deletes what was not touched since, by Dagster's own ways.

    A run goes whatever its status: one that was killed is in progress for ever in Dagster's books.
    """
    old = _old_runs(instance, runs_before, keep, most)
    for run_id in old:
        instance.delete_run(run_id)
    instigators = instance.all_instigator_state()
    for one in instigators:
        instance.purge_ticks(one.instigator_origin_id, one.selector_id, ticks_before.timestamp())
    return Pruned(len(old), len(instigators))


def _old_runs(instance: DagsterInstance, before: datetime, keep: int, most: int) -> list[str]:
    """The oldest first, without the latest `keep` of each job."""
    filters = RunsFilter(updated_before=before)
    latest: dict[str, set[str]] = {}
    found: list[str] = []
    cursor = None
    while len(found) < most:
        page = instance.get_run_records(filters, limit=_PAGE, ascending=True, cursor=cursor)
        for record in page:
            run = record.dagster_run
            if run.job_name not in latest:
                of_job = RunsFilter(job_name=run.job_name)
                latest[run.job_name] = set(instance.get_run_ids(of_job, limit=keep))
            if run.run_id not in latest[run.job_name]:
                found.append(run.run_id)
        if len(page) < _PAGE:
            break
        cursor = page[-1].dagster_run.run_id
    return found[:most]


@op(required_resource_keys={"stores"})
def prune_run_history(context: OpExecutionContext) -> None:
    """Runs and their events of more than IBEX_DAGSTER_RUN_DAYS, ticks of IBEX_DAGSTER_TICK_DAYS."""
    stores: Stores = context.resources.stores
    now = datetime.now(UTC)
    done = prune(
        context.instance,
        runs_before=now - timedelta(days=stores.settings.dagster_run_days),
        ticks_before=now - timedelta(days=stores.settings.dagster_tick_days),
    )
    context.add_output_metadata({"runs": done.runs, "instigators": done.instigators})


@job(description="Deletes Dagster's old runs, with their events, and its old ticks.")
def run_history() -> None:
    prune_run_history()
