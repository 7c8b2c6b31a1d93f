"""Brings spooled turns to PostgreSQL: what a dead process left, and what an outage held back."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from hotpath.proxy.availability import Availability
from ibex.errors import DatabaseUnavailableError
from ibex.spool import Spool, SpoolStatus
from ibex.spooled_turns import decode_turn
from ibex.stores.identity import IdentityStore
from ibex.stores.sessions import SessionStore

_log = logging.getLogger("ibex.proxy")

_PAUSE: Final = 0.5  # seconds between two looks


class Drainer:
    def __init__(
        self,
        spool: Spool,
        sessions: SessionStore,
        identity: IdentityStore,
        availability: Availability,
    ) -> None:
        self._spool = spool
        self._sessions = sessions
        self._identity = identity
        self._availability = availability
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="drainer")

    async def close(self, limit: float) -> None:
        """Drain what can be drained within `limit` seconds; the next start does the rest."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        try:
            async with asyncio.timeout(limit):
                await self._once()
        except (TimeoutError, OSError):
            _log.warning("the spool is not empty yet")
        await self._spool.close()

    def status(self) -> SpoolStatus:
        return self._spool.status()

    async def _run(self) -> None:
        while True:
            try:
                await self._once()
            except Exception as error:  # noqa: BLE001  the next look may find it better
                _log.error("the spool was not drained: %s", type(error).__name__)
            await asyncio.sleep(_PAUSE)

    async def _once(self) -> None:
        if self._spool.empty and not self._availability.away:
            return
        if not await self._availability.ask():
            return
        before = self._spool.status()
        try:
            while not self._spool.empty and await self._spool.drain(self._store):
                pass
        except DatabaseUnavailableError:
            self._availability.lost()
        after = self._spool.status()
        if after.drained > before.drained:
            _log.info(
                "%d spooled turns are stored, %d wait",
                after.drained - before.drained,
                after.pending,
            )

    async def _store(self, payload: bytes) -> None:
        spooled = decode_turn(payload)
        turn, opened = spooled.turn, spooled.turn.opened
        if opened is None:
            raise ValueError("The spooled turn has no session.")
        if spooled.user is not None:
            user_id = await self._identity.user(opened.org_id, spooled.user)
            opened = replace(opened, user_id=user_id)
        if opened.external_id is not None:
            session = await self._sessions.open_session(
                opened.org_id, opened.agent_id, opened.user_id, opened.external_id
            )
            turn = replace(turn, session_id=session.id, opened=session)
        else:
            turn = replace(turn, opened=opened)
        await self._sessions.record_turn(turn)
