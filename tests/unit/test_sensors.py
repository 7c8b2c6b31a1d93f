from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    RunRecord,
    RunRequest,
    SkipReason,
    build_sensor_context,
)

from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.jobs import WaitingWork
from orchestration import backfills, sensors
from orchestration.definitions import definitions
from orchestration.sensors import Watch, is_alive, pause, since_end

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEASE = 120.0


@dataclass
class Run:
    status: DagsterRunStatus
    run_id: str = "run"


@dataclass
class Record:
    """The part of Dagster's record that the sensor reads."""

    dagster_run: Run
    create_timestamp: datetime = NOW
    end_time: float | None = None


class Seen(Watch):
    """A database that says this."""

    def __init__(self, work: WaitingWork, holders: frozenset[str] = frozenset()) -> None:
        super().__init__(Settings())
        self._seen, self._holders = work, holders

    def work(self) -> WaitingWork:
        return self._seen

    def holds_lease(self, run_id: str) -> bool:
        return run_id in self._holders

    def complete_idle_sessions(self) -> int:
        return 0


def record(status: DagsterRunStatus, *, age: float = 0.0, end: float | None = None) -> RunRecord:
    made = Record(Run(status), NOW - timedelta(seconds=age), end)
    return cast("RunRecord", made)


NOTHING = Seen(WaitingWork(0, 0))
FAILED = record(DagsterRunStatus.FAILURE)
DONE = record(DagsterRunStatus.SUCCESS)


@pytest.mark.parametrize(
    ("runs", "urgent", "seconds"),
    [
        ([], False, 0),
        ([DONE, FAILED], False, 0),
        ([FAILED, DONE], False, 5),
        ([FAILED, FAILED, FAILED, DONE], False, 20),
        ([FAILED] * 8, False, 300),
        ([FAILED] * 8, True, 20),
    ],
)
def test_the_pause_grows_with_failures_in_a_row(
    runs: list[RunRecord], urgent: bool, seconds: float
) -> None:
    assert pause(runs, urgent=urgent) == seconds


def test_the_pause_counts_from_the_end_of_the_last_run() -> None:
    ended = record(DagsterRunStatus.FAILURE, end=NOW.timestamp() - 7)
    assert since_end([ended], NOW) == 7
    assert since_end([], NOW) == float("inf")


def test_a_run_that_was_killed_blocks_for_the_length_of_a_lease_only() -> None:
    started = DagsterRunStatus.STARTED
    assert is_alive(record(started, age=LEASE - 1), NOW, LEASE, NOTHING)
    assert not is_alive(record(started, age=LEASE + 1), NOW, LEASE, NOTHING)
    holder = Seen(WaitingWork(0, 0), frozenset({"run"}))
    assert is_alive(record(started, age=LEASE + 1), NOW, LEASE, holder)
    assert not is_alive(DONE, NOW, LEASE, holder)


@pytest.mark.parametrize(
    ("work", "starts"),
    [(WaitingWork(0, 0), False), (WaitingWork(1, 0), True), (WaitingWork(0, 1), True)],
)
def test_a_run_starts_when_there_is_work_and_has_no_key(
    monkeypatch: pytest.MonkeyPatch, work: WaitingWork, starts: bool
) -> None:
    monkeypatch.setattr(sensors, "Watch", lambda _: Seen(work))
    settings = Settings(sensor_interval=1)
    with DagsterInstance.ephemeral() as instance:
        outcome = sensors.session_sensor(settings)(build_sensor_context(instance=instance))
    if starts:
        assert isinstance(outcome, RunRequest)
        assert outcome.run_key is None
    else:
        assert isinstance(outcome, SkipReason)


def test_no_second_run_starts_beside_one_that_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "Watch", lambda _: Seen(WaitingWork(1, 1)))
    settings = Settings(sensor_interval=1)
    with DagsterInstance.ephemeral() as instance:
        instance.create_run_for_job(
            definitions(settings).resolve_job_def("learn"), status=DagsterRunStatus.STARTED
        )
        outcome = sensors.session_sensor(settings)(build_sensor_context(instance=instance))
    assert isinstance(outcome, SkipReason)
    assert "at work" in (outcome.skip_message or "")


@pytest.mark.parametrize("waiting", [None, new_id()])
def test_a_run_starts_for_the_backfill_that_waits(
    monkeypatch: pytest.MonkeyPatch, waiting: UUID | None
) -> None:
    class Due(Watch):
        def backfill(self) -> UUID | None:
            return waiting

    monkeypatch.setattr(backfills, "Watch", Due)
    settings = Settings()
    evaluate = backfills.backfill_sensor(settings)
    with DagsterInstance.ephemeral() as instance:
        first = evaluate(build_sensor_context(instance=instance))
        instance.create_run_for_job(
            definitions(settings).resolve_job_def("backfill"), status=DagsterRunStatus.STARTING
        )
        second = evaluate(build_sensor_context(instance=instance))
    assert isinstance(second, SkipReason)
    if waiting is None:
        assert isinstance(first, SkipReason)
    else:
        assert isinstance(first, RunRequest)
        config = {"backfill": str(waiting)}
        assert first.run_config == {"ops": {"read_again": {"config": config}}}
        assert "starts" in (second.skip_message or "")
