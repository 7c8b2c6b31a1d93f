"""A snapshot: what a data engineer sees in Dagster changes on purpose only."""

import pytest
from dagster import DefaultScheduleStatus, DefaultSensorStatus, Definitions

from ibex.settings import Settings
from orchestration.definitions import definitions


@pytest.fixture(scope="module")
def defs() -> Definitions:
    return definitions(Settings())


def test_assets(defs: Definitions) -> None:
    graph = defs.resolve_asset_graph()
    assert {
        key.to_user_string(): sorted(
            parent.to_user_string() for parent in graph.get(key).parent_keys
        )
        for key in graph.get_all_asset_keys()
    } == {
        "completed_sessions": [],
        "session_episodes": ["completed_sessions"],
        "session_facts": ["session_episodes"],
        "memories": ["session_facts"],
        "promoted_memories": ["memories"],
        "hot_memories": ["memories", "session_episodes"],
        "memory_conflicts": ["hot_memories", "memories"],
        "session_archive": ["completed_sessions"],
        "memory_usefulness": [],
        "retention": [],
        "memory_snapshot": ["memories"],
        "session_lake": ["memories", "session_archive"],
        "trace_lake": [],
        "usage_rollup": ["trace_lake"],
        "lake_compaction": ["session_lake", "trace_lake", "usage_rollup"],
    }


def test_every_asset_says_what_it_is(defs: Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.group_name in ("learning", "use", "keeping", "snapshots", "lake")
        assert node.owners, key
        assert node.kinds, key


def test_checks(defs: Definitions) -> None:
    graph = defs.resolve_asset_graph()
    listed = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    sampled = {
        ("memories", "junk_rate"),
        ("memories", "duplicate_rate"),
        ("memories", "orphaned_provenance"),
        ("memories", "embeddings"),
        ("memories", "redaction"),
        ("hot_memories", "hot_lists"),
        ("session_archive", "archives"),
        ("session_archive", "archive_freshness"),
        ("completed_sessions", "dead_letters"),
        ("completed_sessions", "extraction_freshness"),
        ("memory_usefulness", "use_freshness"),
    }
    assert listed == {*sampled, ("memories", "new_memories")}

    def of(job: str) -> set[tuple[str, str]]:
        keys = defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys
        return {(key.asset_key.to_user_string(), key.name) for key in keys}

    assert of("checks") == sampled
    assert of("learn") == {("memories", "new_memories")}
    assert of("observe") == of("forgetting") == set()


def test_jobs_sensors_and_schedules(defs: Definitions) -> None:
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} == {
        "learn",
        "observe",
        "housekeeping",
        "forgetting",
        "checks",
        "reembed",
        "hot_lists",
        "run_history",
        "snapshot",
        "backfill",
        "settle_backfills",
        "dropping",
        "store_verification",
        "lake",
        "compaction",
        "__ASSET_JOB",
    }
    for name in ("learn", "observe", "forgetting", "checks", "snapshot", "lake", "compaction"):
        assert repository.get_job(name).executor_def.name == "in_process"
    assert {
        (one.name, one.job_name, one.minimum_interval_seconds, one.default_status)
        for one in repository.sensor_defs
    } == {
        ("session_sensor", "learn", 4, DefaultSensorStatus.RUNNING),
        ("answer_sensor", "observe", 60, DefaultSensorStatus.RUNNING),
        ("backfill_sensor", "backfill", 15, DefaultSensorStatus.RUNNING),
    }
    assert {
        (one.name, one.job_name, one.cron_schedule, one.default_status)
        for one in repository.schedule_defs
    } == {
        ("hourly", "housekeeping", "17 * * * *", DefaultScheduleStatus.RUNNING),
        ("forgetting_hourly", "forgetting", "29 * * * *", DefaultScheduleStatus.RUNNING),
        ("hot_lists_hourly", "hot_lists", "41 * * * *", DefaultScheduleStatus.RUNNING),
        ("run_history_hourly", "run_history", "59 * * * *", DefaultScheduleStatus.RUNNING),
        ("checks_hourly", "checks", "53 * * * *", DefaultScheduleStatus.RUNNING),
        ("snapshot_daily", "snapshot", "5 3,9,15,21 * * *", DefaultScheduleStatus.RUNNING),
        (
            "settle_backfills_hourly",
            "settle_backfills",
            "5 * * * *",
            DefaultScheduleStatus.RUNNING,
        ),
        ("dropping_hourly", "dropping", "11 * * * *", DefaultScheduleStatus.RUNNING),
        ("verification_daily", "store_verification", "35 4 * * *", DefaultScheduleStatus.RUNNING),
        ("lake_hourly", "lake", "47 * * * *", DefaultScheduleStatus.RUNNING),
        ("compaction_daily", "compaction", "23 2 * * *", DefaultScheduleStatus.RUNNING),
    }
