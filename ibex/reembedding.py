"""Vectors of another model for all memories: a backfill.

It goes through an organization's memories by id, makes the vectors that are missing and puts them
beside the ones that are served. Nothing else is kept about it: what is there is passed over, so it
may be stopped at any time and goes on when it is started again. When the model is the one that is
served (IBEX_EMBEDDING_MODEL), its vectors then change places with those in the memories' rows, and
statements in words of their own, which only the writer compares, get theirs.
"""

import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson

from ibex.embedded.child import Child
from ibex.embedded.log_files import log_file
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.embedding_models import chosen_model
from ibex.errors import EmbeddedServerError
from ibex.settings import Settings
from ibex.stores.embeddings import FIRST, EmbeddingStore

_BATCH: Final = 256  # memories of one request and one transaction
_EMBED_LIMIT: Final = 120.0  # seconds, of one batch
_START_LIMIT: Final = 300.0  # seconds; a model that is new here is exported first
_OWN: Final = "backfill-embedder"

Watch = Callable[[int, int], None]


class Embeds(Protocol):
    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit rows, shape (n, 384)."""


@dataclass(frozen=True)
class Reembedded:
    memories: int  # that were looked at
    made: int  # vectors that were missing
    exchanged: int  # rows that have the model's vector now


class Reembedding:
    def __init__(self, store: EmbeddingStore, *, batch: int = _BATCH) -> None:
        self._store = store
        self._batch = batch

    async def run(
        self,
        organizations: Sequence[UUID],
        model: str,
        embedder: Embeds,
        *,
        served: bool,
        watch: Watch = lambda done, total: None,
    ) -> Reembedded:
        """`embedder` makes vectors of `model`; `served`: that is what readers ask for. `watch` is
        told how many memories are done, and of how many.

        Raises EmbedderUnavailableError and DatabaseUnavailableError; what was made stays.
        """
        total = sum([await self._store.total(org_id) for org_id in organizations])
        seen = made = exchanged = 0
        for org_id in organizations:
            after = FIRST
            while texts := await self._store.page(org_id, model, after, self._batch):
                after = texts[-1].id
                missing = [text for text in texts if not text.present]
                if missing:
                    vectors = await embedder.embed([text.content for text in missing])
                    made += await self._store.put(org_id, model, missing, list(vectors))
                seen += len(texts)
                watch(seen, max(total, seen))
            if served:
                exchanged += await self._exchange(org_id, model)
                made += await self._statements(org_id, model, embedder)
        return Reembedded(seen, made, exchanged)

    async def _exchange(self, org_id: UUID, model: str) -> int:
        exchanged, after = 0, FIRST
        while moved := await self._store.exchange(org_id, model, after, self._batch):
            after = max(moved)
            exchanged += len(moved)
        return exchanged

    async def _statements(self, org_id: UUID, model: str, embedder: Embeds) -> int:
        made, after = 0, FIRST
        while texts := await self._store.statements(org_id, model, after, self._batch):
            after = texts[-1].id
            vectors = await embedder.embed([text.content for text in texts])
            made += await self._store.put_statements(org_id, model, texts, list(vectors))
        return made

    async def forget(self, organizations: Sequence[UUID], model: str) -> int:
        """Delete the model's vectors wherever they lie beside; how many."""
        gone = 0
        for org_id in organizations:
            while count := await self._store.forget(org_id, model, self._batch):
                gone += count
        return gone


@asynccontextmanager
async def embedder_of(settings: Settings, model: str) -> AsyncIterator[EmbedderClient]:
    """A client of the embedding service when it serves `model`; else of one of this backfill's own,
    a process that lives as long and gives way to everybody else.

    Raises ConfigurationError when there is no such model, EmbeddedServerError when it does not
    start.
    """
    if model == settings.embedding_model:
        client = EmbedderClient(
            settings.embedder_endpoint, timeout=_EMBED_LIMIT, model=model, background=True
        )
        try:
            yield client
        finally:
            await client.close()
        return
    chosen_model(settings.model_copy(update={"embedding_model": model}))
    async with _own_embedder(settings, model) as endpoint:
        client = EmbedderClient(endpoint, timeout=_EMBED_LIMIT, model=model, background=True)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def _own_embedder(settings: Settings, model: str) -> AsyncIterator[str]:
    """Its address."""
    port, frames_port = _free_ports(2)
    endpoint = f"http://127.0.0.1:{port}"
    models = {name: str(folder) for name, folder in settings.embedding_models.items()}
    spec = ProcessSpec(
        name=_OWN,
        title="The backfill's embedder",
        command=(sys.executable, "-m", "ibex.embedded.giving_way", "hotpath.embedder"),
        env={
            "IBEX_HOME": str(settings.home),
            "IBEX_HOST": "127.0.0.1",
            "IBEX_EMBEDDER_PORT": str(port),
            "IBEX_EMBEDDER_FRAMES_PORT": str(frames_port),
            "IBEX_REDIS_URL": settings.redis_dsn,
            "IBEX_EMBEDDING_MODEL": model,
            "IBEX_EMBEDDING_MODELS": orjson.dumps(models).decode(),
            "IBEX_EMBEDDING_BACKEND": settings.embedding_backend,
        },
        port=port,
        ready=partial(http_ok, f"{endpoint}/ready"),
        ready_timeout=_START_LIMIT,
    )
    child = Child(spec, settings.home, lambda: None)
    try:
        await child.start()
        if not await child.wait_until_ready():
            raise EmbeddedServerError(
                f"An embedder of {model} did not start.",
                hint=f"See {log_file(settings.home, _OWN)}.",
            )
        yield endpoint
    finally:
        await child.stop()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
