"""What a backfill's worker needs, opened and closed again."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

import redis.asyncio

from ibex.backfills.running import Tools
from ibex.embedding import EmbedderClient
from ibex.settings import Settings
from ibex.stores.hot import HotCache
from ibex.stores.model_slots import SlotLimits, open_model_slots
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader

_STATEMENT_LIMIT: Final = 300.0  # seconds: all memories of an agent may be looked at in one
_EMBED_LIMIT: Final = 60.0  # seconds, of one batch
_REDIS_LIMIT: Final = 5.0  # seconds


@asynccontextmanager
async def open_tools(settings: Settings) -> AsyncIterator[Tools]:
    """Raises DatabaseUnavailableError."""
    async with AsyncExitStack() as opened:
        database = await Database.connect(
            settings.app_dsn, name="backfill", command_timeout=_STATEMENT_LIMIT
        )
        opened.push_async_callback(database.close)
        cache = redis.asyncio.Redis.from_url(
            settings.redis_dsn, socket_timeout=_REDIS_LIMIT, socket_connect_timeout=_REDIS_LIMIT
        )
        opened.push_async_callback(cache.aclose)
        embedder = EmbedderClient(
            settings.embedder_endpoint, timeout=_EMBED_LIMIT, model=settings.embedding_model
        )
        opened.push_async_callback(embedder.close)
        objects = ObjectStore(settings)
        opened.push_async_callback(objects.close)
        yield Tools(
            settings,
            database,
            embedder,
            HotCache(cache, database, settings.embedding_model),
            TurnReader.of(database, objects, settings),
            await opened.enter_async_context(open_model_slots(settings, _limits(settings))),
        )


def _limits(settings: Settings) -> SlotLimits:
    """Of the calls at once that the model may have, the last is left to the pipeline."""
    limits = SlotLimits.of(settings)
    return replace(limits, at_once=max(1, limits.at_once - 1))
