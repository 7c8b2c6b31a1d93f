"""The code location: wires assets, jobs, sensors and resources together, and nothing else.

`python -m orchestration.code_server` serves it (workspace.yaml).
"""

from dagster import Definitions, in_process_executor, load_assets_from_modules

from assets import (
    completed_sessions,
    hot_memories,
    lake_compaction,
    memories,
    memory_conflicts,
    memory_snapshot,
    memory_usefulness,
    promoted_memories,
    retention,
    session_archive,
    session_episodes,
    session_facts,
    session_lake,
    trace_lake,
    usage_rollup,
)
from assets.checks import SAMPLED, new_memories
from ibex.extraction.prompts import prompt_named
from ibex.settings import Settings, load_settings
from orchestration.archives import dropping, store_verification
from orchestration.backfills import backfill, backfill_sensor, settle_backfills
from orchestration.housekeeping import housekeeping
from orchestration.jobs import (
    checks,
    compaction,
    forgetting,
    lake,
    learn,
    observe,
    snapshot,
)
from orchestration.reembedding import reembed
from orchestration.resources import run_memory, stores_resource
from orchestration.run_history import run_history
from orchestration.schedules import SCHEDULES
from orchestration.sensors import session_sensor
from orchestration.usefulness import answer_sensor, hot_lists


def definitions(settings: Settings) -> Definitions:
    prompt_named(settings)  # a name that is not there is told at the start
    return Definitions(
        assets=load_assets_from_modules(
            [
                completed_sessions,
                session_episodes,
                session_facts,
                memories,
                promoted_memories,
                hot_memories,
                memory_conflicts,
                session_archive,
                memory_usefulness,
                memory_snapshot,
                retention,
                session_lake,
                trace_lake,
                usage_rollup,
                lake_compaction,
            ]
        ),
        asset_checks=[new_memories, *SAMPLED],
        jobs=[
            learn,
            observe,
            housekeeping,
            forgetting,
            checks,
            hot_lists,
            run_history,
            reembed,
            snapshot,
            backfill,
            settle_backfills,
            dropping,
            store_verification,
            lake,
            compaction,
        ],
        schedules=SCHEDULES,
        sensors=[session_sensor(settings), answer_sensor(settings), backfill_sensor(settings)],
        resources={"stores": stores_resource(settings), "io_manager": run_memory()},
        executor=in_process_executor,
    )


defs = definitions(load_settings())
