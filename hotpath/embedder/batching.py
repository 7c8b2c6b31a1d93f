"""Texts of concurrent callers, encoded together by the few threads that may run the model.

A batch is bounded by its padded size, so that it takes about the time of one long text: that is
how long a short query waits at most for the one before. Small requests (a query of the assembler)
go before large ones (the pipeline) and never with them; every fourth batch is a large one's turn.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from hotpath.embedder.model import Embedding, Encode
from ibex.errors import EmbedderUnavailableError
from ibex.metrics import counter

QUEUE_LIMIT: Final = 4096  # texts waiting
_BATCH_TEXTS: Final = 32
_BATCH_CHARACTERS: Final = 1024  # texts times the longest of them; about 256 tokens
_SMALL_REQUEST: Final = 8  # texts
_FAIR_SHARE: Final = 4  # of so many batches one is a large request's
_BATCHES: Final = counter("ibex_embedder_batches_total", "Runs of the model.")


@dataclass(frozen=True, eq=False)
class Waiting:
    text: str = field(repr=False)
    result: asyncio.Future[Embedding] = field(repr=False)


class Batcher:
    def __init__(self, encode: Encode, executor: ThreadPoolExecutor, threads: int = 1) -> None:
        """`executor` has so many threads; `encode` runs there and nowhere else."""
        self.batches = 0
        self._encode = encode
        self._executor = executor
        self._threads = threads
        self._small: deque[Waiting] = deque()
        self._large: deque[Waiting] = deque()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        """Texts that wait for a batch."""
        return len(self._small) + len(self._large)

    async def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """Raises EmbedderUnavailableError at once when the queue has no room for all of them."""
        if not texts:
            return []
        if self.queued + len(texts) > QUEUE_LIMIT:
            raise EmbedderUnavailableError(
                "The embedding service is busy: its queue is full.", hint="Try again in a second."
            )
        loop = asyncio.get_running_loop()
        waiting = [Waiting(text, loop.create_future()) for text in texts]
        lane = self._small if len(texts) <= _SMALL_REQUEST else self._large
        # Texts of one length share a batch, where nothing is spent on padding.
        lane.extend(sorted(waiting, key=lambda one: len(one.text)))
        self._start()
        # When the caller leaves, gather cancels what is waiting, and no batch takes it.
        return list(await asyncio.gather(*(one.result for one in waiting)))

    def _start(self) -> None:
        """One more run, when a thread is free."""
        if len(self._running) < self._threads:
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        """Batch after batch until nobody waits."""
        loop = asyncio.get_running_loop()
        while batch := self._next():
            if self.queued:
                self._start()
            self.batches += 1
            _BATCHES.inc()
            texts = [one.text for one in batch]
            try:
                embeddings = await loop.run_in_executor(self._executor, self._encode, texts)
            except Exception as error:  # noqa: BLE001  handed to every caller of this batch
                for one in batch:
                    if not one.result.done():
                        one.result.set_exception(error)
                continue
            for one, embedding in zip(batch, embeddings, strict=True):
                if not one.result.done():
                    one.result.set_result(embedding)

    def _next(self) -> list[Waiting]:
        if self.batches % _FAIR_SHARE == _FAIR_SHARE - 1:
            return take(self._large) or take(self._small)
        return take(self._small) or take(self._large)


def take(lane: deque[Waiting]) -> list[Waiting]:
    """The next batch, taken off the lane; empty when nobody waits there any more."""
    batch: list[Waiting] = []
    longest = 0
    while lane and len(batch) < _BATCH_TEXTS:
        if lane[0].result.done():  # its caller left
            lane.popleft()
            continue
        longest = max(longest, len(lane[0].text))
        if batch and longest * (len(batch) + 1) > _BATCH_CHARACTERS:
            break
        batch.append(lane.popleft())
    return batch
