"""Finds and stops what a supervisor that was killed may have left behind.

Two signs, either is enough: the pid and creation time in its state file, and the mark that every
process it starts carries in its environment (which children of those inherit).
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from ibex.embedded.state import StackState

MARK = "IBEX_STACK"  # the home of the stack
MARK_NAME = "IBEX_PROCESS"  # the name of the process in it
_LOOK = 0.05  # seconds


def marks(home: Path, name: str) -> dict[str, str]:
    return {MARK: str(home), MARK_NAME: name}


def marked(home: Path, name: str | None = None) -> list[psutil.Process]:
    """Running processes that carry the mark, but not this one or those it runs under."""
    this = psutil.Process(os.getpid())
    spared = {this.pid, *(process.pid for process in this.parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            environment = process.environ()
            zombie = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            continue
        if zombie or environment.get(MARK) != str(home):
            continue
        if name is None or environment.get(MARK_NAME) == name:
            found.append(process)
    return found


def leftovers(home: Path, state: StackState | None) -> tuple[dict[psutil.Process, int], float]:
    """Each process that is still there with the signal that stops it, and the seconds it may take.

    The time is that of the slowest of them by the state file, and a few seconds for the others.
    """
    found = dict.fromkeys(marked(home), int(signal.SIGTERM))
    patience = 2.0
    for record in state.processes if state else ():
        process = record.process.running() if record.process else None
        if process is not None:
            found[process] = record.stop_signal
            patience = max(patience, record.stop_timeout)
    return found, patience


async def stop(processes: dict[psutil.Process, int], *, patience: float) -> None:
    """Ask each to stop, wait `patience` seconds for all, then kill what is left."""
    for process, number in processes.items():
        _signal(process, number)
    left = await _wait(processes, patience)
    for process in left:
        _signal(process, signal.SIGKILL)
    await _wait(left, 5.0)


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        _signal(process, signal.SIGKILL)


async def _wait(processes: Iterable[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those that still run after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        processes = [process for process in processes if runs(process)]
        if not processes or time.monotonic() > end:
            return processes
        await asyncio.sleep(_LOOK)


def runs(process: psutil.Process) -> bool:
    """A zombie does not: it waits only for its parent to ask."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)  # psutil refuses when the pid is another process's by now
    except psutil.NoSuchProcess:
        return
