"""Every way, agent and load in turns, in rounds, so that a busy minute of the machine meets all of
them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, get_args

from rich.console import Console

from bench.figures import shown
from bench.recall.load import Plan
from bench.recall.phases import CONVERSATION, Cell, Kind, Phase, run_phase
from bench.seed import SeededAgent

INDEX: Final = "index"
SQL: Final = "sql"
CLIENTS: Final = (1, 10, 50)
_COMPARED: Final = 10_000
_PAUSE: Final = 0.3  # seconds between two phases


@dataclass(frozen=True)
class Way:
    """An assembler, and the processes that work for it."""

    target: str  # host:port
    pids: Mapping[str, int]


@dataclass(frozen=True)
class Course:
    rounds: int
    seconds: float  # of a phase
    warm_up: float  # seconds, once for each way and agent


def compared(counts: Sequence[int]) -> int:
    """The memories of the agent that SQL is compared for and that the target is about: 10,000, or
    the most when there is no such agent."""
    return _COMPARED if _COMPARED in counts else max(counts)


def cells(counts: Sequence[int]) -> list[Cell]:
    """In the order of a round. SQL answers what the index answers, right after it."""
    order = []
    for memories, clients, kind in product(counts, CLIENTS, get_args(Kind)):
        order.append(Cell(INDEX, memories, clients, kind))
        if memories == compared(counts) and kind == "first":
            order.append(Cell(SQL, memories, clients, kind))
    return order


class Runner:
    def __init__(
        self,
        ways: Mapping[str, Way],
        agents: Sequence[SeededAgent],
        late_ms: float,
        console: Console,
    ) -> None:
        self._ways = ways
        self._agents = {agent.memories: agent for agent in agents}
        self._late_ms = late_ms
        self._console = console
        self._asked = 0  # questions so far, so that each is a different one

    async def run(self, course: Course) -> list[Phase]:
        order = cells(list(self._agents))
        for way, memories in dict.fromkeys((cell.way, cell.memories) for cell in order):
            await self._phase(Cell(way, memories, 10, "later"), -1, course.warm_up)
        phases = []
        for number in range(course.rounds):
            for cell in order:
                phase = await self._phase(cell, number, course.seconds)
                phases.append(phase)
                self._show(phase)
                await asyncio.sleep(_PAUSE)
        return phases

    async def _phase(self, cell: Cell, number: int, seconds: float) -> Phase:
        agent, way = self._agents[cell.memories], self._ways[cell.way]
        plan = Plan(
            target=way.target,
            org_id=str(agent.org_id),
            agent_id=str(agent.id),
            turns=1 if cell.kind == "first" else CONVERSATION,
            clients=cell.clients,
            seconds=seconds,
            first_question=self._asked,
            late_ms=self._late_ms,
        )
        phase = await run_phase(cell, number, plan, way.pids)
        self._asked += phase.requests
        return phase

    def _show(self, phase: Phase) -> None:
        cell = phase.cell
        troubles = {**phase.errors, **{f"without {k}": v for k, v in phase.degraded.items()}}
        if phase.late:
            troubles["late"] = phase.late
        self._console.print(
            f"round {phase.round + 1}  {cell.way:5} {cell.memories:8,}  {cell.clients:2} at once"
            f"  {cell.kind:5}  {phase.rps:7.0f}/s  {shown(phase.client_ms)} ms  "
            + ", ".join(f"{name} {count}" for name, count in troubles.items()),
            highlight=False,
        )
