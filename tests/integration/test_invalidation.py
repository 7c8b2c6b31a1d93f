import asyncio
import contextlib

import redis.asyncio

from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.invalidation import Invalidations
from tests.conftest import free_port


async def test_a_listener_hears_what_is_told(redis_client: redis.asyncio.Redis) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = asyncio.Event()
    invalidations = Invalidations(redis_client)
    listener = asyncio.create_task(invalidations.listen(heard.put_nowait, listening.set))
    await asyncio.wait_for(listening.wait(), 5)
    org, agent, token = new_id(), new_id(), new_id()
    await invalidations.token_revoked(token)
    await invalidations.agent_changed(org, agent)
    await invalidations.directive_changed(org, agent)
    messages = [await asyncio.wait_for(heard.get(), 5) for _ in range(3)]
    assert messages == [f"token:{token}", f"agent:{org}:{agent}", f"directive:{org}:{agent}"]
    listener.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listener


async def test_a_listener_ends_whenever_it_is_cancelled(
    settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    """Also while it connects, where redis-py loses the cancellation."""
    for number in range(100):
        async with redis.asyncio.Redis.from_url(settings.redis_dsn) as client:
            listener = asyncio.create_task(Invalidations(client).listen(print, lambda: None))
            await asyncio.sleep(number / 40_000)
            listener.cancel()
            done, _ = await asyncio.wait([listener], timeout=5)
            assert done


async def test_without_redis_nothing_fails() -> None:
    client = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}/0")
    await Invalidations(client).directive_changed(new_id(), new_id())
    await client.aclose()
