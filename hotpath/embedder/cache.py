"""Vectors that were computed before: the latest in this process, all of them in Redis.

A cache and nothing more: without Redis, or with a slow one, the model answers. Redis is asked once
for a request of several texts (MGET), and not at all for a single one: that is most likely a
question, which nobody else has asked, and computing it costs little more than asking for it. What
was computed is written behind the answers, together with what other requests bring meanwhile.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
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
_LATEST: Final = 8_192  # vectors kept here, 1.5 KiB each
_ASKED_FOR: Final = 2  # texts of a request that Redis is asked for
_BEHIND: Final = 0.05  # seconds that a write waits for others
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
        self._latest: OrderedDict[bytes, Embedding] = OrderedDict()
        self._unwritten: dict[bytes, Embedding] = {}
        self._writing: asyncio.Task[None] | None = None
        self._asks_again_at = 0.0
        self._logs_again_at = 0.0

    async def read(self, texts: Sequence[str]) -> dict[str, Embedding]:
        """Those of `texts`, each given once, that are known."""
        known: dict[str, Embedding] = {}
        others: list[tuple[str, bytes]] = []
        for text in texts:
            digest = _digest(text)
            if (embedding := self._latest.get(digest)) is None:
                others.append((text, digest))
            else:
                self._latest.move_to_end(digest)
                known[text] = embedding
        if len(texts) < _ASKED_FOR or not others or self._pausing():
            return known
        try:
            async with asyncio.timeout(_READ_LIMIT):
                values = await self._redis.mget([self._key(digest) for _, digest in others])
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return known
        for (text, digest), value in zip(others, values, strict=True):
            if (embedding := _unpack(value)) is not None:
                known[text] = embedding
                self._keep(digest, embedding)
        return known

    def put(self, embeddings: Mapping[str, Embedding]) -> None:
        """What was computed, for the next who asks; Redis is told a moment later."""
        for text, embedding in embeddings.items():
            digest = _digest(text)
            self._keep(digest, embedding)
            self._unwritten[digest] = embedding
        if self._unwritten and self._writing is None:
            self._writing = asyncio.create_task(self._write())
            self._writing.add_done_callback(self._written)

    async def _write(self) -> None:
        while self._unwritten:
            await asyncio.sleep(_BEHIND)
            embeddings, self._unwritten = self._unwritten, {}
            if self._pausing():
                continue
            try:
                async with asyncio.timeout(_WRITE_LIMIT), self._redis.pipeline(False) as pipeline:
                    for digest, embedding in embeddings.items():
                        pipeline.set(self._key(digest), _pack(embedding), ex=TTL)
                    await pipeline.execute()
            except (RedisError, OSError, TimeoutError) as error:
                self._failed(error)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled() and (error := task.exception()):
            _log.error("writing to the cache failed: %s", type(error).__name__)

    def _keep(self, digest: bytes, embedding: Embedding) -> None:
        self._latest[digest] = embedding
        self._latest.move_to_end(digest)
        if len(self._latest) > _LATEST:
            self._latest.popitem(last=False)

    async def close(self) -> None:
        if (writing := self._writing) is not None:
            await asyncio.wait({writing}, timeout=_WRITE_LIMIT)
            writing.cancel()
        await self._redis.aclose()

    def _key(self, digest: bytes) -> str:
        return keys.embedding(self._model, digest.hex())

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


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _pack(embedding: Embedding) -> bytes:
    return embedding.vector.astype(ROW_TYPE).tobytes() + bytes([embedding.truncated])


def _unpack(value: bytes | str | None) -> Embedding | None:
    if not isinstance(value, bytes) or len(value) != _VECTOR_BYTES + 1:
        return None
    return Embedding(np.frombuffer(value, ROW_TYPE, DIMENSIONS), bool(value[-1]))
