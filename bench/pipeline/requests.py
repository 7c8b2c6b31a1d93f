"""Requests with memories at a steady rate, while something else happens."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.figures import percentiles
from bench.generator import generate
from bench.hotpath.comparison import MODEL
from bench.hotpath.load import Plan
from bench.seed import SeededAgent

CLIENTS: Final = 50
_PIECE: Final = 5.0  # seconds of load by one generator
_GENERATOR: Final = "bench.hotpath.load"


@dataclass(frozen=True)
class Answered:
    requests: int
    errors: int
    without_memories: int
    total_ms: dict[str, float]  # p50, p95, p99, from the moment a request was due


class Requests:
    """Each asks what none before it asked."""

    def __init__(self, url: str, agent: SeededAgent, rate: float) -> None:
        """`url` ends in /v1; `rate` in requests a second of all clients."""
        self._url = url
        self._agent = agent
        self._rate = rate
        self._asked = 0
        self._pieces = 0

    async def during(self, goes_on: Callable[[], bool]) -> Answered:
        """In pieces of five seconds, at least one, as long as `goes_on`."""
        times: list[float] = []
        troubles: Counter[str] = Counter()
        while True:
            outcome = await generate(_GENERATOR, self._plan(), _PIECE)
            self._asked += outcome["sent"]
            self._pieces += 1
            times += outcome["total"]
            troubles["requests"] += outcome["sent"]
            troubles["errors"] += sum(outcome["errors"].values())
            troubles["without"] += sum(outcome["fallbacks"].values())
            if not goes_on():
                break
        return Answered(
            troubles["requests"], troubles["errors"], troubles["without"], percentiles(times)
        )

    async def for_pieces(self, count: int) -> Answered:
        end = self._pieces + count
        return await self.during(lambda: self._pieces < end)

    def _plan(self) -> Plan:
        return Plan(
            url=self._url,
            headers={"authorization": f"Bearer {self._agent.token}"},
            model=MODEL,
            stream=False,
            clients=CLIENTS,
            rate=self._rate / CLIENTS,
            seconds=_PIECE,
            first_question=self._asked,
            seed=self._pieces,
        )
