"""kill -9 in the middle of learning: nothing is lost, nothing is there twice."""

import asyncio
import json
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ibex.provisioning import Provisioned
from ibex.walkthrough import Walkthrough
from tests.acceptance.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = (
    "amber", "basil", "cedar", "delta", "ember", "flint", "grove", "heron", "indigo", "jasper",
    "karst", "lotus", "maple", "nectar", "onyx", "pearl", "quartz", "raven", "sable", "thyme",
)  # fmt: skip
LATER = "umber"


def fact(name: str) -> str:
    return f"The {name} service runs in Lyon."


def history(folder: Path, *names: str) -> Path:
    """A file for `ibex import`: one session of two turns for each name."""
    file = folder / f"{names[0]}.jsonl"
    lines = [
        {
            "agent": "assistant",
            "session_id": f"about-{name}",
            "started_at": "2025-03-04T10:00:00Z",
            "messages": [
                {"role": "user", "content": fact(name)},
                {"role": "assistant", "content": "Noted."},
                {"role": "user", "content": f"And the {name} team works in Paris."},
                {"role": "assistant", "content": "Noted."},
            ],
        }
        for name in names
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


async def forked_runs(code_server: psutil.Process) -> set[psutil.Process]:
    """The processes of runs: children of the fork server, which is the code server's."""
    for _ in range(600):
        for server in code_server.children():
            if "forkserver" in " ".join(server.cmdline()) and (runs := server.children()):
                return set(runs)
        await asyncio.sleep(0.1)
    pytest.fail("no process of a run was seen")


async def at_work(walk: Walkthrough) -> None:
    """Until a run has claimed sessions of this organization."""
    for _ in range(6_000):
        if (await walk.get("/pipeline"))["jobs"]["leased"]:
            return
        await asyncio.sleep(0.02)
    pytest.fail("no run claimed a session")


@pytest.mark.parametrize("victims", [("run",), ("dagster-daemon", "dagster-code")])
async def test_what_is_killed_loses_and_doubles_nothing(
    stack: Stack, tenant: Provisioned, walk: Walkthrough, tmp_path: Path, victims: tuple[str, ...]
) -> None:
    org = (await walk.get("/whoami"))["org_name"]
    processes = await asyncio.to_thread(stack.status)
    code_server = psutil.Process(processes["dagster-code"]["pid"])

    def bring_in(*names: str) -> None:
        stack.ibex("import", str(history(tmp_path, *names)), "--org", org, "--json", limit=300)

    bringing = asyncio.create_task(asyncio.to_thread(bring_in, *NAMES))
    # The model stands still, and so does the run that asks it.
    os.kill(processes["sandbox"]["pid"], signal.SIGSTOP)
    try:
        await at_work(walk)
        if "run" in victims:
            doomed = await forked_runs(code_server)
        else:
            doomed = {psutil.Process(processes[name]["pid"]) for name in victims}
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    finally:
        os.kill(processes["sandbox"]["pid"], signal.SIGCONT)
    await bringing
    await asyncio.to_thread(bring_in, LATER)

    expected = len(NAMES) + 1
    for _ in range(600):
        state = await walk.get("/pipeline")
        assert state["jobs"]["dead"] == 0
        if state["jobs"]["done"] == expected:
            break
        await asyncio.sleep(0.5)
    assert state["accepted"] == state["jobs"]["done"] == expected
    sessions = (await walk.get("/sessions?limit=200"))["items"]
    assert {(one["turn_count"], one["last_extracted_turn"]) for one in sessions} == {(2, 2)}
    found = await walk.get("/agents/assistant/memories?limit=200&category=declarative")
    learned = Counter(memory["content"] for memory in found["items"])
    assert {fact(name) for name in (*NAMES, LATER)} <= set(learned)
    assert set(learned.values()) == {1}
