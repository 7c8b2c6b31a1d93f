"""The hot lists: how long a read takes, one at a time and many at once, and a rebuild."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import redis.asyncio

from bench.figures import Times, percentiles
from bench.memory.filling import Crowd
from ibex.settings import Settings
from ibex.stores.hot import HotCache
from ibex.stores.postgres import Database

_AT_ONCE: Final = 10
_REBUILDS: Final = 20


@dataclass(frozen=True)
class HotReads:
    memories: int  # of the agent
    listed: int  # memories of its list
    read_ms: Times  # one after the other
    read_ms_at_once: Times  # ten askers
    rebuild_ms: Times


async def hot_reads(settings: Settings, crowd: Crowd, reads: int) -> HotReads:
    database = await Database.connect(settings.app_dsn, name="bench", command_timeout=60)
    client = redis.asyncio.Redis.from_url(settings.redis_dsn)
    hot = HotCache(client, database, settings.embedding_model)
    owner = (crowd.org_id, crowd.agents[0], None)

    async def timed(times: list[float], count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            await hot.read(*owner)
            times.append((time.perf_counter() - began) * 1000)

    try:
        rebuilds = []
        for _ in range(_REBUILDS):
            began = time.perf_counter()
            await hot.refresh(*owner)
            rebuilds.append((time.perf_counter() - began) * 1000)
        alone: list[float] = []
        together: list[float] = []
        await timed([], _AT_ONCE)  # warms up
        await timed(alone, reads)
        await asyncio.gather(*(timed(together, reads // _AT_ONCE) for _ in range(_AT_ONCE)))
        listed = len(await hot.read(*owner))
    finally:
        await client.aclose()
        await database.close()
    return HotReads(
        crowd.each, listed, percentiles(alone), percentiles(together), percentiles(rebuilds)
    )
