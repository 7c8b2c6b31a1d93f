"""Stores a request's turn once, whichever way the request ends.

A whole answer is committed before its last byte goes out, so nothing that a client has received in
full is lost. An answer that was cut off (the provider broke off, the client went away) is stored as
far as it got and marked incomplete. An error answer of the provider is not a turn: the client was
told, and will ask again.

While PostgreSQL is away a request that would be recorded is answered with 503 before it is sent on:
to answer and not to remember would break the promise, and nobody pays a provider for an answer that
must be thrown away. When it goes away later than that, the end of the answer is withheld. A request
with X-IBEX-Memory: off or read-only needs no PostgreSQL.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from hotpath.proxy.answers import Answer
from hotpath.proxy.background import Background
from ibex.errors import DatabaseUnavailableError
from ibex.metrics import counter
from ibex.stores.postgres import Database
from ibex.stores.sessions import NewTurn, RecordedTurn, SessionStore

_log = logging.getLogger("ibex.proxy")
_TURNS: Final = counter(
    "ibex_proxy_turns_recorded_total", "Turns stored in PostgreSQL.", ("complete",)
)
_RETRIES: Final = counter("ibex_proxy_record_retries_total", "Tries to store a turn anew.")
_FAILURES: Final = counter("ibex_proxy_record_failures_total", "Turns that could not be stored.")

_FRESH: Final = 1.0  # seconds for which PostgreSQL is taken to answer still
_TRIES: Final = 3
_PAUSE: Final = 0.2  # seconds between tries
Draft = Callable[[Answer, bool], NewTurn]


class Recorder:
    def __init__(self, sessions: SessionStore, database: Database, background: Background) -> None:
        self._sessions = sessions
        self._database = database
        self._background = background
        self._answered_at = -_FRESH

    async def ensure_available(self) -> None:
        """Raises DatabaseUnavailableError when a turn could not be stored now."""
        if time.monotonic() - self._answered_at < _FRESH:
            return
        if not await self._database.answers():
            raise DatabaseUnavailableError
        self._answered_at = time.monotonic()

    def begin(self, turn: NewTurn) -> "asyncio.Task[RecordedTurn]":
        """Goes on when whoever waits for it is cancelled."""
        return self._background.run(self._record(turn), f"turn of {turn.request_id}")

    async def _record(self, turn: NewTurn) -> RecordedTurn:
        # A try whose commit got through without our seeing it changes nothing when repeated.
        for left in range(_TRIES - 1, -1, -1):
            try:
                recorded = await self._sessions.record_turn(turn)
            except DatabaseUnavailableError:
                self._answered_at = -_FRESH
                if left == 0:
                    _FAILURES.inc()
                    _log.error("request %s: the turn could not be stored", turn.request_id)
                    raise
                _RETRIES.inc()
                await asyncio.sleep(_PAUSE)
            else:
                break
        self._answered_at = time.monotonic()
        _TURNS.labels("true" if turn.complete else "false").inc()
        return recorded


class TurnKeeper:
    """Of one request. Without a draft it keeps nothing: the client wants it so."""

    def __init__(self, recorder: Recorder, draft: Draft | None) -> None:
        self._recorder = recorder
        self._draft = draft

    async def commit(self, answer: Answer, *, complete: bool) -> None:
        """Wait until it is stored; what has begun to be stored is. Raises
        DatabaseUnavailableError."""
        draft, self._draft = self._draft, None
        if draft is not None:
            await asyncio.shield(self._recorder.begin(draft(answer, complete)))

    def abandon(self, answer: Answer, *, complete: bool) -> None:
        """The client is gone: store what there is without keeping anybody waiting."""
        draft, self._draft = self._draft, None
        if draft is not None:
            self._recorder.begin(draft(answer, complete))
