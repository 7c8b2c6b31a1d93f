"""What a data engineer does in Dagster's UI: materialise, backfill, run again from a failure."""

import json
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from pyreqwest.client import ClientBuilder

from ibex.provisioning import Provisioned
from ibex.walkthrough import Walkthrough
from tests.acceptance.conftest import Stack
from tests.acceptance.dagster import Dagster

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

LEARNING = (
    "completed_sessions",
    "session_archive",
    "session_episodes",
    "session_facts",
    "memories",
    "hot_memories",
)


@pytest.fixture
async def dagster(stack: Stack) -> AsyncIterator[Dagster]:
    async with ClientBuilder().no_proxy().build() as http:
        yield Dagster(http, f"http://127.0.0.1:{stack.settings.dagster_port}")


async def test_assets_are_materialised_and_read_again_by_a_backfill(
    stack: Stack, tenant: Provisioned, walk: Walkthrough, dagster: Dagster
) -> None:
    session = await walk.converse(["My favourite harbour is Cork."], lambda *_: None)
    completed = await walk.complete(session)
    run = await dagster.run("__ASSET_JOB", assets=LEARNING)
    assert run.status == "SUCCESS", run
    assert set(run.metadata) == set(LEARNING)
    assert {"sessions", "turns"} <= run.metadata["completed_sessions"]
    # By this run or by the sensor's: whoever came first.
    learned = await walk.wait_until_learned(session, completed, limit=120)
    contents = {memory["content"] for memory in learned.memories}
    assert "User's favourite harbour is Cork." in contents

    org = (await walk.get("/whoami"))["org_name"]
    wanted = {"org": org, "since": "2020-01-01", "prompt": "v2"}
    run = await dagster.run("backfill", config={"ops": {"read_again": {"config": wanted}}})
    assert run.status == "SUCCESS", run
    (listed,) = json.loads(stack.ibex("backfill", "list", "--org", org, "--json").stdout)
    assert listed["sessions"] == 1
    # What it found waits aside: nothing is believed twice.
    found = await walk.get("/agents/assistant/memories?limit=200")
    assert {memory["content"] for memory in found["items"]} == contents


async def test_a_failed_run_is_run_again_from_where_it_failed(
    stack: Stack, tenant: Provisioned, walk: Walkthrough, dagster: Dagster
) -> None:
    session = await walk.converse(["My favourite harbour is Cork."], lambda *_: None)
    await walk.wait_until_learned(session, await walk.complete(session), limit=120)
    cache = redis.asyncio.Redis.from_url(stack.settings.redis_dsn)
    try:
        await cache.config_set("maxmemory", "1")  # a Redis that is full
        failed = await dagster.run("hot_lists")
        assert (failed.status, failed.steps) == ("FAILURE", {"refresh_lists": "FAILURE"})
    finally:
        await cache.config_set("maxmemory", "0")
        await cache.aclose()
    again = await dagster.run_again(failed.id)
    assert (again.status, again.parent) == ("SUCCESS", failed.id)
    assert again.steps == {"refresh_lists": "SUCCESS"}


async def test_dagsters_own_history_is_kept_for_some_days(dagster: Dagster) -> None:
    run = await dagster.run("run_history")
    assert run.status == "SUCCESS", run
