"""Jobs: which assets are made together."""

from dagster import AssetSelection, define_asset_job, in_process_executor

from assets.stores import GROUP

#: One process for the whole run: a step's start would cost more than its work.
learn = define_asset_job(
    "learn",
    selection=AssetSelection.groups(GROUP),
    executor_def=in_process_executor,
    description="Turns completed sessions into memories and archives them.",
)
