"""kill -9 of a run while it waits for the model: its sessions are processed once, by the next."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from uuid import UUID

import pytest

from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.jobs import JobStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from tests.conftest import service_env
from tests.integration.recorded import add_session
from tests.pipeline import contents, learn

LEASE = 3.0  # seconds
RUN = (
    "from orchestration.definitions import defs;"
    "defs.resolve_job_def('learn').execute_in_process(raise_on_error=False)"
)


class SilentModel:
    """Accepts connections and never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.url = ""
        self._over = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        self.asked.set()
        await self._over.wait()
        writer.close()

    async def serve(self) -> AsyncIterator["SilentModel"]:
        server = await asyncio.start_server(self, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield self
        self._over.set()
        server.close()


@pytest.fixture
async def silent_model() -> AsyncIterator[SilentModel]:
    async for model in SilentModel().serve():
        yield model


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    for _ in range(600):
        if await condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail("It did not happen within 30 s.")


async def renewed(database: Database, first: datetime | None) -> bool:
    return await lease_end(database) != first


async def lease_end(database: Database) -> datetime | None:
    async with database.system() as connection:
        end: datetime | None = await connection.fetchval(
            "SELECT lease_until FROM ibex_core.extraction_jobs"
        )
    return end


@pytest.mark.usefixtures("redis_server", "s3_server", "embedder_server", "sandbox_server")
async def test_a_killed_run_leaves_its_session_to_the_next(
    settings: Settings,
    database: Database,
    silent_model: SilentModel,
    org_id: UUID,
    agent_id: UUID,
    postgres_server: ProcessSpec,
) -> None:
    jobs = JobStore(database)
    session_id = await add_session(database, org_id, agent_id)
    doomed = settings.model_copy(
        update={"provider_base_url": silent_model.url, "extraction_lease": LEASE}
    )
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUN,
        env=os.environ | service_env(doomed),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(silent_model.asked.wait(), 60)
        first = await lease_end(database)
        # The run lives, so its lease is renewed and nobody else gets the session.
        await until(partial(renewed, database, first))
        assert await jobs.claim("another", 10, LEASE) == []
    finally:
        run.kill()
        await run.wait()

    await until(jobs.claimable)
    result = await learn(settings)
    assert (await jobs.counts())["done"] == 1
    assert (await SessionStore(database).session(org_id, session_id)).last_extracted_turn == 2
    found = await contents(database, org_id)
    assert len(found) == len(set(found)) > 0
    async with database.tenant(org_id) as connection:
        # The episodes were written before the model was asked, by the run that was killed.
        rows = await connection.fetch(
            "SELECT run_id FROM ibex_core.memories WHERE extractor NOT LIKE 'episodes/%'"
        )
        attempts = await connection.fetchval("SELECT attempts FROM ibex_core.extraction_jobs")
    assert {row["run_id"] for row in rows} == {result.run_id}
    assert attempts == 2
