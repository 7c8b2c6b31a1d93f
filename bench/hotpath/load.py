"""`python -m bench.hotpath.load < plan > result`: sends requests, writes down how long each took.

A process of its own, HTTP/1.1 on asyncio's protocols, so that it is not what is measured.

- The **open** loop has a schedule: each client sends at a random phase and then every 1/rate
  seconds, whether or not earlier requests have been answered, and a request's time counts from the
  moment it was due. A server that stalls does not lower its own load (no coordinated omission).
- The **closed** loop: each client sends again once it has its answer.
"""

import asyncio
import gc
import random
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools
import orjson
import uvloop

from bench.corpus import questions

_LIMIT: Final = 10.0  # seconds; a request that takes longer is an error
_PAUSE: Final = 0.1  # seconds, when nobody takes the connection
_DONE: Final = b"data: [DONE]"
_SYSTEM: Final = "You are the assistant of a company's operations team. Answer in two sentences."


@dataclass(frozen=True)
class Plan:
    url: str  # ends in /v1
    headers: dict[str, str]
    model: str
    stream: bool | None  # None: every other request
    clients: int
    rate: float  # requests a second of each client; 0: a closed loop
    seconds: float
    first_question: int
    seed: int  # of the schedule


@dataclass
class Outcome:
    """Times in milliseconds, one entry a request that succeeded."""

    total: Any = field(default_factory=lambda: array("d"))
    ttfb: Any = field(default_factory=lambda: array("d"))  # to the first byte of the body
    context: Any = field(default_factory=lambda: array("d"))  # as Server-Timing says, if it does
    sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by what went wrong
    fallbacks: Counter[str] = field(default_factory=Counter)  # by X-IBEX-Context-Fallback-Reason
    empty: int = 0  # answers that carried no memory
    seconds: float = 0.0


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[str] | None = None  # what went wrong, or ""
        self.headers: dict[bytes, bytes] = {}
        self.first_byte = 0.0
        self.alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.alive = True

    def connection_lost(self, _: Exception | None) -> None:
        self.alive = False
        self._end("connection_lost")

    def close(self) -> None:
        self.alive = False
        self._transport.close()

    async def ask(self, request: bytes, stream: bool) -> str:
        """What went wrong, or an empty text."""
        self.headers, self.first_byte, self._tail = {}, 0.0, b""
        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self.answered = self._loop.create_future()
        late = self._loop.call_later(_LIMIT, self._end, "timeout")
        self._transport.write(request)
        try:
            return await self.answered
        finally:
            late.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("not_http")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, data: bytes) -> None:
        if not self.first_byte:
            self.first_byte = time.perf_counter()
        self._tail = (self._tail + data)[-40:]

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            self._end(f"status_{status}")
        elif self._stream and _DONE not in self._tail:
            self._end("no_done")
        else:
            self._end("")
        if not self._parser.should_keep_alive():
            self.close()

    def _end(self, problem: str) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(problem)


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        url = urlsplit(plan.url)
        self._host, self._port = url.hostname or "", url.port or 80
        headers = {"host": url.netloc, "content-type": "application/json", **plan.headers}
        lines = [f"POST {url.path}/chat/completions HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join([*lines, "content-length: "]).encode()
        self._questions: Iterator[str] = questions(plan.first_question)
        self._idle: deque[Connection] = deque()
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        plan = self._plan
        for _ in range(plan.clients):
            self._idle.append(await self._open())
        began = time.perf_counter()
        if plan.rate:
            await self._run_open(began)
        else:
            await asyncio.gather(*(self._client(began + plan.seconds) for _ in range(plan.clients)))
        self.outcome.seconds = time.perf_counter() - began
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0)  # closing takes one turn of the loop
        return self.outcome

    async def _run_open(self, began: float) -> None:
        plan, chance = self._plan, random.Random(self._plan.seed)
        period = 1 / plan.rate
        phases = [chance.uniform(0, period) for _ in range(plan.clients)]
        due = sorted(
            began + phase + number * period
            for phase in phases
            for number in range(int(plan.seconds * plan.rate))
        )
        running: set[asyncio.Task[None]] = set()
        for moment in due:
            wait = moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            # The loop's timers may be a millisecond early; then it counts from now.
            task = asyncio.create_task(self._request(min(moment, time.perf_counter())))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running)

    async def _client(self, until: float) -> None:
        while (now := time.perf_counter()) < until:
            await self._request(now)

    async def _request(self, due: float) -> None:
        outcome = self.outcome
        outcome.sent += 1
        number = outcome.sent
        stream = self._plan.stream if self._plan.stream is not None else number % 2 == 0
        try:
            connection = self._idle.popleft() if self._idle else await self._open()
        except OSError as error:
            outcome.errors[type(error).__name__] += 1
            await asyncio.sleep(_PAUSE)
            return
        problem = await connection.ask(self._body(stream), stream)
        ended = time.perf_counter()
        if problem:
            outcome.errors[problem] += 1
            connection.close()
        else:
            outcome.total.append((ended - due) * 1000)
            outcome.ttfb.append((connection.first_byte - due) * 1000)
            self._note(connection.headers)
        if connection.alive:
            self._idle.append(connection)

    def _note(self, headers: dict[bytes, bytes]) -> None:
        outcome = self.outcome
        if headers.get(b"x-ibex-context-fallback") == b"true":
            reason = headers.get(b"x-ibex-context-fallback-reason", b"unknown")
            outcome.fallbacks[reason.decode()] += 1
        if headers.get(b"x-ibex-memories-injected") == b"0":
            outcome.empty += 1
        for part in headers.get(b"server-timing", b"").split(b", "):
            name, _, value = part.partition(b";dur=")
            if name == b"context":
                outcome.context.append(float(value))

    def _body(self, stream: bool) -> bytes:
        body = orjson.dumps(
            {
                "model": self._plan.model,
                "messages": [
                    {"role": "system", "content": _SYSTEM},
                    {"role": "user", "content": next(self._questions)},
                ],
                "temperature": 0.2,
                "max_tokens": 200,
                "stream": stream,
            }
        )
        return self._head + str(len(body)).encode() + b"\r\n\r\n" + body

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port)
        return connection


def main() -> None:
    gc.disable()  # its pauses would be taken for the server's
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    result = vars(uvloop.run(Load(plan).run()))
    for name in ("total", "ttfb", "context"):
        result[name] = [round(value, 3) for value in result[name]]
    sys.stdout.buffer.write(orjson.dumps(result))


if __name__ == "__main__":
    main()
