"""From phases to figures: medians over rounds, what a target adds to the direct way, tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Times, less, medians, shown, total
from bench.hotpath.comparison import DIRECT, LOADS, MEMORY_OFF, MEMORY_ON
from bench.hotpath.phases import Kind, Loop, Phase

_OURS = (MEMORY_OFF, MEMORY_ON)
_MAIN = ("proxy", "assembler", "embedder", "postgres", "redis", "clickhouse")


@dataclass(frozen=True)
class Line:
    """One target under one load; every figure the median over the rounds."""

    target: str
    loop: Loop
    kind: Kind
    rps: float
    total_ms: Times
    ttfb_ms: Times
    added_total_ms: Times  # to the direct way in the same round
    added_ttfb_ms: Times
    context_ms: Times
    requests: int  # over all rounds, as the counts below
    errors: dict[str, int]
    fallbacks: dict[str, int]
    degraded: dict[str, int]
    empty: int
    cpu_ms_per_request: dict[str, float]  # by process
    memory_mib: dict[str, float]  # by process, the highest seen


def summarize(phases: Sequence[Phase]) -> list[Line]:
    """In the order of the loads, then of the targets."""
    targets = list(dict.fromkeys(phase.target for phase in phases))
    lines = []
    for loop, kind in LOADS:
        of_load = [one for one in phases if (one.loop, one.kind) == (loop, kind)]
        direct = {one.round: one for one in of_load if one.target == DIRECT}
        for target in targets:
            own = [one for one in of_load if one.target == target]
            if own:
                lines.append(_line(own, direct))
    return lines


def _line(own: Sequence[Phase], direct: Mapping[int, Phase]) -> Line:
    first = own[0]
    pairs = [(one, direct[one.round]) for one in own if one.round in direct]
    requests = sum(one.requests for one in own)
    processes = dict.fromkeys(name for one in own for name in one.cpu_s)
    return Line(
        target=first.target,
        loop=first.loop,
        kind=first.kind,
        rps=round(median(one.rps for one in own), 1),
        total_ms=medians(one.total_ms for one in own),
        ttfb_ms=medians(one.ttfb_ms for one in own),
        added_total_ms=medians(less(one.total_ms, base.total_ms) for one, base in pairs),
        added_ttfb_ms=medians(less(one.ttfb_ms, base.ttfb_ms) for one, base in pairs),
        context_ms=medians(one.context_ms for one in own),
        requests=requests,
        errors=total(one.errors for one in own),
        fallbacks=total(one.fallbacks for one in own),
        degraded=total(one.degraded for one in own),
        empty=sum(one.empty for one in own),
        cpu_ms_per_request={
            name: round(sum(one.cpu_s.get(name, 0.0) for one in own) * 1000 / max(1, requests), 3)
            for name in processes
        },
        memory_mib={name: max(one.memory_mib.get(name, 0.0) for one in own) for name in processes},
    )


def figures(lines: Sequence[Line]) -> dict[str, float | int | None]:
    """What is compared from one version to the next. None: no request was answered."""

    def found(
        target: str, loop: Loop, kind: Kind, get: Callable[[Line], Times], name: str
    ) -> float | None:
        return next(
            (
                get(line).get(name)
                for line in lines
                if (line.target, line.loop, line.kind) == (target, loop, kind)
            ),
            None,
        )

    def added(target: str, kind: Kind) -> float | None:
        return found(target, "open", kind, lambda line: line.added_total_ms, "p99")

    def rate(target: str) -> float | None:
        return found(target, "closed", "plain", lambda line: {"rps": line.rps}, "rps")

    ours = [line for line in lines if line.target in _OURS]
    remembering = [line for line in lines if line.target == MEMORY_ON]
    return {
        "added_p99_ms_memory_on": added(MEMORY_ON, "plain"),
        "added_p99_ms_memory_off": added(MEMORY_OFF, "plain"),
        "stream_added_p99_ms_memory_on": added(MEMORY_ON, "stream"),
        "stream_added_ttfb_p99_ms_memory_on": found(
            MEMORY_ON, "open", "stream", lambda line: line.added_ttfb_ms, "p99"
        ),
        # At 50 concurrent. The proxy stops waiting at its limit, so it means nothing without the
        # share of requests that went without memories.
        "assembly_p95_ms": found(MEMORY_ON, "closed", "plain", lambda line: line.context_ms, "p95"),
        "assembly_p95_ms_100rps": found(
            MEMORY_ON, "open", "plain", lambda line: line.context_ms, "p95"
        ),
        "rps_closed_memory_on": rate(MEMORY_ON),
        "rps_closed_memory_off": rate(MEMORY_OFF),
        "fallback_share_open": _share(remembering, "open", lambda line: line.fallbacks),
        "fallback_share_closed": _share(remembering, "closed", lambda line: line.fallbacks),
        "late_search_share_open": _share(remembering, "open", _late_searches),
        "late_search_share_closed": _share(remembering, "closed", _late_searches),
        "errors": sum(sum(line.errors.values()) for line in ours),
    }


def _late_searches(line: Line) -> Mapping[str, int]:
    return {"cold": line.degraded.get("cold", 0)}


def _share(lines: Sequence[Line], loop: Loop, counts: Callable[[Line], Mapping[str, int]]) -> float:
    own = [line for line in lines if line.loop == loop]
    requests = sum(line.requests for line in own)
    return round(sum(sum(counts(line).values()) for line in own) / max(1, requests), 4)


def show(lines: Sequence[Line], console: Console) -> None:
    for loop, kind in LOADS:
        own = [line for line in lines if (line.loop, line.kind) == (loop, kind)]
        if own:
            console.print(_latency(own, f"{loop} loop, {kind}"))
    console.print(_cost([line for line in lines if line.target in _OURS]))


def _latency(lines: Sequence[Line], title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("")
    for name in ("requests/s", "total ms", "added", "first byte ms", "added", "context ms"):
        table.add_column(name, justify="right")
    table.add_column("errors, fallbacks, late parts")
    for line in lines:
        table.add_row(
            line.target,
            f"{line.rps:.0f}",
            shown(line.total_ms),
            "" if line.target == DIRECT else shown(line.added_total_ms),
            shown(line.ttfb_ms),
            "" if line.target == DIRECT else shown(line.added_ttfb_ms),
            shown(line.context_ms),
            _troubles(line),
        )
    table.caption = "each p50 / p95 / p99, medians over the rounds"
    return table


def _troubles(line: Line) -> str:
    parts = [f"{name} {count}" for name, count in line.errors.items()]
    if line.target == MEMORY_ON:
        share = 100 / max(1, line.requests)
        parts += [f"{name} {count * share:.1f} %" for name, count in line.fallbacks.items()]
        parts += [f"late {name} {count * share:.1f} %" for name, count in line.degraded.items()]
    return ", ".join(parts) or "none"


def _cost(lines: Sequence[Line]) -> Table:
    table = Table(title="CPU ms a request · MiB", title_justify="left", header_style="bold")
    table.add_column("")
    known = [name for name in _MAIN if any(name in line.cpu_ms_per_request for line in lines)]
    for name in known:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            f"{line.target}, {line.loop} {line.kind}",
            *(
                f"{line.cpu_ms_per_request.get(name, 0):.2f} · {line.memory_mib.get(name, 0):.0f}"
                for name in known
            ),
        )
    return table


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [asdict(line) for line in lines]
