"""Whose turn it is to call the model: slots, and calls and tokens a minute, of all processes.

Redis holds both. A slot is a lease, so a killed process gives its own back by itself. While Redis
is away a process keeps to the same limits alone.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ibex.errors import ProviderLimitError
from ibex.ids import new_id
from ibex.rate_limits import Check, Kind, Scope
from ibex.settings import Settings
from ibex.stores import keys
from ibex.stores.rate_limits import RateLimiter, Reservation

_SLOT: Final = (Path(__file__).parent / "lua" / "slot.lua").read_text(encoding="utf-8")
_REDIS_LIMIT: Final = 1.0  # seconds, of one command
_ALONE: Final = 5.0  # seconds in which a Redis that failed is not asked
_LOOK: Final = 0.1  # seconds between two looks at slots that are all taken
_LONGEST_WAIT: Final = 600.0  # seconds; then the session waits, and not the run
_LONGEST_PAUSE: Final = 600.0  # seconds, whatever the server asked for: it may ask again
_LEASE_MARGIN: Final = 15.0  # seconds

_log = logging.getLogger("ibex.pipeline")


@dataclass(frozen=True)
class SlotLimits:
    """Towards one server; 0 for what a minute may have: any."""

    at_once: int
    requests_per_minute: int = 0
    tokens_per_minute: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.extraction_concurrency,
            settings.extraction_requests_per_minute,
            settings.extraction_tokens_per_minute,
        )


class TakenSlot:
    """A call's place among those that are made at once."""

    def __init__(self, limiter: RateLimiter, reservation: Reservation | None) -> None:
        self._limiter = limiter
        self._reservation = reservation

    def used(self, tokens: int) -> None:
        if self._reservation is not None:
            self._limiter.settle(self._reservation, tokens)


class ModelSlots:
    def __init__(
        self,
        client: redis.asyncio.Redis,
        limiter: RateLimiter,
        server: str,
        limits: SlotLimits,
        call_limit: float,
        *,
        longest_wait: float,
    ) -> None:
        """`server`: its base URL, by which all that call it meet. `call_limit`: the seconds that a
        call may take, `longest_wait` those before it."""
        self._client = client
        self._script = client.register_script(_SLOT)
        self._limiter = limiter
        self._limits = limits
        self._longest_wait = longest_wait
        self._lease = round((call_limit + _LEASE_MARGIN) * 1000)
        self._here = asyncio.Semaphore(limits.at_once)
        self._paused_until = 0.0
        self._alone_until = 0.0
        digest = hashlib.sha256(server.encode()).hexdigest()[:16]
        self._taken, self._marker = keys.model_slots(digest), keys.model_pause(digest)
        self._checked = (
            (Kind.REQUESTS, keys.model_limit(digest, Kind.REQUESTS), limits.requests_per_minute),
            (Kind.TOKENS, keys.model_limit(digest, Kind.TOKENS), limits.tokens_per_minute),
        )

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[TakenSlot]:
        """A place to call from, of a call that takes about so many tokens.

        Raises ProviderLimitError when none is to be had within `longest_wait`.
        """
        deadline = time.monotonic() + self._longest_wait
        async with self._here:
            who = str(new_id())
            reservation = await self._taken_by(who, tokens, deadline)
            try:
                yield TakenSlot(self._limiter, reservation)
            finally:
                await self._leave(who)

    async def pause(self, seconds: float) -> None:
        """Nobody calls the server for so long."""
        seconds = min(seconds, _LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        if self._shared():
            milliseconds = max(1, round(seconds * 1000))
            try:
                left = await self._client.pttl(self._marker)
                if left < milliseconds:
                    await self._client.set(self._marker, b"", px=milliseconds)
            except (RedisError, OSError) as error:
                self._go_alone(error)

    async def _taken_by(self, who: str, tokens: int, deadline: float) -> Reservation | None:
        while True:
            wait = await self._enter(who)
            if wait == 0.0:
                checks = self._checks(tokens)
                if not checks:
                    return None
                outcome = await self._limiter.reserve(checks)
                if outcome.refusal is None:
                    return Reservation(outcome)
                await self._leave(who)
                wait = max(outcome.refusal.wait_ms / 1000, _LOOK)
            if time.monotonic() + wait > deadline:
                raise ProviderLimitError(
                    "There was no turn to call the model's server for too long.", retry_after=wait
                )
            await asyncio.sleep(wait * random.uniform(1.0, 1.25))  # noqa: S311  not for a secret

    async def _enter(self, who: str) -> float:
        """Seconds to wait before the next look; 0: a slot is taken."""
        paused = self._paused_until - time.monotonic()
        if paused > 0:
            return paused
        if not self._shared():
            return 0.0
        try:
            answer = int(
                await self._script(
                    keys=(self._taken, self._marker),
                    args=(who, self._limits.at_once, self._lease),
                )
            )
        except (RedisError, OSError) as error:
            self._go_alone(error)
            return 0.0
        return _LOOK if answer < 0 else answer / 1000

    async def _leave(self, who: str) -> None:
        if self._shared():
            with suppress(RedisError, OSError):  # the lease ends by itself
                await self._client.zrem(self._taken, who)

    def _checks(self, tokens: int) -> Sequence[Check]:
        amounts = {Kind.REQUESTS: 1, Kind.TOKENS: tokens}
        return [
            # More than a minute's worth at once goes when nothing else did for a minute.
            Check(Scope.MODEL, kind, key, limit, min(amounts[kind], limit))
            for kind, key, limit in self._checked
            if limit
        ]

    def _shared(self) -> bool:
        return time.monotonic() >= self._alone_until

    def _go_alone(self, error: Exception) -> None:
        self._alone_until = time.monotonic() + _ALONE
        _log.warning(
            "limits towards the model hold for this process alone: Redis fails (%s)",
            type(error).__name__,
        )


@asynccontextmanager
async def open_model_slots(
    settings: Settings, limits: SlotLimits | None = None, *, longest_wait: float = _LONGEST_WAIT
) -> AsyncIterator[ModelSlots]:
    """Of the server that extracts. Redis need not answer. `limits` other than the settings' are
    for work that shall leave room: it takes no slot while so many are taken, by whomever."""
    client = redis.asyncio.Redis.from_url(
        settings.redis_dsn,
        socket_connect_timeout=_REDIS_LIMIT,
        socket_timeout=_REDIS_LIMIT,
        retry=Retry(NoBackoff(), 0),
    )
    limiter = RateLimiter(client, _REDIS_LIMIT)
    limiter.start()
    try:
        yield ModelSlots(
            client,
            limiter,
            settings.provider_url,
            limits or SlotLimits.of(settings),
            settings.extraction_timeout,
            longest_wait=longest_wait,
        )
    finally:
        await limiter.close()
        await client.aclose()
