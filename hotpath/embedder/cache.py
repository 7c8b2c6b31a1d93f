"""Vectors that were computed before, in Redis: one MGET and one pipelined write for a request.

A cache and nothing more: without Redis, or with a slow one, the model answers.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from hotpath.embedder.model import Embedding
from ibex.embedding import DIMENSIONS, ROW_TYPE
from ibex.metrics import counter
from ibex.stores import keys

_log = logging.getLogger("ibex.embedder")

TTL: Final = 7 * 24 * 3600  # seconds
_VECTOR_BYTES: Final = DIMENSIONS * ROW_TYPE.itemsize
_READ_LIMIT: Final = 0.1  # seconds
_WRITE_LIMIT: Final = 0.5
_PAUSE: Final = 1.0  # after a failure nobody asks Redis for so long
_LOG_EVERY: Final = 60.0
_FAILURES: Final = counter("ibex_embedder_cache_failures_total", "Redis failed or was slow.")


class EmbeddingCache:
    def __init__(self, dsn: str, model: str) -> None:
        self.failures = 0
        self._model = model
        self._redis = redis.asyncio.Redis.from_url(
            dsn,
            socket_connect_timeout=_READ_LIMIT,
            socket_timeout=_WRITE_LIMIT,
            retry=Retry(NoBackoff(), 0),
        )
        self._asks_again_at = 0.0
        self._logs_again_at = 0.0

    async def read(self, texts: Sequence[str]) -> dict[str, Embedding]:
        """Those of `texts` that are known."""
        if not texts or self._pausing():
            return {}
        try:
            async with asyncio.timeout(_READ_LIMIT):
                values = await self._redis.mget([self._key(text) for text in texts])
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return {}
        known = zip(texts, map(_unpack, values), strict=True)
        return {text: embedding for text, embedding in known if embedding is not None}

    async def write(self, embeddings: Mapping[str, Embedding]) -> None:
        if not embeddings or self._pausing():
            return
        try:
            async with asyncio.timeout(_WRITE_LIMIT), self._redis.pipeline(False) as pipeline:
                for text, embedding in embeddings.items():
                    pipeline.set(self._key(text), _pack(embedding), ex=TTL)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)

    async def close(self) -> None:
        await self._redis.aclose()

    def _key(self, text: str) -> str:
        return keys.embedding(self._model, hashlib.sha256(text.encode()).hexdigest())

    def _pausing(self) -> bool:
        return time.monotonic() < self._asks_again_at

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        self.failures += 1
        _FAILURES.inc()
        self._asks_again_at = now + _PAUSE
        if now >= self._logs_again_at:
            self._logs_again_at = now + _LOG_EVERY
            _log.warning("embedding without a cache: Redis failed (%s)", type(error).__name__)


def _pack(embedding: Embedding) -> bytes:
    return embedding.vector.astype(ROW_TYPE).tobytes() + bytes([embedding.truncated])


def _unpack(value: bytes | str | None) -> Embedding | None:
    if not isinstance(value, bytes) or len(value) != _VECTOR_BYTES + 1:
        return None
    return Embedding(np.frombuffer(value, ROW_TYPE, DIMENSIONS), bool(value[-1]))
