"""A stack for one benchmark: the processes that a request meets, on free ports, with empty data.

`python -m bench.hotpath.stack` is its supervisor.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console

from ibex.embedded.lifecycle import down, up
from ibex.embedded.process import ProcessSpec, private_folder
from ibex.embedded.stack import processes
from ibex.embedded.state import read_state
from ibex.embedded.supervisor import main
from ibex.errors import ConfigurationError, EmbeddedServerError
from ibex.settings import Settings, load_settings

_SUPERVISOR: Final = (sys.executable, "-m", "bench.hotpath.stack")
# Everything else is started, so that a process which the hot path comes to need is in it.
_LEFT_OUT: Final = (
    *("dagster-code", "dagster-daemon", "dagster-webserver", "dashboard", "api", "sandbox"),
)
_START_LIMIT: Final = 10.0  # seconds for the mock


def build(settings: Settings) -> list[ProcessSpec]:
    return [spec for spec in processes(settings) if spec.name not in _LEFT_OUT]


@asynccontextmanager
async def mock_upstream(port: int | None) -> AsyncIterator[str]:
    """Its base URL, ending in /v1; `port` None: any."""
    chosen = port or free_ports(1)[0]
    process = subprocess.Popen(  # noqa: ASYNC220 — starting takes no time
        (sys.executable, "-m", "bench.hotpath.mock", str(chosen))
    )
    try:
        _wait_until_open(process, chosen)
        yield f"http://127.0.0.1:{chosen}/v1"
    finally:
        process.terminate()
        process.wait(5)


@asynccontextmanager
async def running_stack(upstream: str, console: Console) -> AsyncIterator[Settings]:
    """The stack under `$IBEX_HOME/bench`, with the model's server at `upstream`; stopped on the
    way out, whichever way that is. Settings from the environment hold (IBEX_PROXY_WORKERS, …), but
    for addresses. Raises ConfigurationError, EmbeddedServerError."""
    home = private_folder(_own_home())
    with _alone(home):
        _set_environment(home, upstream)
        settings = load_settings()
        if read_state(home) is not None:
            await down(settings, console)  # of a benchmark that was killed
        shutil.rmtree(home / "data", ignore_errors=True)
        try:
            yield await up(settings, console, build=build, supervisor=_SUPERVISOR)
        finally:
            await down(settings, console)


def process_ids(home: Path) -> dict[str, int]:
    """Of every running process of the stack, by name."""
    state = read_state(home)
    records = state.processes if state else ()
    return {record.name: record.process.pid for record in records if record.process is not None}


def free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def _own_home() -> Path:
    """Raises ConfigurationError where the stack would use somebody's servers."""
    settings = load_settings()
    addresses = [name for name in Settings.model_fields if name.endswith(("_url", "_address"))]
    for name in addresses:
        if name != "provider_base_url" and getattr(settings, name) is not None:
            raise ConfigurationError(
                f"IBEX_{name.upper()} is set, and the benchmark starts its own servers.",
                hint="Run it without that setting, in the environment and in .env.",
            )
    return settings.home / "bench"


def _set_environment(home: Path, upstream: str) -> None:
    """For this process, and with it for the supervisor and its processes."""
    names = [name for name in Settings.model_fields if name.endswith("_port")]
    for name, port in zip(names, free_ports(len(names)), strict=True):
        os.environ[f"IBEX_{name.upper()}"] = str(port)
    os.environ["IBEX_HOME"] = str(home)
    os.environ["IBEX_PROVIDER_BASE_URL"] = upstream
    os.environ["IBEX_PROVIDER_API_KEY"] = "bench"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    with (home / "bench.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EmbeddedServerError(
                f"Another benchmark runs in {home}.", hint="Wait for it, or set IBEX_HOME."
            ) from None
        yield


def _wait_until_open(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"The mock upstream does not listen on port {port}.",
                hint="Is the port taken? Choose another one with --mock-port.",
            )
        time.sleep(0.05)


def family(pid: int) -> list[psutil.Process]:
    """The process and all that it started; empty when it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    main(build)
