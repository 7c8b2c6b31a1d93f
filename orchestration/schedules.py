"""When jobs run that nothing else starts."""

from dagster import DefaultScheduleStatus, ScheduleDefinition

from orchestration.jobs import forgetting

forgetting_schedule = ScheduleDefinition(
    name="forgetting_hourly",
    job=forgetting,
    cron_schedule="29 * * * *",
    default_status=DefaultScheduleStatus.RUNNING,
)
