"""The benchmark itself: every target under every load, in rounds, so that a busy minute of the
machine meets all of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from bench.hotpath.load import Plan
from bench.hotpath.phases import Kind, Loop, Phase, Target, run_phase
from bench.hotpath.traces import with_degraded
from bench.stack import process_ids
from bench.usage import quiet
from ibex.settings import Settings

DIRECT: Final = "direct"
MEMORY_OFF: Final = "ibex, memory off"
MEMORY_ON: Final = "ibex, memory on"
LOADS: Final[tuple[tuple[Loop, Kind], ...]] = (
    ("open", "plain"),
    ("open", "stream"),
    ("closed", "plain"),
    ("closed", "stream"),
)
CLIENTS: Final = 50
RATE: Final = 2.0  # requests a second of each client
MODEL: Final = "gpt-4o-mini"
_WARM_UP: Final = 2.0  # seconds
_PAUSE: Final = 0.7  # seconds between two phases, in which traces are written
_QUIET_LIMIT: Final = 30.0  # seconds for what a phase left behind
_TRACES_SETTLE: Final = 2.0  # seconds until the last traces are written


@dataclass(frozen=True)
class Course:
    rounds: int
    seconds: float  # of a phase of the open loop
    closed_seconds: float


def course(rounds: int | None, seconds: float | None, *, quick: bool) -> Course:
    """None: as long as usual."""
    length = seconds or (3.0 if quick else 8.0)
    return Course(rounds or (1 if quick else 3), length, length / 2)


def ibex_targets(url: str, token: str) -> list[Target]:
    """Without and with memories."""
    authorization = {"authorization": f"Bearer {token}"}
    return [
        Target(MEMORY_OFF, url, {**authorization, "x-ibex-memory": "off"}),
        Target(MEMORY_ON, url, authorization, memory=True),
    ]


async def compare(
    settings: Settings,
    upstream: str,
    token: str,
    course: Course,
    console: Console,
    *,
    peers: Sequence[Target] = (),
    peer_pids: Mapping[str, int] | None = None,
) -> list[Phase]:
    """The mock directly, IBEX without and with memory, and the peers, in turns."""
    ours = ibex_targets(f"{settings.proxy_endpoint}/v1", token)
    targets = [Target(DIRECT, upstream), *ours, *peers]
    pids = {**process_ids(settings.home), **(peer_pids or {})}
    phases = await Comparison(targets, course, pids, console).run()
    await asyncio.sleep(_TRACES_SETTLE)
    return await asyncio.to_thread(with_degraded, settings, phases, {one.name for one in ours})


class Comparison:
    def __init__(
        self,
        targets: Sequence[Target],
        course: Course,
        pids: Mapping[str, int],
        console: Console,
    ) -> None:
        self._targets = targets
        self._course = course
        self._pids = pids
        self._console = console
        self._asked = 0  # questions so far, so that each is a different one

    async def run(self) -> list[Phase]:
        await self._warm_up()
        phases = []
        for number in range(self._course.rounds):
            for loop, kind in LOADS:
                for target in self._targets:
                    phases.append(await self._phase(target, loop, kind, number))
                    await asyncio.sleep(_PAUSE)
                    # A server that is behind goes on with requests that nobody waits for.
                    await quiet(self._pids, _QUIET_LIMIT)
        return phases

    async def _phase(self, target: Target, loop: Loop, kind: Kind, number: int) -> Phase:
        plan = Plan(
            url=target.url,
            headers=dict(target.headers),
            model=MODEL,
            stream=kind == "stream",
            clients=CLIENTS,
            rate=RATE if loop == "open" else 0,
            seconds=self._course.seconds if loop == "open" else self._course.closed_seconds,
            first_question=self._asked if target.memory else 0,
            seed=number,  # the same schedule for every target of a round
        )
        phase = await run_phase(target, loop, kind, number=number, plan=plan, pids=self._pids)
        if target.memory:
            self._asked += phase.requests
        self._show(phase)
        return phase

    async def _warm_up(self) -> None:
        """Connections, caches and the agent's memories are there before anything counts."""
        for target in self._targets:
            for stream in (False, True):
                plan = Plan(
                    url=target.url,
                    headers=dict(target.headers),
                    model=MODEL,
                    stream=stream,
                    clients=10,
                    rate=0,
                    seconds=_WARM_UP / 2,
                    first_question=self._asked if target.memory else 0,
                    seed=0,
                )
                kind: Kind = "stream" if stream else "plain"
                phase = await run_phase(target, "closed", kind, number=-1, plan=plan, pids={})
                if target.memory:
                    self._asked += phase.requests

    def _show(self, phase: Phase) -> None:
        times = phase.total_ms
        figures = f"p50 {times['p50']:7.1f}  p99 {times['p99']:7.1f} ms" if times else "no answer"
        troubles = {
            **phase.errors,
            **{f"without context: {k}": v for k, v in phase.fallbacks.items()},
        }
        trouble = ", ".join(f"{name} {count}" for name, count in troubles.items())
        if phase.target in (MEMORY_OFF, DIRECT):
            trouble = ", ".join(f"{name} {count}" for name, count in phase.errors.items())
        self._console.print(
            f"round {phase.round + 1}  {phase.loop:6} {phase.kind:6}  {phase.target:18}"
            f"{phase.rps:8.0f}/s  {figures}  {trouble}",
            highlight=False,
        )
