"""Tables and figures of `bench/pipeline`."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.figures import shown
from bench.pipeline.burst import Burst
from bench.pipeline.requests import Answered
from ibex.smoke import SmokeResult


@dataclass(frozen=True)
class Round:
    calm: Answered
    burst: Burst
    meanwhile: Answered
    calm_cpu_s: dict[str, float]  # by process
    burst_cpu_s: dict[str, float]

    def ratio(self, percentile: str) -> float:
        return self.meanwhile.total_ms[percentile] / self.calm.total_ms[percentile]


@dataclass(frozen=True)
class Archives:
    """Seconds from the end of each session to its archive."""

    alone: list[float]
    together: list[float]


def figures(single: list[SmokeResult], rounds: list[Round], archives: Archives) -> dict[str, Any]:
    """Flat: medians over the sessions and over the rounds, sums of what went wrong."""
    seconds = [one.session_to_memory_s for one in single]
    return {
        "ten_turn_seconds": round(median(seconds), 2),
        "ten_turn_seconds_max": max(seconds),
        **{
            f"ten_turn_{name}": round(median(one.parts.get(name, 0.0) for one in single), 2)
            for name in ("until_sensor_s", "run_launch_s")
        },
        f"burst{rounds[0].burst.sessions}_seconds": median(one.burst.all_s for one in rounds),
        "burst_archived_seconds": median(one.burst.archived_s for one in rounds),
        "archive_seconds": round(median(archives.alone), 2),
        "burst_archive_p95_seconds": round(float(np.percentile(archives.together, 95)), 2),
        "burst_tries": sum(one.burst.tries for one in rounds),
        "hotpath_p99_ratio_during_burst": round(median(one.ratio("p99") for one in rounds), 2),
        "hotpath_p50_ratio_during_burst": round(median(one.ratio("p50") for one in rounds), 2),
        "hotpath_p99_ms_calm": median(one.calm.total_ms["p99"] for one in rounds),
        "hotpath_p99_ms_during_burst": median(one.meanwhile.total_ms["p99"] for one in rounds),
        "requests": sum(one.calm.requests + one.meanwhile.requests for one in rounds),
        "without_memories_calm": sum(one.calm.without_memories for one in rounds),
        "without_memories_during_burst": sum(one.meanwhile.without_memories for one in rounds),
        "errors": sum(one.calm.errors + one.meanwhile.errors for one in rounds),
    }


def show(single: list[SmokeResult], rounds: list[Round], console: Console) -> None:
    parts = Table(header_style="bold", title="A session of ten turns, seconds")
    names = list(dict.fromkeys(name for one in single for name in one.parts))
    for name in ("all", *names):
        parts.add_column(name.removesuffix("_s").replace("_", " "), justify="right")
    for one in single:
        values = (one.session_to_memory_s, *(one.parts.get(name) for name in names))
        parts.add_row(*("-" if value is None else f"{value:.2f}" for value in values))
    console.print(parts)
    table = Table(header_style="bold", title="Sessions that end at once")
    for name in ("sessions", "first s", "all s", "archived s", "memories", "tries"):
        table.add_column(name, justify="right")
    for name in ("calm p50 / p95 / p99 ms", "meanwhile", "p99 ratio", "without memories"):
        table.add_column(name, justify="right")
    for each in rounds:
        burst = each.burst
        table.add_row(
            *(f"{burst.sessions}", f"{burst.first_s:.1f}", f"{burst.all_s:.1f}"),
            *(f"{burst.archived_s:.1f}", f"{burst.memories:,}", f"{burst.tries}"),
            shown(each.calm.total_ms),
            shown(each.meanwhile.total_ms),
            f"{each.ratio('p99'):.2f}",
            f"{each.meanwhile.without_memories} of {each.meanwhile.requests:,}",
        )
    console.print(table)
