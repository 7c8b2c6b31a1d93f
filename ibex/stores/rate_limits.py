"""Rate limits counted in Redis for all replicas together, and in this process when Redis is away.

Every decision is one script call, atomic over all its limits, and one round trip: calls that come
while one is under way share the next. Whoever waits longer than the deadline is decided here,
alone, and so is everybody until Redis answers in time again.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from ibex.errors import CacheUnavailableError
from ibex.metrics import counter
from ibex.rate_limits import WINDOW, Check, Kind, LocalLimiter, Outcome, Standing
from ibex.settings import Settings
from ibex.stores import keys

_log = logging.getLogger("ibex.rate_limits")

_DECISIONS: Final = counter(
    "ibex_rate_limits_decisions_total", "Requests under a limit: passed, refused.", ("result",)
)
_PASSED, _REFUSED = _DECISIONS.labels("passed"), _DECISIONS.labels("refused")
_LOCAL: Final = counter(
    "ibex_rate_limits_local_total", "Of these, decided by this process alone: Redis was away."
)
_OUTAGES: Final = counter("ibex_rate_limits_outages_total", "Times that Redis went away for it.")
_UNSETTLED: Final = counter(
    "ibex_rate_limits_settlements_dropped_total",
    "Estimates that stand until they expire, as Redis was not told what was used.",
)

_SOCKET_LIMIT: Final = 0.25  # seconds after which a silent connection is given up
_BATCH: Final = 200  # calls in one round trip
_WAITING: Final = 5_000  # calls that may wait for one; beyond, settlements are dropped
_PROBE_PAUSE: Final = 0.5  # seconds
_LOCAL_WINDOWS: Final = 20_000


@dataclass
class LimiterCounters:
    """Since the process started."""

    passed: int = 0
    refused: int = 0
    decided_locally: int = 0  # of both
    outages: int = 0
    settlements_dropped: int = 0  # their reservations stand until they expire


@dataclass(frozen=True)
class Reservation:
    """What a request was let through with."""

    outcome: Outcome

    def differences(self, tokens: int) -> list[tuple[str, int]]:
        """By which the token windows are wrong when `tokens` were used."""
        checks = [standing.check for standing in self.outcome.standings]
        return [
            (check.key, tokens - check.amount)
            for check in checks
            if check.kind is Kind.TOKENS and check.amount != tokens
        ]


class RateLimiter:
    """Redis decides; without it this process does, by the same rules."""

    def __init__(self, client: redis.asyncio.Redis, timeout: float) -> None:
        """`timeout` in seconds for a decision. The client's own time-outs must be short, and it
        must not retry: see `open_limiter_client`."""
        self.counters = LimiterCounters()
        self._client = client
        self._shared = _SharedLimiter(client, timeout, self.counters)
        self._local = LocalLimiter(_LOCAL_WINDOWS)

    def start(self) -> None:
        self._shared.start()

    async def close(self) -> None:
        await self._shared.close()

    async def reserve(self, checks: Sequence[Check]) -> Outcome:
        """`checks` are of one organization. Never raises for what Redis does."""
        try:
            outcome = await self._shared.reserve(checks)
        except CacheUnavailableError:
            outcome = self._local.reserve(checks)
            self.counters.decided_locally += 1
            _LOCAL.inc()
        if outcome.refusal is None:
            self.counters.passed += 1
            _PASSED.inc()
        else:
            self.counters.refused += 1
            _REFUSED.inc()
        return outcome

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """The request used `tokens`. Returns at once; Redis hears of it soon, or it is dropped."""
        differences = reservation.differences(tokens)
        second = reservation.outcome.second
        if reservation.outcome.local:
            for key, difference in differences:
                self._local.settle(key, second, difference)
        elif differences:
            self._shared.settle(second, differences)

    async def answers(self) -> bool:
        """Whether Redis does."""
        try:
            return bool(await self._client.ping())
        except (RedisError, OSError):
            return False


def open_limiter_client(settings: Settings) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(
        settings.redis_dsn,
        socket_connect_timeout=_SOCKET_LIMIT,
        socket_timeout=_SOCKET_LIMIT,
        retry=Retry(NoBackoff(), 0),
    )


class _Script:
    def __init__(self, name: str) -> None:
        self.source = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


_RESERVE: Final = _Script("reserve")
_SETTLE: Final = _Script("settle")


@dataclass(frozen=True)
class _Call:
    script: _Script
    keys: Sequence[str]
    arguments: Sequence[int]
    answer: "asyncio.Future[Any] | None" = field(default=None)  # None: nobody waits


class _SharedLimiter:
    """The scripts' calls to Redis, one round trip at a time."""

    def __init__(
        self, client: redis.asyncio.Redis, timeout: float, counters: LimiterCounters
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._counters = counters
        self._waiting: deque[_Call] = deque()
        self._wake = asyncio.Event()
        self._sent_at: float | None = None  # when the round trip under way began
        self._away = False
        self._closing = False
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="rate limits")
        self._running.add_done_callback(_report)

    async def close(self) -> None:
        """What waits to be settled still is, if Redis takes it at once."""
        self._closing = True
        self._wake.set()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=2 * _SOCKET_LIMIT)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def reserve(self, checks: Sequence[Check]) -> Outcome:
        """Raises CacheUnavailableError when there is no answer within the deadline."""
        loop = asyncio.get_running_loop()
        late = self._sent_at is not None and loop.time() - self._sent_at > self._timeout
        if self._away or late or len(self._waiting) >= _WAITING:
            raise CacheUnavailableError
        answer: asyncio.Future[Any] = loop.create_future()
        arguments = [WINDOW]
        for check in checks:
            arguments += (check.limit, check.amount)
        self._put(_Call(_RESERVE, [check.key for check in checks], arguments, answer))
        try:
            async with asyncio.timeout(self._timeout):
                values = await answer
        except TimeoutError:
            self._away = True
            self._wake.set()
            raise CacheUnavailableError from None
        return _outcome(checks, values)

    def settle(self, second: int, differences: Sequence[tuple[str, int]]) -> None:
        if self._away or len(self._waiting) >= _WAITING:
            self._counters.settlements_dropped += 1
            _UNSETTLED.inc()
            return
        changes = [difference for _, difference in differences]
        self._put(_Call(_SETTLE, [key for key, _ in differences], [WINDOW, second, *changes]))

    def _put(self, call: _Call) -> None:
        self._waiting.append(call)
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(RedisError, OSError):  # else the first call will tell
            await self._load()
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            failed: str | None = None
            while self._waiting and failed is None:
                calls = self._next_calls()
                self._sent_at = loop.time()
                try:
                    await self._send(calls)
                except (RedisError, OSError) as error:
                    failed = type(error).__name__
                    self._give_up(calls)
                finally:
                    self._sent_at = None
            if failed is not None or self._away:
                self._away = True
                await self._until_back(failed or "too slow")

    def _next_calls(self) -> list[_Call]:
        """Without those whose caller no longer waits: nothing is counted for them."""
        calls = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        return [call for call in calls if call.answer is None or not call.answer.done()]

    async def _send(self, calls: Sequence[_Call]) -> None:
        answers = await self._execute(calls, by_source=False)
        unknown = [
            call
            for call, answer in zip(calls, answers, strict=True)
            if isinstance(answer, NoScriptError)
        ]
        if unknown:
            # Redis was restarted or its scripts flushed. EVAL makes it know them again.
            again = iter(await self._execute(unknown, by_source=True))
            answers = [next(again) if isinstance(one, NoScriptError) else one for one in answers]
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, RedisError):
                raise answer
            if call.answer is not None and not call.answer.done():
                call.answer.set_result(answer)

    async def _load(self) -> None:
        """Connects as well, so that the first request need not."""
        for script in (_RESERVE, _SETTLE):
            await self._client.script_load(script.source)

    async def _execute(self, calls: Sequence[_Call], *, by_source: bool) -> list[Any]:
        if not calls:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            script = call.script.source if by_source else call.script.sha
            command = "EVAL" if by_source else "EVALSHA"
            pipeline.execute_command(command, script, len(call.keys), *call.keys, *call.arguments)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _give_up(self, calls: Sequence[_Call]) -> None:
        """Those who wait are decided locally, at once."""
        for call in (*calls, *self._waiting):
            if call.answer is None:
                self._counters.settlements_dropped += 1
                _UNSETTLED.inc()
            elif not call.answer.done():
                call.answer.set_exception(CacheUnavailableError())
        self._waiting.clear()

    async def _until_back(self, reason: str) -> None:
        """Until Redis takes a write in time. A hiccup that is over by now is no outage."""
        self._give_up(())
        known = False
        while not self._closing and not await self._takes_writes():
            if not known:
                known = True
                self._counters.outages += 1
                _OUTAGES.inc()
                _log.warning("rate limits hold for this process alone: Redis fails (%s)", reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_PAUSE):
                    while not self._closing:
                        self._wake.clear()
                        await self._wake.wait()
        if known and not self._closing:
            _log.info("rate limits are counted in Redis again")
        self._away = False

    async def _takes_writes(self) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._client.set(keys.RATE_LIMIT_PROBE, b"", ex=1)
        except (RedisError, OSError):
            return False
        return loop.time() - began <= self._timeout


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("rate limits hold for this process alone: %s", type(error).__name__)


def _outcome(checks: Sequence[Check], values: Sequence[int]) -> Outcome:
    standings = []
    for number, check in enumerate(checks):
        used, fits, wait, reset = values[1 + 4 * number : 5 + 4 * number]
        standings.append(Standing(check, used, bool(fits), wait, reset))
    return Outcome(values[0], standings, local=False)
