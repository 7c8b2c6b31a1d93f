"""When jobs run that nothing else starts: hourly or nightly, apart from each other."""

from functools import partial

from dagster import DefaultScheduleStatus, ScheduleDefinition

from orchestration.archives import dropping, store_verification
from orchestration.backfills import settle_backfills
from orchestration.housekeeping import housekeeping
from orchestration.jobs import checks, compaction, forgetting, lake, snapshot
from orchestration.run_history import run_history
from orchestration.usefulness import hot_lists

_running = partial(ScheduleDefinition, default_status=DefaultScheduleStatus.RUNNING)

SCHEDULES = (
    _running(name="hourly", job=housekeeping, cron_schedule="17 * * * *"),
    _running(name="forgetting_hourly", job=forgetting, cron_schedule="29 * * * *"),
    _running(name="hot_lists_hourly", job=hot_lists, cron_schedule="41 * * * *"),
    _running(name="checks_hourly", job=checks, cron_schedule="53 * * * *"),
    _running(name="snapshot_daily", job=snapshot, cron_schedule="5 3,9,15,21 * * *"),
    _running(name="run_history_hourly", job=run_history, cron_schedule="59 * * * *"),
    _running(name="settle_backfills_hourly", job=settle_backfills, cron_schedule="5 * * * *"),
    _running(name="dropping_hourly", job=dropping, cron_schedule="11 * * * *"),
    _running(name="verification_daily", job=store_verification, cron_schedule="35 4 * * *"),
    _running(name="lake_hourly", job=lake, cron_schedule="47 * * * *"),
    _running(name="compaction_daily", job=compaction, cron_schedule="23 2 * * *"),
)
