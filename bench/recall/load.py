"""`python -m bench.recall.load < plan > result`: asks for contexts, writes down how long each took.

A process of its own, as the proxy is for the assembler: one channel, every request with its own
question. Each client holds one session after the other and asks again when it has its answer.
"""

import asyncio
import gc
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
import orjson
import uvloop

from bench.corpus import questions
from ibex.conversation import chain
from ibex.ids import new_id
from ibex.memory.pinning import anchor_of
from ibex.rpc import AssembleContextRequest, AssembleContextResponse, ContextClient
from ibex.rpc import Message as Said
from ibex.rpc.clients import BUSY, open_channel

#: What the assembler tells of itself, and `search`: the search without its wait for the vector.
PARTS: Final = (*("total", "directive", "hot", "cold", "search", "embed", "pinned", "assemble"),)
MODEL: Final = "gpt-4o-mini"
_LIMIT: Final = 5.0  # seconds; a call that takes longer is an error
_PAUSE: Final = 0.1  # seconds after a call that failed or was refused
_SYSTEM: Final = "You are the assistant of a company's operations team. Answer in two sentences."
_ANSWER: Final = (
    "It has been run that way since spring, and nothing is planned to change before the next "
    "review. If you want it done differently, tell the team in charge two days ahead."
)


@dataclass(frozen=True)
class Plan:
    target: str  # host:port
    org_id: str
    agent_id: str
    turns: int  # of each session
    clients: int
    seconds: float
    first_question: int
    late_ms: float  # an answer that takes longer is too late for the proxy


@dataclass
class Answers:
    """Times in milliseconds."""

    total: Any = field(default_factory=lambda: array("d"))  # as the client sees it
    parts: dict[str, Any] = field(default_factory=lambda: {name: array("d") for name in PARTS})
    degraded: Counter[str] = field(default_factory=Counter)  # by what did not arrive
    incomplete: int = 0  # answers that something was missing from
    late: int = 0
    empty: int = 0  # answers without a memory

    def note(self, answer: AssembleContextResponse, milliseconds: float, late_ms: float) -> None:
        self.total.append(milliseconds)
        for name, value in part_times(answer).items():
            self.parts[name].append(value)
        self.degraded.update(answer.degraded)
        self.incomplete += bool(answer.degraded)
        self.late += milliseconds > late_ms
        self.empty += not answer.memories


@dataclass
class Outcome:
    first: Answers = field(default_factory=Answers)  # to the first request of a session
    later: Answers = field(default_factory=Answers)  # to the second and further ones
    sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by status
    refused: int = 0  # because more were asked for than come in time
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of this process


def part_times(answer: AssembleContextResponse) -> dict[str, float]:
    """Milliseconds of each part that arrived."""
    timings = answer.timings
    if timings is None:
        return {}
    found = {
        name: float(spent)
        for name in PARTS
        if name != "search" and (spent := getattr(timings, name)) and name not in answer.degraded
    }
    cold, embed = found.get("cold"), found.get("embed")
    # A vector that came later than the search's answer came too late for it.
    if cold is not None and embed is not None and cold >= embed:
        found["search"] = cold - embed
    return found


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._questions: Iterator[str] = questions(plan.first_question)
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        plan, outcome = self._plan, self.outcome
        async with open_channel(plan.target) as channel:
            client = ContextClient(channel)
            await channel.channel_ready()
            cpu, began = time.process_time(), time.perf_counter()
            until = began + plan.seconds
            await asyncio.gather(*(self._client(client, until) for _ in range(plan.clients)))
            outcome.seconds = time.perf_counter() - began
            outcome.cpu = time.process_time() - cpu
        return outcome

    async def _client(self, client: ContextClient, until: float) -> None:
        while time.perf_counter() < until:
            await self._session(client, until)

    async def _session(self, client: ContextClient, until: float) -> None:
        plan, session = self._plan, str(new_id())
        said, link = [Said(role="system", text=_SYSTEM)], _linked("system", _SYSTEM, b"")
        for turn in range(plan.turns):
            question = next(self._questions)
            link = _linked("user", question, link)
            said.append(Said(role="user", text=question, anchor=anchor_of(link)))
            request = AssembleContextRequest(
                request_id=str(new_id()),
                org_id=plan.org_id,
                agent_id=plan.agent_id,
                session_id=session,
                model=MODEL,
                messages=said,
                max_answer_tokens=200,
                session_turns=turn,
            )
            if not await self._ask(client, request) or time.perf_counter() >= until:
                return
            link = _linked("assistant", _ANSWER, link)
            said.append(Said(role="assistant", text=_ANSWER))

    async def _ask(self, client: ContextClient, request: AssembleContextRequest) -> bool:
        outcome = self.outcome
        outcome.sent += 1
        began = time.perf_counter()
        try:
            answer = await client.assemble(request, _LIMIT)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and error.details() == BUSY:
                outcome.refused += 1
            else:
                outcome.errors[error.code().name.lower()] += 1
            await asyncio.sleep(_PAUSE)
            return False
        milliseconds = (time.perf_counter() - began) * 1000
        answers = outcome.later if request.session_turns else outcome.first
        answers.note(answer, milliseconds, self._plan.late_ms)
        return True


def _linked(role: str, text: str, last: bytes) -> bytes:
    return chain([{"role": role, "content": text}], last)[-1]


def plain(outcome: Outcome) -> dict[str, Any]:
    """As JSON knows it; times with three digits."""
    return {**vars(outcome), "first": _plain(outcome.first), "later": _plain(outcome.later)}


def _plain(answers: Answers) -> dict[str, Any]:
    parts = {name: _rounded(times) for name, times in answers.parts.items()}
    return {**vars(answers), "total": _rounded(answers.total), "parts": parts}


def _rounded(times: Any) -> list[float]:
    return [round(value, 3) for value in times]


def main() -> None:
    gc.disable()  # its pauses would be taken for the server's
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(plain(uvloop.run(Load(plan).run()))))


if __name__ == "__main__":
    main()
