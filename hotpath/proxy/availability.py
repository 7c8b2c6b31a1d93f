"""Whether PostgreSQL answers, as far as this process has seen.

Whoever finds it away says so, and nobody else waits for it until it has answered again: a server
that hangs would hold up every request.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from ibex.errors import DatabaseUnavailableError
from ibex.stores.postgres import Database

_FRESH: Final = 1.0  # seconds for which PostgreSQL is taken to answer still
_LIMIT: Final = 3.0  # seconds for an answer


T = TypeVar("T")


class Availability:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._answered_at = -_FRESH
        self.away = False
        self.seen = False  # it has answered at least once
        self._late: set[asyncio.Task[Any]] = set()

    def answered(self) -> None:
        self._answered_at, self.away, self.seen = time.monotonic(), False, True

    def lost(self) -> None:
        self._answered_at, self.away = -_FRESH, True

    @property
    def fresh(self) -> bool:
        return not self.away and time.monotonic() - self._answered_at < _FRESH

    async def within(self, question: Coroutine[Any, Any, T]) -> T:
        """The answer. Raises DatabaseUnavailableError, also when it takes too long: what is asked
        then goes on by itself, because a connection that hangs cannot even be given back."""
        asking = asyncio.create_task(question)
        try:
            done, _ = await asyncio.wait({asking}, timeout=_LIMIT)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if done:
            return asking.result()
        self._late.add(asking)
        asking.add_done_callback(self._forget)
        raise DatabaseUnavailableError

    def _forget(self, late: "asyncio.Task[Any]") -> None:
        self._late.discard(late)
        if not late.cancelled():
            late.exception()

    async def ask(self) -> bool:
        """Ask it now."""
        try:
            answers = await self.within(self._database.answers())
        except DatabaseUnavailableError:
            answers = False
        if answers:
            self.answered()
        else:
            self.lost()
        return answers
