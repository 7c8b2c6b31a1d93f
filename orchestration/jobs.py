"""Jobs: which assets are made together."""

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    define_asset_job,
    in_process_executor,
)

from assets.checks import NEW_MEMORIES, SAMPLED
from assets.stores import GROUP, KEEPING, SNAPSHOTS, USE

#: One process for the whole run: a step's start would cost more than its work.
learn = define_asset_job(
    "learn",
    selection=AssetSelection.groups(GROUP).without_checks()
    | AssetSelection.checks(AssetCheckKey(AssetKey("memories"), NEW_MEMORIES)),
    executor_def=in_process_executor,
    description="Turns completed sessions into memories and archives them.",
)

observe = define_asset_job(
    "observe",
    selection=AssetSelection.groups(USE).without_checks(),
    executor_def=in_process_executor,
    description="Finds out which memories the latest answers rest on.",
)

forgetting = define_asset_job(
    "forgetting",
    selection=AssetSelection.groups(KEEPING).without_checks(),
    executor_def=in_process_executor,
    description="Forgets memories that have ended, are older than they are kept, or too many.",
)

checks = define_asset_job(
    "checks",
    selection=AssetSelection.checks(*SAMPLED),
    executor_def=in_process_executor,
    description="Looks, in samples, whether what there is is what it should be.",
)

snapshot = define_asset_job(
    "snapshot",
    selection=AssetSelection.groups(SNAPSHOTS),
    executor_def=in_process_executor,
    description="Makes today's snapshot of all memories with their vectors.",
)

lake = define_asset_job(
    "lake",
    selection=AssetSelection.assets("session_lake", "trace_lake", "usage_rollup"),
    executor_def=in_process_executor,
    description="Writes the days that have changed into the lake.",
)

compaction = define_asset_job(
    "compaction",
    selection=AssetSelection.assets("lake_compaction"),
    executor_def=in_process_executor,
    description="Merges the lake's small files and deletes those that were replaced.",
)
