"""What an operator does and what goes wrong: import, kill, look, start twice."""

import asyncio
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyreqwest.client import ClientBuilder

from ibex.embedded.probes import http_ok
from ibex.provisioning import Provisioned
from ibex.walkthrough import Walkthrough
from tests.acceptance.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


async def test_everything_is_ready_and_up_twice_is_harmless(stack: Stack) -> None:
    before = stack.status()
    assert all(process["ready"] for process in before.values())
    assert "already" in stack.ibex("up").stdout
    assert {name: process["pid"] for name, process in stack.status().items()} == {
        name: process["pid"] for name, process in before.items()
    }


async def test_pages_answer(stack: Stack) -> None:
    settings = stack.settings
    for url in (
        f"{settings.api_endpoint}/docs",
        f"http://127.0.0.1:{settings.dashboard_port}/",
        f"http://127.0.0.1:{settings.dagster_port}/server_info",
    ):
        assert await http_ok(url), url


async def test_dagster_shows_the_assets(stack: Stack) -> None:
    query = "{ assetNodes { assetKey { path } groupName description } }"
    async with ClientBuilder().no_proxy().build() as http:
        response = (
            await http.post(f"http://127.0.0.1:{stack.settings.dagster_port}/graphql")
            .body_json({"query": query})
            .build()
            .send()
        )
        nodes = (await response.json())["data"]["assetNodes"]
    assert {node["assetKey"]["path"][-1] for node in nodes} >= {
        "completed_sessions",
        "session_facts",
        "memories",
        "hot_memories",
        "session_archive",
    }
    assert all(node["description"] for node in nodes)


async def test_a_dead_assembler_costs_memory_and_not_the_answer(
    stack: Stack, walk: Walkthrough
) -> None:
    assert not (await walk.ask([{"role": "user", "content": "Hello there"}])).fell_back
    assembler = stack.status()["assembler"]
    # Frozen first: killed at once, the supervisor might restart it before the request comes.
    os.kill(assembler["pid"], signal.SIGSTOP)
    try:
        frozen = await walk.ask([{"role": "user", "content": "Are you there?"}])
    finally:
        os.kill(assembler["pid"], signal.SIGKILL)
    killed = await walk.ask([{"role": "user", "content": "And now?"}])
    assert frozen.headers["x-ibex-context-fallback-reason"] == "timeout"
    assert killed.headers["x-ibex-context-fallback-reason"] in {"unavailable", "timeout"}
    assert frozen.text
    assert killed.text
    assert frozen.memories_injected == 0

    for _ in range(300):
        process = stack.status().get("assembler", {})
        if process.get("ready") and process["pid"] != assembler["pid"]:
            break
        await asyncio.sleep(0.2)
    for _ in range(50):
        back = await walk.ask([{"role": "user", "content": "Back again?"}])
        if not back.fell_back:
            break
        await asyncio.sleep(0.2)
    assert not back.fell_back


async def test_import_learns_a_history_and_reports_wrong_lines(
    stack: Stack, tenant: Provisioned, walk: Walkthrough, tmp_path: Path
) -> None:
    line = {
        "agent": "assistant",
        "session_id": "history-1",
        "started_at": "2025-03-04T10:00:00Z",
        "messages": [
            {"role": "user", "content": "Our fallback region is eu-west-3.", "id": "h1"},
            {"role": "assistant", "content": "Noted."},
        ],
    }
    file = tmp_path / "history.jsonl"
    file.write_text(json.dumps(line) + "\nnot json\n")
    org = await walk.get("/whoami")
    done = stack.ibex("import", str(file), "--org", org["org_name"], "--json", check=False)
    summary = json.loads(done.stdout)
    assert done.returncode == 1
    assert (summary["sessions"], summary["turns"]) == (1, 1)
    assert [wrong["line"] for wrong in summary["errors"]] == [2]

    learned = await walk.wait_until_learned("history-1", datetime.now(UTC), limit=120)
    memory = next(m for m in learned.memories if "eu-west-3" in m["content"])
    assert memory["valid_from"].startswith("2025-03-04")
    assert memory["message_ids"] == ["h1"]
