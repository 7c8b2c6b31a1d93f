"""Tells every process what changed, through Redis: a cached token, agent or directive is dropped
within a second.

Redis is a cache. When it is away a change is still made and takes hold when the caches' time to
live is over, so neither telling nor listening ever fails a request.
"""

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError

from ibex.stores import keys

_log = logging.getLogger("ibex.invalidation")
_RETRY = 1.0  # seconds


class Invalidations:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        """The client's own time-outs are the deadline of each call."""
        self._client = client

    async def token_revoked(self, token_id: UUID) -> None:
        await self._tell(f"token:{token_id}")

    async def token_changed(self, token_id: UUID) -> None:
        await self._tell(f"token:{token_id}")

    async def organization_changed(self, org_id: UUID) -> None:
        await self._tell(f"organization:{org_id}")

    async def agent_changed(self, org_id: UUID, agent_id: UUID) -> None:
        await self._tell(f"agent:{org_id}:{agent_id}")

    async def directive_changed(self, org_id: UUID, agent_id: UUID) -> None:
        await self._tell(
            f"directive:{org_id}:{agent_id}", stale_key=keys.directive(org_id, agent_id)
        )

    async def listen(self, on_message: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        """Call `on_message` with each message until cancelled.

        `on_gap` is called after each (re)connection: messages may have been missed before it.
        """
        away = False
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(keys.INVALIDATIONS)
                    on_gap()
                    away = False
                    while True:
                        _honour_cancellation()
                        message = await channel.get_message(
                            ignore_subscribe_messages=True, timeout=30.0
                        )
                        if message is not None:
                            on_message(message["data"].decode())
            except (RedisError, OSError) as error:
                if not away:
                    _log.warning("not listening to invalidations: %s", type(error).__name__)
                away = True
                await asyncio.sleep(_RETRY)

    async def _tell(self, message: str, *, stale_key: str | None = None) -> None:
        try:
            if stale_key:
                await self._client.delete(stale_key)
            await self._client.publish(keys.INVALIDATIONS, message)
        except (RedisError, OSError) as error:
            _log.warning("told nobody of a change: %s", type(error).__name__)


def _honour_cancellation() -> None:
    """redis-py loses a cancellation that arrives while it connects."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
