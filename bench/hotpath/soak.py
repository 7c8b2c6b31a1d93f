"""Minutes of mixed requests with memories, and whether any process grows."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.console import Console

from bench.hotpath.comparison import CLIENTS, MODEL
from bench.hotpath.load import Plan
from bench.hotpath.phases import Phase, Target, run_phase
from bench.usage import usages

#: Caches with a bound fill up to it; data servers keep what they are told to. These do neither.
JUDGED: Final = ("proxy", "assembler", "embedder")
_EVERY: Final = 5.0  # seconds between two samples
_SETTLED: Final = 0.5  # the part of the time after which caches are taken to be full
_LIMIT: Final = 0.5  # MiB a minute
FILLING: Final = 120.0  # seconds
FILLING_RATE: Final = 100.0  # requests a second
_PIECE: Final = 30.0  # seconds of load by one generator


@dataclass(frozen=True)
class Sample:
    second: float
    memory: Mapping[str, float]  # MiB by process


@dataclass(frozen=True)
class Growth:
    first: float  # MiB
    last: float
    slope: float  # MiB a minute, over the second half
    flat: bool | None  # None: not judged


async def soak(
    target: Target, minutes: float, rate: float, pids: Mapping[str, int], console: Console
) -> tuple[list[Phase], list[Sample]]:
    """`rate` in requests a second of all clients. Before the minutes that count, the caches that
    are bounded by their entries are filled: 10,000 sessions, 8,192 vectors."""
    console.print(f"Filling caches, {FILLING:.0f} s at {FILLING_RATE:.0f} requests a second")
    filled = await _load(target, FILLING, FILLING_RATE, pids, console, asked=0)
    samples: list[Sample] = []
    watching = asyncio.create_task(_watch(time.monotonic(), pids, samples))
    asked = sum(phase.requests for phase in filled)
    try:
        phases = await _load(target, minutes * 60, rate, pids, console, asked=asked)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return phases, samples


async def _load(
    target: Target,
    seconds: float,
    rate: float,
    pids: Mapping[str, int],
    console: Console,
    *,
    asked: int,
) -> list[Phase]:
    """`asked`: so many of the questions have been asked before."""
    began = time.monotonic()
    phases: list[Phase] = []
    while (left := seconds - (time.monotonic() - began)) > 1:
        plan = Plan(
            url=target.url,
            headers=dict(target.headers),
            model=MODEL,
            stream=None,
            clients=CLIENTS,
            rate=rate / CLIENTS,
            seconds=min(_PIECE, left),
            first_question=asked,
            seed=asked,
        )
        phase = await run_phase(target, "open", "mixed", number=len(phases), plan=plan, pids=pids)
        asked += phase.requests
        phases.append(phase)
        grown = ", ".join(f"{name} {phase.memory_mib.get(name, 0):.0f}" for name in JUDGED)
        console.print(
            f"{time.monotonic() - began:5.0f} s  p99 {phase.total_ms.get('p99', 0):6.1f} ms"
            f"  MiB: {grown}  errors {sum(phase.errors.values())}"
            f"  without context {sum(phase.fallbacks.values())}",
            highlight=False,
        )
    return phases


async def _watch(began: float, pids: Mapping[str, int], samples: list[Sample]) -> None:
    while True:
        found = await asyncio.to_thread(usages, pids)
        memory = {name: round(usage.memory, 2) for name, usage in found.items()}
        samples.append(Sample(round(time.monotonic() - began, 1), memory))
        await asyncio.sleep(_EVERY)


def growth(samples: Sequence[Sample]) -> dict[str, Growth]:
    """By process, from the second half of the samples: the slope of the straight line nearest to
    them. A process is flat when it grows by less than 0.5 MiB a minute."""
    settled = [one for one in samples if one.second >= _SETTLED * samples[-1].second]
    times = np.asarray([one.second / 60 for one in settled])
    grown = {}
    for name in samples[0].memory:
        values = np.asarray([one.memory.get(name, 0.0) for one in settled])
        slope = float(np.polyfit(times, values, 1)[0]) if len(settled) > 2 else 0.0
        grown[name] = Growth(
            first=samples[0].memory[name],
            last=samples[-1].memory.get(name, 0.0),
            slope=round(slope, 3),
            flat=slope < _LIMIT if name in JUDGED else None,
        )
    return grown
