"""Texts of concurrent callers, encoded together by the few threads that may run the model.

A batch is bounded by its padded size, so that it takes about the time of one long text: that is
how long a short query waits at most for the one before. Questions (small requests) go before large
requests, these before background work (what says that nobody waits for it), and no batch is of two
kinds; in turns of four, a large request and the background are first once. While questions come,
the background has one thread, works in small batches and rests in between: on few cores, what it
takes is taken from the requests themselves.
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
_TURNS: Final = 4  # batches
_TURN_OF_LARGE: Final = 2
_TURN_OF_BACKGROUND: Final = 3
_BESIDE_QUESTIONS: Final = 384  # the same, of background work while questions come
_REST: Final = 6.0  # times as long as the batch before took
_LATELY: Final = 0.1  # seconds since the last question
_BATCHES: Final = counter("ibex_embedder_batches_total", "Runs of the model.")


@dataclass(frozen=True, eq=False)
class Waiting:
    text: str = field(repr=False)
    result: asyncio.Future[Embedding] = field(repr=False)


@dataclass(frozen=True)
class Batch:
    waiting: list[Waiting]
    background: bool


class Batcher:
    def __init__(
        self,
        encode: Encode,
        executor: ThreadPoolExecutor,
        threads: int = 1,
        *,
        background: ThreadPoolExecutor | None = None,
    ) -> None:
        """`executor` has so many threads, and so has `background`, for work that nobody waits for;
        None: `executor` does that too. `encode` runs there and nowhere else."""
        self.batches = 0
        self._encode = encode
        self._executor = executor
        self._background_executor = background or executor
        self._threads = threads
        self._questions: deque[Waiting] = deque()
        self._large: deque[Waiting] = deque()
        self._background: deque[Waiting] = deque()
        self._background_runs = 0  # batches; while it rests the last one counts as running
        self._asked_at = 0.0  # when the last question came, on the loop's clock
        self._running: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        """Texts that wait for a batch."""
        return len(self._questions) + len(self._large) + len(self._background)

    async def encode(self, texts: Sequence[str], *, background: bool = False) -> list[Embedding]:
        """`background`: nobody waits for it, however small it is.

        Raises EmbedderUnavailableError at once when the queue has no room for all of them.
        """
        if not texts:
            return []
        if self.queued + len(texts) > QUEUE_LIMIT:
            raise EmbedderUnavailableError(
                "The embedding service is busy: its queue is full.", hint="Try again in a second."
            )
        loop = asyncio.get_running_loop()
        waiting = [Waiting(text, loop.create_future()) for text in texts]
        if background:
            lane = self._background
        elif len(texts) > _SMALL_REQUEST:
            lane = self._large
        else:
            lane, self._asked_at = self._questions, loop.time()
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
        """Batch after batch until nobody waits, or only what may not run now."""
        while batch := self._next():
            if self.queued:
                self._start()
            if batch.background:
                await self._work_and_rest(batch)
            else:
                await self._compute(batch)

    async def _work_and_rest(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._compute(batch)
        if self._asked_lately():
            loop.call_later((loop.time() - started) * _REST, self._rested)
        else:
            self._rested()

    def _rested(self) -> None:
        self._background_runs -= 1
        if self._background:
            self._start()

    def _asked_lately(self) -> bool:
        since = asyncio.get_running_loop().time() - self._asked_at
        return self._asked_at > 0 and since < _LATELY

    async def _compute(self, batch: Batch) -> None:
        self.batches += 1
        _BATCHES.inc()
        loop = asyncio.get_running_loop()
        texts = [one.text for one in batch.waiting]
        try:
            executor = self._background_executor if batch.background else self._executor
            embeddings = await loop.run_in_executor(executor, self._encode, texts)
        except Exception as error:  # noqa: BLE001  handed to every caller of this batch
            for one in batch.waiting:
                if not one.result.done():
                    one.result.set_exception(error)
            return
        for one, embedding in zip(batch.waiting, embeddings, strict=True):
            if not one.result.done():
                one.result.set_result(embedding)

    def _next(self) -> Batch | None:
        turn = self.batches % _TURNS
        first, second = self._questions, self._large
        if turn == _TURN_OF_LARGE:
            first, second = second, first
        elif turn == _TURN_OF_BACKGROUND and (batch := self._next_background()):
            return batch
        if waiting := take(first) or take(second):
            return Batch(waiting, background=False)
        return self._next_background()

    def _next_background(self) -> Batch | None:
        asked = self._asked_lately()
        if self._background_runs >= (1 if asked else self._threads):
            return None
        waiting = take(self._background, _BESIDE_QUESTIONS if asked else _BATCH_CHARACTERS)
        if not waiting:
            return None
        self._background_runs += 1
        return Batch(waiting, background=True)


def take(lane: deque[Waiting], characters: int = _BATCH_CHARACTERS) -> list[Waiting]:
    """The next batch, taken off the lane; empty when nobody waits there any more. `characters`:
    the bound on its texts times the longest of them, for more than one text."""
    batch: list[Waiting] = []
    longest = 0
    while lane and len(batch) < _BATCH_TEXTS:
        if lane[0].result.done():  # its caller left
            lane.popleft()
            continue
        longest = max(longest, len(lane[0].text))
        if batch and longest * (len(batch) + 1) > characters:
            break
        batch.append(lane.popleft())
    return batch
