"""What the gateways add, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.figures import Times
from bench.hotpath.comparison import DIRECT, MEMORY_OFF, MEMORY_ON
from bench.hotpath.phases import Kind, Loop
from bench.hotpath.report import Line

_OURS: Final = (MEMORY_OFF, MEMORY_ON)


@dataclass(frozen=True)
class Summary:
    """Times in milliseconds at the open loop's rate; None: nothing was answered."""

    name: str
    added_ms: Times
    stream_added_ms: Times
    rps: float | None  # of the closed loop
    stream_rps: float | None
    cpu_ms: float  # a plain request at the open loop's rate, of all its processes
    memory_mib: float
    errors: int  # over all loads
    error_share_open: float  # of the requests at the open loop's rate, plain and streamed
    fallback_share_open: float  # of requests that went without a context, with memory on


def summaries(lines: Sequence[Line], processes: Mapping[str, Sequence[str]]) -> list[Summary]:
    """In the order of the targets. `processes` says whose CPU and memory counts, by target."""
    targets = [one for one in dict.fromkeys(line.target for line in lines) if one != DIRECT]
    return [_summary(one, lines, processes[one]) for one in targets]


def _summary(target: str, lines: Sequence[Line], processes: Sequence[str]) -> Summary:
    own = {(line.loop, line.kind): line for line in lines if line.target == target}

    def at(loop: Loop, kind: Kind) -> Line | None:
        return own.get((loop, kind))

    plain, stream = at("open", "plain"), at("open", "stream")
    closed, closed_stream = at("closed", "plain"), at("closed", "stream")
    opened = [line for line in (plain, stream) if line]
    sent = max(1, sum(line.requests for line in opened))
    memory = max((_sum(line.memory_mib, processes) for line in own.values()), default=0.0)
    return Summary(
        name=target,
        added_ms=plain.added_total_ms if plain else {},
        stream_added_ms=stream.added_total_ms if stream else {},
        rps=closed.rps if closed else None,
        stream_rps=closed_stream.rps if closed_stream else None,
        cpu_ms=round(_sum(plain.cpu_ms_per_request, processes), 2) if plain else 0.0,
        memory_mib=round(memory),
        errors=sum(sum(line.errors.values()) for line in own.values()),
        error_share_open=round(sum(sum(line.errors.values()) for line in opened) / sent, 4),
        fallback_share_open=round(sum(sum(line.fallbacks.values()) for line in opened) / sent, 4)
        if target == MEMORY_ON
        else 0.0,
    )


def _sum(values: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(values.get(name, 0.0) for name in names)


def slug(target: str) -> str:
    """`ibex, memory on` as ibex_memory_on."""
    return "_".join(target.replace(",", " ").replace("-", " ").split())


def figures(found: Sequence[Summary]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for one in found:
        name = slug(one.name)
        flat |= {
            f"{name}_added_p50_ms": _two(one.added_ms.get("p50")),
            f"{name}_added_p99_ms": _two(one.added_ms.get("p99")),
            f"{name}_stream_added_p50_ms": _two(one.stream_added_ms.get("p50")),
            f"{name}_stream_added_p99_ms": _two(one.stream_added_ms.get("p99")),
            f"{name}_rps_closed": one.rps,
            f"{name}_stream_rps_closed": one.stream_rps,
            f"{name}_cpu_ms_per_request": one.cpu_ms,
            f"{name}_mib": one.memory_mib,
            f"{name}_errors": one.errors,
            f"{name}_error_share_open": one.error_share_open,
        }
        if one.name == MEMORY_ON:
            flat[f"{name}_fallback_share_open"] = one.fallback_share_open
    return flat


def _two(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def show(found: Sequence[Summary], console: Console) -> None:
    table = Table(title="Gateways", title_justify="left", header_style="bold")
    table.add_column("")
    for name in (
        *("added ms", "stream: added ms", "requests/s", "stream: requests/s"),
        *("CPU ms a request", "MiB", "errors"),
    ):
        table.add_column(name, justify="right")
    for one in found:
        notes = f"{one.errors} ({one.error_share_open:.1%} at the fixed rate)"
        if one.fallback_share_open:
            notes += f"; {one.fallback_share_open:.1%} without memories"
        table.add_row(
            one.name,
            _pair(one.added_ms),
            _pair(one.stream_added_ms),
            "-" if one.rps is None else f"{one.rps:.0f}",
            "-" if one.stream_rps is None else f"{one.stream_rps:.0f}",
            f"{one.cpu_ms:.2f}",
            f"{one.memory_mib:.0f}",
            notes,
        )
    table.caption = (
        "added: p50 / p99 at the fixed rate, of what was answered; requests/s: closed loop at 50; "
        "IBEX's CPU and MiB: all its processes, PostgreSQL and the rest included"
    )
    console.print(table)


def _pair(times: Times) -> str:
    return f"{times['p50']:.1f} / {times['p99']:.1f}" if times else "-"


def owners(peers: Sequence[str], ours: Sequence[str]) -> dict[str, Sequence[str]]:
    """Whose processes are whose: `ours` are the stack's."""
    return {**dict.fromkeys(_OURS, ours), **{name: (name,) for name in peers}}
