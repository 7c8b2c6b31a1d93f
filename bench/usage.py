"""What the processes of the stack cost: seconds of CPU and memory."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from bench.stack import family

_LOOK: Final = 0.3  # seconds
_QUIET: Final = 0.25  # of one core, all processes together


@dataclass(frozen=True)
class Usage:
    cpu: float  # seconds since it started, of it and its children
    memory: float  # MiB: proportional set size of both, so that what is shared counts once


def usages(pids: Mapping[str, int]) -> dict[str, Usage]:
    return {name: _usage(family(pid)) for name, pid in pids.items()}


def spent(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Seconds of CPU by process. Of a child that ended in between only what its parent knows."""
    return {
        name: round(usage.cpu - before[name].cpu, 3)
        for name, usage in after.items()
        if name in before
    }


async def quiet(pids: Mapping[str, int], limit: float) -> None:
    """Wait until the processes do next to nothing, `limit` seconds at most."""
    deadline = time.monotonic() + limit
    began, before = time.monotonic(), _cpu(pids)
    while began < deadline:
        await asyncio.sleep(_LOOK)
        now, after = time.monotonic(), _cpu(pids)
        if after - before < _QUIET * (now - began):
            return
        began, before = now, after


def _cpu(pids: Mapping[str, int]) -> float:
    spent = 0.0
    for pid in pids.values():
        for process in family(pid):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent += times.user + times.system
    return spent


def _usage(processes: list[psutil.Process]) -> Usage:
    cpu = memory = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += _memory(process) / 2**20
    return Usage(cpu, memory)


def _memory(process: psutil.Process) -> float:
    try:
        full = process.memory_full_info()
        return float(full.pss) if hasattr(full, "pss") else float(full.uss)
    except psutil.AccessDenied:
        return float(process.memory_info().rss)
