"""What the processes of the stack cost: seconds of CPU and memory."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bench.hotpath.stack import family


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
