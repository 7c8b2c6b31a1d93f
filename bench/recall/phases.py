"""One phase: one way to search, one agent, one load for a few seconds, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from bench.figures import Times, percentiles
from bench.generator import generate
from bench.recall.load import Plan
from bench.usage import spent, usages

Kind = Literal["first", "later"]
#: Requests of a session that goes on; the second to the last are the `later` ones.
CONVERSATION: Final = 5
_GENERATOR: Final = "bench.recall.load"


@dataclass(frozen=True)
class Cell:
    """What one line of the table is about."""

    way: str  # index | sql
    memories: int
    clients: int  # at once
    kind: Kind  # of the requests whose times are shown


@dataclass(frozen=True)
class Phase:
    cell: Cell
    round: int
    requests: int  # all that were sent
    answers: int  # of the kind
    rps: float  # of all
    errors: dict[str, int]
    refused: int  # of all, because more were asked for than come in time
    client_ms: Times  # of the answers of the kind, as everything below
    parts_ms: dict[str, Times]  # by part, as the assembler says
    degraded: dict[str, int]  # by part that did not arrive
    incomplete: int  # answers with at least one such part
    late: int  # answers that the proxy would not have waited for
    empty: int
    cpu_s: dict[str, float]  # by process, for all requests
    memory_mib: dict[str, float]  # by process, at the end


async def run_phase(cell: Cell, number: int, plan: Plan, pids: Mapping[str, int]) -> Phase:
    """`number` of the round. Raises EmbeddedServerError when the generator fails."""
    before = usages(pids)
    outcome = await generate(_GENERATOR, plan, plan.seconds)
    after = usages(pids)
    cpu = {**spent(before, after), "load": round(float(outcome["cpu"]), 3)}
    memory = {name: round(usage.memory, 1) for name, usage in after.items()}
    return phase_of(cell, number, outcome, cpu, memory)


def phase_of(
    cell: Cell,
    number: int,
    outcome: Mapping[str, Any],
    cpu: dict[str, float],
    memory: dict[str, float],
) -> Phase:
    """`outcome` as the generator writes it."""
    answers = outcome[cell.kind]
    arrived = len(outcome["first"]["total"]) + len(outcome["later"]["total"])
    return Phase(
        cell=cell,
        round=number,
        requests=outcome["sent"],
        answers=len(answers["total"]),
        rps=round(arrived / outcome["seconds"], 1),
        errors=outcome["errors"],
        refused=outcome["refused"],
        client_ms=percentiles(answers["total"]),
        parts_ms={part: percentiles(times) for part, times in answers["parts"].items() if times},
        degraded=answers["degraded"],
        incomplete=answers["incomplete"],
        late=answers["late"],
        empty=answers["empty"],
        cpu_s=cpu,
        memory_mib=memory,
    )
