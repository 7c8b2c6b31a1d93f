"""The session sensor: one run for all the work there is.

A tick does not look once, it watches: for most of the interval it asks PostgreSQL four times a
second (one statement over two partial indexes), so a completed session waits a fraction of a second
and not the five seconds that Dagster's daemon leaves between two ticks.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import UUID

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ibex.settings import Settings
from ibex.stores.jobs import JobStore, WaitingWork
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.stores.usefulness import UsefulnessStore
from orchestration.background import BackgroundLoop
from orchestration.jobs import learn

_POLL = 0.25  # seconds
_ANSWER = 15.0  # seconds, for one look at the database
_IDLE_AT_ONCE = 200  # sessions completed in one look
RECENT = 8  # runs that are looked at

IN_FLIGHT = frozenset(
    {
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.QUEUED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    }
)


class Watch:
    """What the sensor sees of the database: one pool for the life of the code server, opened at
    the first tick, so that loading the definitions asks nobody."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: Database | None = None

    def work(self) -> WaitingWork:
        """Raises DatabaseUnavailableError."""
        return self._loop.wait(self._work(), _ANSWER)

    def holds_lease(self, run_id: str) -> bool:
        return self._loop.wait(self._holds_lease(run_id), _ANSWER)

    def complete_idle_sessions(self) -> int:
        """A session in which nothing was said for a while is over."""
        return self._loop.wait(self._complete_idle(), _ANSWER)

    def answers(self) -> int:
        """How many nobody has looked at. Raises DatabaseUnavailableError."""
        return self._loop.wait(self._answers(), _ANSWER)

    def backfill(self) -> UUID | None:
        """The oldest that waits for a worker. Raises DatabaseUnavailableError."""
        return self._loop.wait(self._backfill(), _ANSWER)

    async def _backfill(self) -> UUID | None:
        from ibex.stores.backfills import BackfillStore  # noqa: PLC0415 — numpy and more

        due = await BackfillStore(await self._connected()).due(1)
        return due[0].id if due else None

    async def _answers(self) -> int:
        waiting = await UsefulnessStore(await self._connected()).waiting()
        return sum(one.answers for one in waiting)

    async def _work(self) -> WaitingWork:
        return await JobStore(await self._connected()).waiting_work()

    async def _holds_lease(self, run_id: str) -> bool:
        return await JobStore(await self._connected()).holds_lease(run_id)

    async def _complete_idle(self) -> int:
        sessions = SessionStore(await self._connected())
        before = datetime.now(UTC) - timedelta(seconds=self._settings.session_idle)
        idle = await sessions.idle_sessions(before, _IDLE_AT_ONCE)
        for key in idle:
            await sessions.complete(key.org_id, key.session_id)
        return len(idle)

    async def _connected(self) -> Database:
        if self._database is None:
            self._database = await Database.connect(
                self._settings.app_dsn, name="sensor", min_size=0, max_size=2
            )
        return self._database

    @cached_property
    def _loop(self) -> BackgroundLoop:
        return BackgroundLoop("ibex-watch")


def session_sensor(settings: Settings) -> SensorDefinition:
    watch = Watch(settings)
    # The rest of the interval is for the daemon: to store the tick and to ask for the next.
    watching = max(0.0, settings.sensor_interval - 1.0)

    @sensor(
        name="session_sensor",
        job=learn,
        # A second less: the daemon comes by every five seconds, and a tick that it finds due in
        # 10 ms would wait for another five.
        minimum_interval_seconds=max(1, settings.sensor_interval - 1),
        default_status=DefaultSensorStatus.RUNNING,
        description="Completes idle sessions and starts a run when there is something to learn "
        "or to archive. One run takes all there is, and there is one run at a time.",
    )
    def evaluate(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        until = time.monotonic() + watching
        watch.complete_idle_sessions()
        while True:
            reason = _reason_to_wait(context.instance, watch, settings)
            if reason is None:
                # Without a run key: a key is used once for ever, also by a run that failed.
                return RunRequest()
            if time.monotonic() >= until:
                return SkipReason(reason)
            time.sleep(_POLL)

    return evaluate


def _reason_to_wait(instance: DagsterInstance, watch: Watch, settings: Settings) -> str | None:
    """None when a run shall start now."""
    work = watch.work()
    if not work.claimable and not work.unarchived:
        return "No completed session waits."
    recent = instance.get_run_records(RunsFilter(job_name=learn.name), limit=RECENT)
    now = datetime.now(UTC)
    for record in recent:
        if is_alive(record, now, settings.extraction_lease, watch):
            return f"Run {record.dagster_run.run_id} is at work."
    seconds = pause(recent, urgent=work.claimable > 0) - since_end(recent, now)
    if seconds > 0:
        return f"The last run failed; the next one starts in {seconds:.0f} s."
    return None


def is_alive(record: RunRecord, now: datetime, lease: float, watch: Watch) -> bool:
    """A run that was killed may be in progress for ever in Dagster's books. It counts while it is
    younger than a lease, or has one that is renewed."""
    if record.dagster_run.status not in IN_FLIGHT:
        return False
    age = (now - record.create_timestamp.astimezone(UTC)).total_seconds()
    return age < lease or watch.holds_lease(record.dagster_run.run_id)


def pause(recent: Sequence[RunRecord], *, urgent: bool) -> float:
    """Seconds to leave after the latest runs, newest first: doubling with each that failed in a
    row, so that an outage of Redis or S3 is not met with a run every five seconds. Short while
    sessions wait to be learned from (`urgent`): what fails may be another part."""
    failures = _failures_in_a_row(recent)
    if failures == 0:
        return 0.0
    return min(20.0 if urgent else 300.0, 5.0 * 2.0 ** (failures - 1))


def since_end(recent: Sequence[RunRecord], now: datetime) -> float:
    """Seconds since the newest run ended."""
    if not recent or recent[0].end_time is None:
        return float("inf")
    return now.timestamp() - recent[0].end_time


def _failures_in_a_row(recent: Sequence[RunRecord]) -> int:
    statuses: Iterator[DagsterRunStatus] = (record.dagster_run.status for record in recent)
    failures = 0
    for status in statuses:
        if status is not DagsterRunStatus.FAILURE:
            break
        failures += 1
    return failures
