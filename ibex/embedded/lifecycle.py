"""What `ibex up`, `down`, `status` and `logs` do."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from dotenv import dotenv_values
from rich.console import Console
from rich.text import Text

from ibex.embedded import leftovers
from ibex.embedded.child import PROJECT
from ibex.embedded.log_files import last_lines, log_file, log_names, new_lines, open_log
from ibex.embedded.ports import check_ports
from ibex.embedded.progress import Progress
from ibex.embedded.secrets_file import ensure_secrets
from ibex.embedded.stack import processes
from ibex.embedded.state import (
    StackState,
    read_state,
    remove_state,
    state_file,
)
from ibex.embedded.status import ProcessStatus, look, render_status
from ibex.embedded.supervisor import Build
from ibex.errors import EmbeddedServerError
from ibex.settings import SECRETS_FILE, Settings

__all__ = ["ProcessStatus", "down", "follow_logs", "render_status", "status", "up"]

SUPERVISOR = (sys.executable, "-m", "ibex.embedded.supervisor")
_LOOK = 0.1  # seconds between two looks at the state file
_SLACK = 10.0  # seconds for the supervisor on top of its slowest process
_TAIL = 15  # lines of a log shown when a process fails


async def up(
    settings: Settings,
    console: Console,
    *,
    build: Build = processes,
    supervisor: tuple[str, ...] = SUPERVISOR,
) -> Settings:
    """Start the stack, or join one that is starting, and wait until all of it is ready.

    Returns settings with the secrets of the embedded servers. Raises EmbeddedServerError when a
    port is taken (then nothing was started) or a process does not start (the rest stays up).
    """
    settings = ensure_secrets(settings)
    specs = build(settings)
    state = read_state(settings.home)
    if state is not None and state.supervisor.running():
        console.print(f"The stack in {settings.home} is up already.")
        pid = None
    else:
        await _clean_up(settings.home, state, console)
        check_ports(settings, specs)
        pid = _start(settings.home, supervisor)
    await _wait(settings.home, pid, console)
    return settings


def _start(home: Path, command: tuple[str, ...]) -> int:
    """The supervisor's pid; it is detached and outlives this terminal.

    Its processes run in the project's folder; what `.env` says here goes along as environment.
    """
    here = {
        name: value
        for name, value in dotenv_values(".env").items()
        if value is not None and (name.startswith("IBEX_") or name == "OPENAI_API_KEY")
    }
    with open_log(home, "supervisor") as log:
        return os.posix_spawn(
            command[0],
            command,
            {**here, **os.environ, "IBEX_HOME": str(home)},
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ),
            setsid=True,
        )


def _has_ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


async def _wait(home: Path, supervisor: int | None, console: Console) -> None:
    with Progress(console) as progress:
        while True:
            state = read_state(home)
            if supervisor is not None and _has_ended(supervisor):
                raise _failure(home, "supervisor", "The supervisor", console)
            if state is not None and state.supervisor.running():
                progress.show(state.processes)
                failed = [record for record in state.processes if record.state == "failed"]
                if failed:
                    break
                if all(record.state == "ready" for record in state.processes):
                    return
            elif supervisor is None:
                raise EmbeddedServerError("The stack went down.", hint="Run 'ibex up' again.")
            await asyncio.sleep(_LOOK)
    raise _failure(home, failed[0].name, failed[0].title, console, failed[0].error)


def _failure(
    home: Path, name: str, title: str, console: Console, error: str | None = None
) -> EmbeddedServerError:
    lines = last_lines(home, name, _TAIL)
    if lines:
        heading = f"\nThe last lines of {log_file(home, name)}:"
        console.print(Text(heading, style="bold"), soft_wrap=True)
    for line in lines:
        console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
    return EmbeddedServerError(
        f"{title} did not start. {error or ''}".rstrip(),
        hint=f"See more with 'ibex logs {name}'; stop the rest with 'ibex down'.",
    )


async def down(settings: Settings, console: Console, *, purge: bool = False) -> None:
    """Stop every process. `purge` deletes the home folder afterwards: data, logs, secrets.

    Raises EmbeddedServerError when something cannot be stopped, or the folder is not a home.
    """
    home = settings.home
    state = read_state(home)
    supervisor = state.supervisor.running() if state else None
    if state is not None and supervisor is not None:
        longest = max((record.stop_timeout for record in state.processes), default=0.0)
        with console.status("Stopping …"):
            await leftovers.stop({supervisor: 15}, patience=2 * longest + _SLACK)
        console.print("The stack is down.")
        state = read_state(home)  # gone, unless the supervisor had to be killed
    elif state is None:
        console.print("Nothing was running.")
    await _clean_up(home, state, console)
    if purge:
        _purge(home)
        console.print(f"Deleted {home}.")


async def _clean_up(home: Path, state: StackState | None, console: Console) -> None:
    """After a supervisor that was killed: stop what it left, forget what it wrote."""
    left, patience = await asyncio.to_thread(leftovers.leftovers, home, state)
    if left:
        console.print(f"Stopping {_count(left)} that a killed supervisor left behind.")
        await leftovers.stop(left, patience=patience)
    elif state is not None:
        console.print("Cleaning up after a supervisor that was killed.")
    remove_state(home)


def _count(things: Iterable[object]) -> str:
    number = len(list(things))
    return "a process" if number == 1 else f"{number} processes"


def _purge(home: Path) -> None:
    if not home.exists():
        return
    ours = (home / SECRETS_FILE).exists() or state_file(home).parent.exists()
    holds_more = any(place.is_relative_to(home) for place in (Path.cwd(), Path.home(), PROJECT))
    if not ours or holds_more:
        raise EmbeddedServerError(
            f"{home} is not a folder that 'ibex up' made, so it is not deleted.",
            hint="Check IBEX_HOME.",
        )
    shutil.rmtree(home)


async def status(settings: Settings, *, build: Build = processes) -> list[ProcessStatus]:
    """Every process of the stack; empty when it is down."""
    state = read_state(settings.home)
    if state is None:
        return []
    return await look(state, {spec.name: spec for spec in build(settings)})


def follow_logs(settings: Settings, name: str | None, *, follow: bool, lines: int) -> None:
    """Print the last lines of one log or of all, and with `follow` every new one until Ctrl-C.

    Raises EmbeddedServerError when there is no such log.
    """
    names = log_names(settings.home)
    if name is not None and name not in names:
        known = ", ".join(names) or "none yet"
        raise EmbeddedServerError(f"There is no log '{name}'.", hint=f"There are: {known}.")
    chosen = [name] if name is not None else names
    width = max((len(each) for each in chosen), default=0)

    def show(each: str, line: str) -> None:
        print(line if name is not None else f"{each:<{width}} | {line}", flush=True)

    for each in chosen:
        for line in last_lines(settings.home, each, lines):
            show(each, line)
    if follow:
        for each, line in new_lines(settings.home, chosen):
            show(each, line)
