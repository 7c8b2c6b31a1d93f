"""Runs of the pipeline's jobs in process, on a test's own servers, and what they left behind."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from dagster import DagsterInstance, ExecuteInProcessResult, MetadataValue

from ibex.settings import Settings
from ibex.stores.postgres import Database
from orchestration.definitions import definitions


async def run_job(
    settings: Settings,
    name: str,
    *,
    only: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    fails: bool = False,
) -> ExecuteInProcessResult:
    """In a thread: Dagster has a loop of its own, and a thread has one at most."""

    def run() -> ExecuteInProcessResult:
        with DagsterInstance.ephemeral() as instance:
            job = definitions(settings).resolve_job_def(name)
            result = job.execute_in_process(
                instance=instance, raise_on_error=False, op_selection=only, run_config=config
            )
        # Its in-memory SQLite must be closed by the thread that opened it.
        gc.collect()
        return result

    result = await asyncio.to_thread(run)
    assert result.success is not fails
    return result


async def learn(
    settings: Settings, *, only: Sequence[str] | None = None, fails: bool = False
) -> ExecuteInProcessResult:
    """One run of the job, as the sensor would ask for it."""
    return await run_job(settings, "learn", only=only, fails=fails)


def metadata(result: ExecuteInProcessResult) -> Mapping[str, Mapping[str, Any]]:
    """What each asset that was made says of it, by the asset's name."""
    return {
        event.asset_key.to_user_string(): _values(event.materialization.metadata)
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def output(result: ExecuteInProcessResult) -> Mapping[str, Any]:
    """What the only op of a job says of what it did."""
    (event,) = [one for one in result.all_events if one.event_type_value == "STEP_OUTPUT"]
    return _values(event.step_output_data.metadata)


def _values(metadata: Mapping[str, MetadataValue[Any]]) -> Mapping[str, Any]:
    return {name: value.value for name, value in metadata.items()}


async def contents(database: Database, org_id: UUID) -> list[str]:
    """What the organization's memories say, the oldest first."""
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(
            "SELECT content FROM ibex_core.memories WHERE org_id = $1 ORDER BY id", org_id
        )
    return [row["content"] for row in rows]


async def expire_leases(database: Database, by: float = 3600) -> None:
    """What the clock would do in `by` seconds."""
    async with database.system() as connection:
        await connection.execute(
            """
            UPDATE ibex_core.extraction_jobs
            SET lease_until = lease_until - $1::interval, available_at = available_at - $1::interval
            """,
            timedelta(seconds=by),
        )
