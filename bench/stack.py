"""A stack for one benchmark: the processes that a request meets, on free ports, with empty data.

`python -m bench.stack NAME …` is its supervisor; the processes that are named are left out.
"""

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
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

_SUPERVISOR: Final = (sys.executable, "-m", "bench.stack")
#: Everything else is started, so that a process which the hot path comes to need is in it.
BESIDE_THE_HOT_PATH: Final = (
    *("dagster-code", "dagster-daemon", "dagster-webserver", "dashboard", "api", "sandbox"),
)


def build(settings: Settings, *, without: Sequence[str]) -> list[ProcessSpec]:
    return [spec for spec in processes(settings) if spec.name not in without]


@asynccontextmanager
async def running_stack(
    upstream: str | None,
    console: Console,
    *,
    without: Sequence[str] = (),
    leaving_out: Sequence[str] = BESIDE_THE_HOT_PATH,
) -> AsyncIterator[Settings]:
    """The stack under `$IBEX_HOME/bench`, with the model's server at `upstream` (None: the sandbox)
    and the processes of `leaving_out` and `without` left out; stopped on the way out, whichever way
    that is. Settings from the environment hold (IBEX_PROXY_WORKERS, …), but for addresses. Raises
    ConfigurationError, EmbeddedServerError."""
    without = (*leaving_out, *without)
    home = private_folder(_own_home())
    with _alone(home):
        _set_environment(home, upstream)
        settings = load_settings()
        if read_state(home) is not None:
            await down(settings, console)  # of a benchmark that was killed
        shutil.rmtree(home / "data", ignore_errors=True)
        try:
            yield await up(
                settings,
                console,
                build=partial(build, without=without),
                supervisor=(*_SUPERVISOR, *without),
            )
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


def _set_environment(home: Path, upstream: str | None) -> None:
    """For this process, and with it for the supervisor and its processes."""
    names = [name for name in Settings.model_fields if name.endswith("_port")]
    for name, port in zip(names, free_ports(len(names)), strict=True):
        os.environ[f"IBEX_{name.upper()}"] = str(port)
    os.environ["IBEX_HOME"] = str(home)
    for name in ("IBEX_PROVIDER_BASE_URL", "IBEX_PROVIDER_API_KEY", "OPENAI_API_KEY"):
        os.environ.pop(name, None)
    if upstream is not None:
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


def family(pid: int) -> list[psutil.Process]:
    """The process and all that it started; empty when it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    main(partial(build, without=sys.argv[1:]))
