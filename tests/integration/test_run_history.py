"""Dagster's own books do not grow for ever."""

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)

from ibex.settings import Settings
from orchestration.definitions import definitions
from orchestration.run_history import prune

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.mark.usefixtures("redis_server")
async def test_what_is_old_goes_and_the_latest_runs_of_each_job_stay(
    settings: Settings, tmp_path: Path
) -> None:
    def work() -> None:
        with DagsterInstance.local_temp(str(tmp_path)) as instance:
            runs_are_pruned(instance, settings)
            ticks_are_pruned(instance)
            job = definitions(settings).resolve_job_def("run_history")
            assert job.execute_in_process(instance=instance).success
        gc.collect()  # its SQLite must be closed by the thread that opened it

    await asyncio.to_thread(work)


def runs_are_pruned(instance: DagsterInstance, settings: Settings) -> None:
    defs = definitions(settings)

    def run(name: str) -> DagsterRun:
        job = defs.resolve_job_def(name)
        return instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)

    def pruned(age: timedelta, **limits: int) -> int:
        return prune(instance, runs_before=NOW + age, ticks_before=NOW, keep=2, **limits).runs

    learned = [run("learn") for _ in range(5)]
    run("observe")
    for one in learned:
        instance.report_run_failed(one)
    assert pruned(-DAY) == 0
    assert pruned(DAY, most=1) == 1
    assert pruned(DAY) == 2
    assert pruned(DAY) == 0
    assert instance.get_runs_count() == 3
    for number, one in enumerate(learned):
        assert bool(instance.all_logs(one.run_id)) is (number >= 3)


def ticks_are_pruned(instance: DagsterInstance) -> None:
    location = GrpcServerCodeLocationOrigin("localhost", port=1, location_name="code")
    origin = RemoteRepositoryOrigin(location, "__repository__").get_instigator_origin("a sensor")
    state = InstigatorState(
        origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData()
    )
    instance.add_instigator_state(state)
    for days in (1, 20):
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=origin.instigator_name,
                instigator_type=InstigatorType.SENSOR,
                status=TickStatus.SUCCESS,
                timestamp=(NOW - days * DAY).timestamp(),
                run_ids=[],
                selector_id=state.selector_id,
            )
        )
    prune(instance, runs_before=NOW - DAY, ticks_before=NOW - 7 * DAY)
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert [round(NOW.timestamp() - tick.timestamp) for tick in ticks] == [24 * 3600]
