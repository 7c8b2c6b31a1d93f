"""The indexes of the agents that were asked for last, and how they stay true to PostgreSQL.

An index is loaded behind the requests of its agent, which are answered from PostgreSQL until it is
there. A request that finds it looked at longer than 0.25 s ago has the changes read behind it; one
that finds it 0.8 s old waits for them. So what was written a second ago is found, what was deleted
is not, and no message has to arrive for that. `memory_changes` tells what changed.

While there is room, an agent's first request begins its load. Once some had to go, an agent has to
be asked for a few times in a minute first: where many agents are asked for now and then, each would
otherwise push another out, and loading would cost more than the searches.

When PostgreSQL refuses, an index serves for a minute more: nothing can change there meanwhile.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np

from ibex.errors import DatabaseUnavailableError
from ibex.memory.index import MemoryIndex, Remembered
from ibex.memory.model import NO_VECTOR, Category, Found, Ranked, Vector
from ibex.memory.threads import Place
from ibex.settings import DEFAULT_EMBEDDING_MODEL
from ibex.stores.hot import SIZE
from ibex.stores.memories import SEARCH_WIDTH
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("index")
_LOG = logging.getLogger("ibex.index")

# Seconds since the last look at the changes: from when on they are read behind a request, and when
# a request waits for them.
BEHIND: Final = 0.25
LATE: Final = 0.8
#: How long an index serves without a look when PostgreSQL refuses, s.
UNCHECKED: Final = 60.0
#: Memories that a request chooses from: what two thousand tokens hold, and some more.
RECALLED: Final = 100
#: An index that did not look for so long is loaded anew: changes are kept for an hour.
FORGOTTEN: Final = 1800.0
RETRY: Final = 1.0  # seconds after a failed load
TOO_LARGE_FOR: Final = 60.0  # seconds until a too large agent is counted again
#: Where there is no room left: requests, and within how many seconds, that let others go for it.
WANTED: Final = 5
WANTED_WITHIN: Final = 60.0

# The request that begins a load is answered before it costs anything.
_HEAD_START: Final = 0.05  # seconds

#: Rows that are taken in at once: 1 to 3 ms of the interpreter.
_CHUNK: Final = 32
_FETCH: Final = 512
# What a row will take, to know before loading; and what more an episode's, with its neighbours.
_ROW_BYTES: Final = 3000
_EPISODE_BYTES: Final = 2000
_VECTOR_HEADER: Final = 4  # bytes before the numbers in pgvector's binary form

Owner = tuple[UUID, UUID]  # organization, agent


@dataclass
class _Entry:
    index: MemoryIndex | None = None  # None: not loaded
    watermark: int = 0
    seen: frozenset[tuple[UUID, int]] = frozenset()  # changes at or after the watermark
    checked: float = float("-inf")  # when the last look that succeeded began
    not_before: float = float("-inf")  # of the next load
    since: float = float(
        "-inf"
    )  # when it was first asked for without an index, and how often since
    asked: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)  # load or look, one at a time


class Indexed:
    """The memories of one agent, as a request finds them."""

    def __init__(
        self, cache: "IndexCache", owner: Owner, entry: _Entry, index: MemoryIndex
    ) -> None:
        self._cache = cache
        self._owner = owner
        self._entry = entry
        self._index = index

    @property
    def late(self) -> bool:
        """A search would wait for PostgreSQL; the hot list is then better taken from Redis."""
        return self._cache.age(self._entry) >= LATE

    async def search(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        question: str,
        vector: Vector | None,
        *,
        width: int = SEARCH_WIDTH,
    ) -> list[Found]:
        """As `MemoryReader.search`, with term weights. Raises DatabaseUnavailableError when the
        changes could not be read for too long."""
        if (org_id, agent_id) != self._owner:
            raise ValueError("this index belongs to another agent")
        index = await self._cache.settled(self._owner, self._entry)
        found = index.search(user_id, question, vector, width=width)
        now = datetime.now(UTC)
        return [one for one in found if not one.candidate.expired(now)]

    def recall(
        self, user_id: UUID | None, question: str, vector: Vector | None, now: datetime
    ) -> list[Ranked]:
        """As `MemoryIndex.recall`; for who has just seen that it is not `late`."""
        index = self._entry.index or self._index
        ranked = index.recall(user_id, question, vector, now, size=RECALLED, hot=SIZE)
        return [one for one in ranked if not one.candidate.expired(now)]


class IndexCache:
    """For one event loop. Every index is loaded as its own tenant."""

    def __init__(
        self,
        database: Database,
        model: str = DEFAULT_EMBEDDING_MODEL,
        *,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model`: whose vectors are read. `max_bytes` of all indexes together; 0: never load one.
        `clock` in seconds."""
        self._database = database
        self._model = model
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[Owner, _Entry] = OrderedDict()  # used last at the end
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Semaphore(1)
        self._crowded = False  # an index had to go for another

    @property
    def nbytes(self) -> int:
        return sum(entry.index.nbytes for entry in self._entries.values() if entry.index)

    def current(self, org_id: UUID, agent_id: UUID) -> Indexed | None:
        """The agent's index; None while there is none, and then its loading begins."""
        if not self._max_bytes:
            return None
        owner = (org_id, agent_id)
        entry = self._entries.setdefault(owner, _Entry())
        self._entries.move_to_end(owner)
        now = self._clock()
        if now - entry.checked > FORGOTTEN:
            entry.index = None
        if entry.index is None:
            wanted = _wanted(entry, now) or not self._crowded
            if entry.task is None and now >= entry.not_before and wanted:
                self._start(entry, partial(self._load, owner, entry), "load-index")
            return None
        if now - entry.checked >= BEHIND:
            self._look(owner, entry)
        return Indexed(self, owner, entry, entry.index)

    def age(self, entry: _Entry) -> float:
        """Seconds since the last look at the changes."""
        return self._clock() - entry.checked

    async def settled(self, owner: Owner, entry: _Entry) -> MemoryIndex:
        """The index, with every change that was committed `LATE` seconds ago.

        Raises DatabaseUnavailableError when PostgreSQL has refused for too long.
        """
        for _ in range(2):  # the first may have begun before the change that is looked for
            if self.age(entry) >= LATE:
                await asyncio.wait({self._look(owner, entry)})
        if entry.index is None or self.age(entry) >= UNCHECKED:
            raise DatabaseUnavailableError("The changes of an agent's memories cannot be read.")
        return entry.index

    async def close(self) -> None:
        """End what runs in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._entries.clear()

    def _look(self, owner: Owner, entry: _Entry) -> asyncio.Task[None]:
        work = partial(self._follow, owner, entry)
        return entry.task or self._start(entry, work, "follow-changes")

    def _start(
        self, entry: _Entry, work: Callable[[], Coroutine[Any, Any, None]], name: str
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(self._logged(work, name), name=name)
        entry.task = task
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            entry.task = None

        task.add_done_callback(ended)
        return task

    async def _logged(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        try:
            await work()
        except (DatabaseUnavailableError, asyncpg.PostgresError) as error:
            _LOG.warning("%s failed: %s", name, type(error).__name__)

    async def _load(self, owner: Owner, entry: _Entry) -> None:
        entry.not_before = self._clock() + RETRY
        await asyncio.sleep(_HEAD_START)
        async with self._loading:
            began = self._clock()
            async with self._database.tenant(owner[0]) as connection:
                row = await connection.fetchrow(_SQL["watermark"], *owner)
                if row is None or _expected_bytes(row) > self._max_bytes:
                    entry.not_before = began + TOO_LARGE_FOR
                    return
                index = MemoryIndex(row["memories"] + _CHUNK)
                cursor = await connection.cursor(_SQL["every"], *owner, self._model)
                while rows := await cursor.fetch(_CHUNK):
                    await asyncio.to_thread(index.apply, _remembered(rows))
            entry.index = await asyncio.to_thread(index.packed)
            entry.watermark, entry.seen = row["watermark"], frozenset()
            entry.checked = began
        self._make_room()
        _LOG.info(
            "index of %d memories, %.1f MiB, in %.2f s",
            len(index),
            index.nbytes / 2**20,
            self._clock() - began,
        )

    async def _follow(self, owner: Owner, entry: _Entry) -> None:
        """Read what changed since the last look and take it in."""
        index = entry.index
        if index is None:
            return
        began = self._clock()
        rows: list[asyncpg.Record] = []
        async with self._database.tenant(owner[0]) as connection:
            look = await connection.fetchrow(_SQL["changes"], *owner, entry.watermark)
            if look is None or look["watermark"] < entry.watermark:
                entry.index = None  # another server: transactions are counted anew
                return
            changes = frozenset(zip(look["memories"], look["xids"], strict=True))
            changed = list({memory for memory, _ in changes - entry.seen})
            for start in range(0, len(changed), _FETCH):
                some = changed[start : start + _FETCH]
                rows.extend(await connection.fetch(_SQL["some"], *owner, some, self._model))
        if changed:
            index.apply((), set(changed).difference(row["id"] for row in rows))
            for part in _chunks(rows):
                index.apply(_remembered(part))
                await asyncio.sleep(0)
        entry.watermark, entry.checked = look["watermark"], began
        entry.seen = frozenset(one for one in changes if one[1] >= look["watermark"])
        if index.wants_packing:
            entry.index = await asyncio.to_thread(index.packed)
        if changed:
            self._make_room()

    def _make_room(self) -> None:
        """Let the indexes that were used longest ago go until the rest fits."""
        size = self.nbytes
        for owner, entry in list(self._entries.items()):
            if size <= self._max_bytes:
                return
            if entry.index is not None:
                size -= entry.index.nbytes
                entry.index = None
                self._crowded = True
            if entry.task is None:
                del self._entries[owner]


def _wanted(entry: _Entry, now: float) -> bool:
    """Counts this request."""
    if now - entry.since > WANTED_WITHIN:
        entry.since, entry.asked = now, 0
    entry.asked += 1
    return entry.asked >= WANTED


def _chunks(rows: Sequence[asyncpg.Record]) -> Iterable[Sequence[asyncpg.Record]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _remembered(rows: Iterable[asyncpg.Record]) -> list[Remembered]:
    return [
        Remembered(
            id=row["id"],
            user_id=row["user_id"],
            version=row["version"],
            category=Category(row["category"]),
            content=row["content"],
            confidence=row["confidence"],
            usefulness=row["usefulness"],
            access_count=row["access_count"],
            valid_from=row["valid_from"],
            embedding=NO_VECTOR
            if row["embedding"] is None
            else np.frombuffer(row["embedding"], ">f4", offset=_VECTOR_HEADER),
            place=_place(row),
            expires_at=row["expires_at"],
        )
        for row in rows
    ]


def _expected_bytes(row: asyncpg.Record) -> int:
    expected: int = row["memories"] * _ROW_BYTES + row["episodes"] * _EPISODE_BYTES
    return expected


def _place(row: asyncpg.Record) -> Place | None:
    if row["session_id"] is None or row["place"] is None:
        return None
    return Place(row["session_id"], row["user_id"], row["place"])
