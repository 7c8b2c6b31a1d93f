"""What a session was given before, and what it is given from now on, inside the request's deadline.

A log that does not come in time is not guessed. Then the request goes without memories (with the
directive), nothing is decided, and `pinned` is named among what is degraded: the next request finds
the log, and the provider its cache, as they were. A memory of the log that cannot be looked up goes
in only when this request's own recall has just found it.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

from ibex.errors import IbexError
from ibex.memory.model import Candidate
from ibex.memory.pinning import Decision, Log, Spoken, remembered
from ibex.stores.injections import InjectionLog
from ibex.stores.memories import MemoryReader

T = TypeVar("T")

_LEAST: Final = 0.002  # seconds for the log to be told, however late it is
_LOG = logging.getLogger("ibex.recall")


@dataclass(frozen=True)
class Owner:
    org_id: UUID
    agent_id: UUID
    user_id: UUID | None
    session_id: UUID


@dataclass(frozen=True)
class Before:
    log: Log
    memories: tuple[Candidate, ...] = ()  # of the log, those in force
    arrived: bool = True
    verified: bool = True  # every memory of the log was looked up
    may_add: bool = True
    milliseconds: float = 0.0


NOTHING: Final = Before({})


class SessionMemory:
    def __init__(self, log: InjectionLog, memories: MemoryReader, *, deadline: float) -> None:
        """`deadline` in seconds, for each request."""
        self._log = log
        self._memories = memories
        self._deadline = deadline
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def before(self, owner: Owner, messages: Sequence[Spoken]) -> Before:
        """Never raises for what does not answer."""
        began = time.perf_counter()
        log = await self._within(self._log.read(owner.org_id, owner.session_id), self._deadline)
        if log is None:
            return Before({}, arrived=False, may_add=False)
        ids = remembered(log, messages)
        found: Sequence[Candidate] | None = ()
        if ids:
            left = self._deadline - (time.perf_counter() - began)
            found = await self.look_up(owner, ids, left)
        return Before(
            log,
            tuple(found or ()),
            arrived=found is not None,
            verified=found is not None,
            may_add=found is not None,
            milliseconds=(time.perf_counter() - began) * 1000,
        )

    async def look_up(
        self, owner: Owner, ids: Sequence[UUID], limit: float
    ) -> Sequence[Candidate] | None:
        """None when they do not come within `limit` seconds."""
        return await self._within(
            self._memories.in_force(owner.org_id, owner.agent_id, owner.user_id, ids), limit
        )

    async def decide(
        self,
        owner: Owner,
        new: Sequence[Decision],
        corrected: Sequence[Decision],
        left: float,
    ) -> dict[bytes, Decision]:
        """What is decided now, by anchor. `left`: seconds of the request's deadline. When Redis is
        late the request's own decisions are taken to hold; the record makes them good."""
        decided = await self._within(
            self._log.decide(owner.org_id, owner.session_id, new, corrected),
            max(left, _LEAST),
            cancel=False,
        )
        return decided or {one.anchor: one for one in (*new, *corrected)}

    def begin(self, owner: Owner, new: Sequence[Decision]) -> None:
        """As `decide`, for a session that begins with this request: nobody else decides."""
        self._log.begin(owner.org_id, owner.session_id, new)

    async def close(self) -> None:
        """End what still runs in the background."""
        await self._log.close()
        for task in self._unfinished:
            task.cancel()
        await asyncio.gather(*self._unfinished, return_exceptions=True)

    async def _within(
        self, work: Coroutine[Any, Any, T], limit: float, *, cancel: bool = True
    ) -> T | None:
        """None when it fails or is late; late work is cancelled without waiting for it."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=max(limit, 0.0))
        finally:
            if not task.done():
                self._unfinished.add(task)
                task.add_done_callback(self._finished)
                if cancel:
                    task.cancel()
            elif not task.cancelled():
                task.exception()  # looked at, also when nobody waits for the answer any more
        if not task.done() or task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, IbexError):
            _LOG.error("the session's log failed: %s", type(error).__name__)
        return None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOG.warning("the session's log failed: %s", type(error).__name__)
