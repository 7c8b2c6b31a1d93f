"""`POST /embed`, over HTTP and frames, `GET /health`, `GET /ready`, `GET /metrics`
(docs/architecture.md)."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from hotpath.embedder.batching import Batcher
from hotpath.embedder.cache import EmbeddingCache
from hotpath.embedder.framed import framed
from hotpath.embedder.loading import load_model
from hotpath.embedder.model import Embedding
from hotpath.embedder.requests import parse_texts
from ibex.asgi import (
    Receive,
    Scope,
    Send,
    Service,
    header,
    read_object,
    send_bytes,
    send_json,
)
from ibex.embedding import DIMENSIONS, ROW_TYPE, VECTORS
from ibex.errors import EmbedderUnavailableError, InvalidRequestError
from ibex.metrics import counter, gauge, handler
from ibex.resources import let_others_first, settle_memory
from ibex.rpc.frames import FrameServer
from ibex.settings import Settings

_log = logging.getLogger("ibex.embedder")
_TEXTS: Final = counter("ibex_embedder_texts_total", "Texts answered.")
_HITS: Final = counter("ibex_embedder_cache_hits_total", "Distinct texts found here or in Redis.")
_MISSES: Final = counter("ibex_embedder_cache_misses_total", "Distinct texts computed.")
_QUEUE: Final = gauge("ibex_embedder_queue_length", "Texts that wait.")

_GRACE: Final = 5.0  # seconds for calls in progress


class EmbedderService(Service):
    def __init__(self, settings: Settings, on_failure: Callable[[], None]) -> None:
        """`on_failure` is called when the model cannot be loaded, or nothing can listen for frames:
        the process is of no use."""
        super().__init__("embedder")
        self._limit = settings.max_body_bytes
        self._on_failure = on_failure
        self._settings = settings
        self._model = settings.embedding_model
        self._cache = EmbeddingCache(settings.redis_dsn, self._model)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._background: ThreadPoolExecutor | None = None
        self._batcher: Batcher | None = None
        self._loading: asyncio.Task[None] | None = None
        self._frames = FrameServer(framed(self.embed))
        self.handlers = {
            "/embed": {"POST": self._embed},
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
            "/metrics": {"GET": handler(settings.metrics_token)},
        }

    async def start(self) -> None:
        host, port = self._settings.host, self._settings.embedder_frames_port
        try:
            await self._frames.start(host, port)
        except OSError:
            _log.error(
                "nothing can listen on %s:%d; set IBEX_EMBEDDER_FRAMES_PORT to a free port",
                host,
                port,
            )
            self._on_failure()
            return
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        await self._frames.stop(_GRACE)
        if self._loading:
            self._loading.cancel()
        for executor in (self._executor, self._background):
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)
        await self._cache.close()

    async def _load(self) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(self._executor, load_model, self._settings)
        except Exception:  # noqa: BLE001  whatever it was, the process ends and says so
            _log.exception("the embedding model could not be loaded")
            self._on_failure()
            return
        if model.threads > 1:
            self._executor.shutdown(wait=False)
            self._executor = ThreadPoolExecutor(model.threads, thread_name_prefix="model")
            self._background = ThreadPoolExecutor(
                model.threads, thread_name_prefix="background", initializer=let_others_first
            )
        settle_memory()
        batcher = self._batcher = Batcher(
            model.encode, self._executor, model.threads, background=self._background
        )
        _QUEUE.set_function(lambda: batcher.queued)
        seconds = time.monotonic() - started
        _log.info("%s on %s is warm after %.1f s", model.name, model.backend, seconds)

    async def _embed(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_object(scope, receive, self._limit)
        texts = parse_texts(body)
        if body.get("model", self._model) != self._model:
            raise InvalidRequestError(f"This service has the model {self._model}.")
        background = body.get("background") is True
        embeddings = await self.embed(texts, background=background)
        await _reply(scope, send, self._model, embeddings)

    async def embed(self, texts: Sequence[str], *, background: bool = False) -> list[Embedding]:
        """One for each of the texts; `background`: nobody waits for them.

        Raises EmbedderUnavailableError.
        """
        if self._batcher is None:
            raise EmbedderUnavailableError("The embedding model is still loading.")
        unique = list(dict.fromkeys(texts))
        known = await self._cache.read(unique)
        missing = [text for text in unique if text not in known]
        vectors = await self._batcher.encode(missing, background=background)
        computed = dict(zip(missing, vectors, strict=True))
        _TEXTS.inc(len(texts))
        _HITS.inc(len(known))
        _MISSES.inc(len(missing))
        self._cache.put(computed)
        known |= computed
        return [known[text] for text in texts]

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"status": "ok"})

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        warm = self._batcher is not None
        await send_json(send, 200 if warm else 503, {"ready": warm, "checks": {"model": warm}})


async def _reply(scope: Scope, send: Send, model: str, embeddings: list[Embedding]) -> None:
    rows = np.concatenate([one.vector for one in embeddings]).reshape(len(embeddings), -1)
    truncated = [place for place, one in enumerate(embeddings) if one.truncated]
    if header(scope, b"accept") == VECTORS:
        headers = (
            (b"x-ibex-model", model.encode()),
            (b"x-ibex-truncated", ",".join(map(str, truncated)).encode()),
        )
        await send_bytes(
            send, 200, rows.astype(ROW_TYPE, copy=False).tobytes(), VECTORS.encode(), headers
        )
        return
    reply = {
        "model": model,
        "dimensions": DIMENSIONS,
        "embeddings": rows,
        "truncated": truncated,
    }
    await send_json(send, 200, reply)
