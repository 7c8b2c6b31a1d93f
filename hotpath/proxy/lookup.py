"""A timed LRU in front of a question to another process, asked once however many want to know."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar

from ibex.errors import DependencyError
from ibex.lru import TimedLru

_BELIEVED: Final = 3600.0  # seconds
_LIMIT: Final = 3.0  # seconds to wait when there is an answer from before

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lookup(Generic[K, V]):
    """Errors are not kept: the next one who wants to know asks again. While nobody can answer, an
    answer from before is believed: what PostgreSQL does not take cannot have changed in it."""

    def __init__(self, size: int, ttl: float) -> None:
        self.known: TimedLru[K, V] = TimedLru(size, ttl)
        self._before: TimedLru[K, V] = TimedLru(size, max(ttl, _BELIEVED))
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        value = self.known.get(key)
        if value is not None:
            return value
        before = self._before.get(key)
        try:
            async with asyncio.timeout(None if before is None else _LIMIT):
                # One who stops waiting does not stop the answer for the others.
                return await asyncio.shield(self._ask(key, ask))
        except (DependencyError, TimeoutError):
            if before is None:
                raise
            self.known.put(key, before)
            return before

    def warm(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Have it known soon, without waiting."""
        if self.known.get(key) is None:
            self._ask(key, ask)

    def forget(self, unwanted: Callable[[V], bool] | None = None) -> None:
        """Drop what `unwanted` picks, or everything; an answer under way is not kept either."""
        self._asked.clear()
        for kept in (self.known, self._before):
            if unwanted is None:
                kept.clear()
            else:
                kept.drop(unwanted)

    def _ask(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        task = self._asked.get(key)
        if task is None:
            task = asyncio.create_task(ask())
            self._asked[key] = task
            task.add_done_callback(lambda done: self._keep(key, done))
        return task

    def _keep(self, key: K, task: asyncio.Task[V]) -> None:
        current = self._asked.get(key) is task
        if current:
            del self._asked[key]
        if not task.cancelled() and task.exception() is None and current:
            self.known.put(key, task.result())
            self._before.put(key, task.result())
