"""One phase: one load on one target for a few seconds, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from bench.figures import percentiles
from bench.generator import generate
from bench.hotpath.load import Plan
from bench.usage import spent, usages

Loop = Literal["open", "closed"]
Kind = Literal["plain", "stream", "mixed"]
_GENERATOR: Final = "bench.hotpath.load"


@dataclass(frozen=True)
class Target:
    """Where requests go."""

    name: str
    url: str  # ends in /v1
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    memory: bool = False  # its questions must all be different


@dataclass(frozen=True)
class Phase:
    target: str
    loop: Loop
    kind: Kind
    round: int
    requests: int
    rps: float
    errors: dict[str, int]
    fallbacks: dict[str, int]
    empty: int  # answers without a memory
    total_ms: dict[str, float]  # p50, p95, p99, from the moment a request was due
    ttfb_ms: dict[str, float]  # to the first byte of the body
    context_ms: dict[str, float]  # the proxy's wait for the context, as Server-Timing says
    cpu_s: dict[str, float]  # by process
    memory_mib: dict[str, float]  # by process, at the end
    began: datetime
    ended: datetime
    degraded: dict[str, int] = field(default_factory=dict)  # by what was late, from the traces


async def run_phase(
    target: Target,
    loop: Loop,
    kind: Kind,
    *,
    number: int,
    plan: Plan,
    pids: Mapping[str, int],
) -> Phase:
    """`number` of the round. Raises EmbeddedServerError when the generator fails."""
    before, began = usages(pids), datetime.now(UTC)
    outcome = await generate(_GENERATOR, plan, plan.seconds)
    after, ended = usages(pids), datetime.now(UTC)
    return Phase(
        target=target.name,
        loop=loop,
        kind=kind,
        round=number,
        requests=outcome["sent"],
        rps=round(len(outcome["total"]) / outcome["seconds"], 1),
        errors=outcome["errors"],
        fallbacks=outcome["fallbacks"],
        empty=outcome["empty"],
        total_ms=percentiles(outcome["total"]),
        ttfb_ms=percentiles(outcome["ttfb"]),
        context_ms=percentiles(outcome["context"]),
        cpu_s=spent(before, after),
        memory_mib={name: round(usage.memory, 1) for name, usage in after.items()},
        began=began,
        ended=ended,
    )
