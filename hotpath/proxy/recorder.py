"""Stores a request's turn once, whichever way the request ends.

A whole answer is committed before its last byte goes out, so nothing that a client has received in
full is lost. An answer that was cut off (the provider broke off, the client went away) is stored as
far as it got and marked incomplete. An error answer of the provider is not a turn: the client was
told, and will ask again.

While PostgreSQL is away a turn goes to the spool on the local disk, and the last byte goes out once
it is there. So do the later turns of a session until its earlier ones are drained. A request whose
turn would find no room is answered with 503 before it is sent on: to answer and not to remember
would break the promise, and nobody pays a provider for an answer that must be thrown away.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from hotpath.proxy.answers import Answer
from hotpath.proxy.availability import Availability
from hotpath.proxy.background import Background
from hotpath.proxy.known import KnownSessions
from ibex.errors import DatabaseUnavailableError, SpoolFullError
from ibex.metrics import counter
from ibex.sessions import NewTurn, RecordedTurn, Session, advanced
from ibex.spool import Spool
from ibex.spooled_turns import encode_turn, key_of
from ibex.stores.sessions import SessionStore

_log = logging.getLogger("ibex.proxy")
_TURNS: Final = counter(
    "ibex_proxy_turns_recorded_total", "Turns stored in PostgreSQL.", ("complete",)
)
_SPOOLED: Final = counter(
    "ibex_proxy_turns_spooled_total", "Turns that wait on the local disk for PostgreSQL."
)
_FAILURES: Final = counter("ibex_proxy_record_failures_total", "Turns that could not be stored.")

_LIMIT: Final = 5.0  # seconds for PostgreSQL to store a turn
Draft = Callable[[Answer, bool], NewTurn]


class Recorder:
    def __init__(
        self,
        sessions: SessionStore,
        known: KnownSessions,
        availability: Availability,
        spool: Spool,
        background: Background,
    ) -> None:
        self._sessions = sessions
        self._known = known
        self._availability = availability
        self._spool = spool
        self._background = background

    async def ensure_available(self) -> None:
        """Raises SpoolFullError when a turn could not be kept now."""
        available = self._availability
        if not available.fresh and (available.away or not await available.ask()):
            if not self._spool.accepts():
                raise SpoolFullError
        elif not self._spool.empty and not self._spool.accepts():
            raise SpoolFullError(
                "The spool has no room while its turns are being stored.",
                hint="Try again shortly.",
            )

    def begin(self, turn: NewTurn, user: str | None = None) -> "asyncio.Task[None]":
        """Goes on when whoever waits for it is cancelled. `user` is the application's id of a user
        whom PostgreSQL could not be asked for."""
        return self._background.run(self._record(turn, user), f"turn of {turn.request_id}")

    async def _record(self, turn: NewTurn, user: str | None) -> None:
        opened = turn.opened
        if opened is None:
            raise ValueError("A turn of the proxy has a session.")
        session = None
        if user is None and not self._availability.away and not self._spool.holds(key_of(opened)):
            session = await self._store(turn)
        if session is None:
            await self._keep(turn, opened, user)
            session = advanced(opened, turn)
        self._known.recorded(session)

    async def _store(self, turn: NewTurn) -> Session | None:
        """None when PostgreSQL is away. A commit that gets through without our seeing it, or late,
        changes nothing when the turn is drained."""
        storing = self._background.run(
            self._sessions.record_turn(turn), f"storing of {turn.request_id}"
        )
        done, _ = await asyncio.wait({storing}, timeout=_LIMIT)
        if not done:
            self._availability.lost()
            return None
        try:
            recorded: RecordedTurn = storing.result()
        except DatabaseUnavailableError:
            self._availability.lost()
            return None
        self._availability.answered()
        _TURNS.labels("true" if turn.complete else "false").inc()
        return recorded.session

    async def _keep(self, turn: NewTurn, opened: Session, user: str | None) -> None:
        try:
            await self._spool.append(key_of(opened), encode_turn(turn, opened, user))
        except SpoolFullError:
            _FAILURES.inc()
            _log.error("request %s: the turn could not be stored", turn.request_id)
            raise
        _SPOOLED.inc()


class TurnKeeper:
    """Of one request. Without a draft it keeps nothing: the client wants it so."""

    def __init__(self, recorder: Recorder, draft: Draft | None, user: str | None = None) -> None:
        """`user` as for `Recorder.begin`."""
        self._recorder = recorder
        self._draft = draft
        self._user = user

    @property
    def kept_nothing(self) -> bool:
        return self._draft is not None

    async def commit(self, answer: Answer, *, complete: bool) -> None:
        """Wait until it is stored; what has begun to be stored is. Raises SpoolFullError."""
        draft, self._draft = self._draft, None
        if draft is not None:
            await asyncio.shield(self._recorder.begin(draft(answer, complete), self._user))

    def abandon(self, answer: Answer, *, complete: bool) -> None:
        """The client is gone: store what there is without keeping anybody waiting."""
        draft, self._draft = self._draft, None
        if draft is not None:
            self._recorder.begin(draft(answer, complete), self._user)
