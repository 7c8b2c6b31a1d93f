"""A supervisor of its own process, over small real processes, driven as `ibex` drives it."""

import asyncio
import io
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from ibex.embedded import leftovers, lifecycle
from ibex.embedded.log_files import last_lines
from ibex.embedded.state import Identity, StackState, read_state, state_file, write_state
from ibex.errors import EmbeddedServerError
from ibex.settings import Settings
from tests.conftest import free_port
from tests.integration.small_stack import build

SUPERVISOR = (sys.executable, "-m", "tests.integration.small_stack")


class Stack:
    """`ibex up`, `down` and `status` over the small stack, and what they said."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, redis_port=free_port(), api_port=free_port())
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=200)

    async def up(self) -> Settings:
        return await lifecycle.up(self.settings, self.console, build=build, supervisor=SUPERVISOR)

    async def down(self, *, purge: bool = False) -> None:
        await lifecycle.down(self.settings, self.console, purge=purge)

    async def status(self) -> dict[str, lifecycle.ProcessStatus]:
        found = await lifecycle.status(self.settings, build=build)
        return {process.name: process for process in found}

    @property
    def state(self) -> StackState:
        state = read_state(self.settings.home)
        assert state is not None
        return state

    def pid(self, name: str) -> int:
        (record,) = [record for record in self.state.processes if record.name == name]
        assert record.process is not None
        return record.process.pid

    def processes(self) -> list[psutil.Process]:
        """Everything it runs, grandchildren included."""
        return leftovers.marked(self.settings.home)


@pytest.fixture
async def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path / "home")
    monkeypatch.setenv("IBEX_REDIS_PORT", str(stack.settings.redis_port))
    monkeypatch.setenv("IBEX_API_PORT", str(stack.settings.api_port))
    yield stack
    await stack.down()
    assert stack.processes() == []


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it did not happen within 20 s")


async def test_up_starts_in_order_and_is_harmless_twice(stack: Stack) -> None:
    await stack.up()
    status = await stack.status()
    assert {name: (one.state, one.ready) for name, one in status.items()} == {
        "base": ("ready", True),
        "step": ("ready", True),
        "top": ("ready", True),
    }
    assert re.findall(r"✓ (\w+)", stack.output.getvalue()) == ["Base", "Step", "Top"]
    before = {name: one.pid for name, one in status.items()}
    await stack.up()
    assert "is up already" in stack.output.getvalue()
    assert {name: one.pid for name, one in (await stack.status()).items()} == before
    assert last_lines(stack.settings.home, "step", 1) == ["a step"]


async def test_down_leaves_no_process_and_no_state(stack: Stack) -> None:
    await stack.up()
    running = stack.processes()
    assert len(running) == 3  # base, its child, top
    supervisor = psutil.Process(stack.state.supervisor.pid)
    await stack.down()
    assert not any(leftovers.runs(process) for process in (*running, supervisor))
    assert not state_file(stack.settings.home).exists()
    assert await stack.status() == {}


async def test_a_crashed_process_comes_back(stack: Stack) -> None:
    await stack.up()
    (grandchild,) = [process for process in stack.processes() if process.name() == "sleep"]
    crashed = stack.pid("base")
    os.kill(crashed, signal.SIGKILL)

    def is_back() -> bool:
        record = stack.state.processes[0]
        return record.state == "ready" and record.restarts == 1

    await eventually(is_back)
    assert stack.pid("base") != crashed
    assert stack.state.processes[0].exit_code == -signal.SIGKILL
    assert not leftovers.runs(grandchild)
    assert (await stack.status())["base"].ready


async def test_a_killed_supervisor_leaves_no_orphan(stack: Stack) -> None:
    await stack.up()
    base, top = psutil.Process(stack.pid("base")), psutil.Process(stack.pid("top"))
    os.kill(stack.state.supervisor.pid, signal.SIGKILL)
    await eventually(lambda: not leftovers.runs(base))  # the kernel told it
    assert leftovers.runs(top)  # which does not listen
    states = {name: one.state for name, one in (await stack.status()).items()}
    assert states == {"base": "stopped", "step": "stopped", "top": "orphaned"}
    await stack.down()
    assert not leftovers.runs(top)
    assert "a killed supervisor left behind" in stack.output.getvalue()
    assert not state_file(stack.settings.home).exists()


async def test_up_cleans_up_after_a_killed_supervisor(stack: Stack) -> None:
    await stack.up()
    old = stack.pid("top")
    os.kill(stack.state.supervisor.pid, signal.SIGKILL)
    await eventually(lambda: stack.state.supervisor.running() is None)
    await stack.up()
    assert "a killed supervisor left behind" in stack.output.getvalue()
    assert all(one.ready for one in (await stack.status()).values())
    assert stack.pid("top") != old


async def test_a_failing_step_shows_its_log_and_stops_what_follows(stack: Stack) -> None:
    stack.settings.home.mkdir()
    (stack.settings.home / "broken").touch()
    with pytest.raises(EmbeddedServerError, match="Step did not start") as failed:
        await stack.up()
    assert "ibex logs step" in failed.value.advice
    assert "a step" in stack.output.getvalue()
    status = await stack.status()
    assert (status["step"].state, status["step"].exit_code) == ("failed", 2)
    assert status["top"].state == "waiting"


async def test_a_taken_port_is_named_before_anything_starts(stack: Stack) -> None:
    with (
        socket.create_server(("127.0.0.1", stack.settings.api_port)),
        pytest.raises(EmbeddedServerError) as failed,
    ):
        await stack.up()
    assert f"Port {stack.settings.api_port} for Top" in failed.value.message
    assert f"(pid {os.getpid()})" in failed.value.message
    assert "IBEX_API_PORT" in failed.value.message
    assert stack.processes() == []


async def test_a_pid_that_is_a_strangers_now_is_left_alone(stack: Stack) -> None:
    state = state_file(stack.settings.home)
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    write_state(stack.settings.home, StackState(Identity(stranger.pid, 1.0), "", ()))
    await stack.down()
    assert stranger.returncode is None
    assert not state.exists()
    stranger.kill()
    await stranger.wait()


async def test_purge_deletes_the_home_and_nothing_else(stack: Stack, tmp_path: Path) -> None:
    await stack.up()
    await stack.down(purge=True)
    assert not stack.settings.home.exists()
    other = tmp_path / "documents"
    other.mkdir()
    with pytest.raises(EmbeddedServerError, match="not deleted"):
        await lifecycle.down(Settings(home=other), stack.console, purge=True)
    assert other.exists()
