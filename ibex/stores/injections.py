"""What was put into requests: the record of each in PostgreSQL, and the log of each session.

The log (see ibex/memory/pinning.py) is what the next request of the session starts from. It is
valid as soon as a request is assembled, so it is written to Redis before the request goes on, but
for a session that begins with it, which no other request knows: of that one Redis is told a moment
later, together with others. The record, with the same decisions, follows with the turn. Redis is a
cache: a log that it has lost, or could not be told of, is made again from the records.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgpack
import orjson
import redis.asyncio
from redis.exceptions import RedisError

from ibex.errors import CacheUnavailableError
from ibex.ids import new_id
from ibex.lru import TimedLru
from ibex.memory.model import ScoreParts
from ibex.memory.pinning import Decision, Log, Pinned
from ibex.stores import keys
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("injections")

TTL: Final = 86_400  # seconds
_UNTOLD: Final = 10_000  # sessions whose log in Redis is known to lack something
_BEHIND: Final = 0.05  # seconds that the first decisions of a session wait for those of others
_LOG = logging.getLogger("ibex.injections")

# KEYS[1]: the log. ARGV: seconds to live, then triples: "new" or "corrected", anchor, decision.
# A new decision is made once; who comes later gets the one that was made.
_DECIDE: Final = """
local made = {}
for i = 2, #ARGV, 3 do
  if ARGV[i] == 'corrected' then
    redis.call('HSET', KEYS[1], ARGV[i + 1], ARGV[i + 2])
  else
    redis.call('HSETNX', KEYS[1], ARGV[i + 1], ARGV[i + 2])
  end
  made[#made + 1] = redis.call('HGET', KEYS[1], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return made
"""


#: A JSON array of nothing.
EMPTY: Final = b"[]"


@dataclass(frozen=True)
class Injection:
    """What was put into one request: ids and figures, never content. The bytes are JSON arrays, as
    `InjectionRecord` of context.proto describes them."""

    memories: bytes = field(repr=False)
    directive_version: int | None
    position: int  # of the first insertion among the client's messages
    tokens: int
    sha256: bytes = field(repr=False)
    insertions: bytes = field(default=EMPTY, repr=False)
    dropped: bytes = field(default=EMPTY, repr=False)
    decisions: bytes = field(default=EMPTY, repr=False)
    degraded: Sequence[str] = ()


def named_parts(recorded: Mapping[str, float] | Sequence[float] | None) -> dict[str, float]:
    """The parts of a score by name; they are recorded in the order of `ScoreParts`, and were by
    name in earlier records."""
    if not recorded:
        return {}
    if isinstance(recorded, Mapping):
        return dict(recorded)
    return dict(zip(ScoreParts._fields, recorded, strict=True))


async def add_injection(
    connection: Connection, org_id: UUID, session_id: UUID, request_id: str, injection: Injection
) -> None:
    """Once a request. Inside the caller's transaction; nothing when the session is unknown."""
    await connection.execute(
        _SQL["record"], org_id, request_id, session_id, *injection_columns(injection)
    )


def injection_columns(injection: Injection | None) -> tuple[Any, ...]:
    """A new id and what follows it in a row; all of them None without an injection."""
    if injection is None:
        return (None,) * 10
    return (
        new_id(),
        orjson.Fragment(injection.memories),
        injection.directive_version,
        injection.position,
        injection.tokens,
        injection.sha256,
        orjson.Fragment(injection.insertions),
        orjson.Fragment(injection.dropped),
        orjson.Fragment(injection.decisions),
        list(injection.degraded),
    )


class InjectionLog:
    def __init__(self, client: redis.asyncio.Redis, database: Database) -> None:
        """The client's own time-outs are the deadline of each call to Redis."""
        self._client = client
        self._database = database
        self._decide = client.register_script(_DECIDE)
        self._untold: TimedLru[str, bool] = TimedLru(_UNTOLD, TTL)
        self._begun: dict[str, Log] = {}  # of which Redis is told in a moment
        self._telling: asyncio.Task[None] | None = None

    async def read(self, org_id: UUID, session_id: UUID) -> Log:
        """The decisions by anchor of a session that has turns.

        Raises DatabaseUnavailableError when Redis has nothing and PostgreSQL does not answer.
        """
        key = keys.injections(org_id, session_id)
        if (begun := self._begun.get(key)) is not None:
            return begun
        packed: Mapping[Any, Any] = {}
        try:
            if not self._untold.get(key):
                packed = await self._client.hgetall(key)
        except (RedisError, OSError):
            pass  # Redis is a cache
        if packed:
            return {anchor: _unpack(anchor, value) for anchor, value in packed.items()}
        log = await self._from_database(org_id, session_id)
        if log:
            await self._restore(key, log)
        return log

    async def decide(
        self, org_id: UUID, session_id: UUID, new: Sequence[Decision], corrected: Sequence[Decision]
    ) -> dict[bytes, Decision]:
        """What is decided now, by anchor: of the new ones, what somebody else decided before.

        Raises CacheUnavailableError; then the next request starts from what is recorded.
        """
        key = keys.injections(org_id, session_id)
        begun = self._begun.get(key, {}).values()
        try:
            made = await self._decide(keys=[key], args=_arguments((*begun, *new), corrected))
        except (RedisError, OSError) as error:
            self._untold.put(key, True)
            raise CacheUnavailableError(
                f"Redis does not answer ({type(error).__name__})."
            ) from error
        anchors = [decision.anchor for decision in (*begun, *new, *corrected)]
        return {anchor: _unpack(anchor, value) for anchor, value in zip(anchors, made, strict=True)}

    def begin(self, org_id: UUID, session_id: UUID, new: Sequence[Decision]) -> None:
        """The first decisions of a session that no other request can know of: they hold."""
        self._begun[keys.injections(org_id, session_id)] = {one.anchor: one for one in new}
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(), name="session-logs")
            self._telling.add_done_callback(self._told)

    async def close(self) -> None:
        """Wait until Redis knows of every session that has begun, or has failed to."""
        if self._telling is not None:
            await asyncio.wait({self._telling})

    async def _tell(self) -> None:
        while self._begun:
            await asyncio.sleep(_BEHIND)
            some = dict(self._begun)
            try:
                async with self._client.pipeline(transaction=False) as pipeline:
                    for key, log in some.items():
                        await self._decide(
                            keys=[key], args=_arguments(log.values()), client=pipeline
                        )
                    await pipeline.execute()
            except (RedisError, OSError):
                for key in some:
                    self._untold.put(key, True)
            for key in some:
                del self._begun[key]

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling = None
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("telling Redis of new sessions failed: %s", type(error).__name__)

    async def _from_database(self, org_id: UUID, session_id: UUID) -> Log:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["decisions"], org_id, session_id)
        return folded(row["decisions"] for row in rows)

    async def _restore(self, key: str, log: Log) -> None:
        try:
            await self._decide(keys=[key], args=_arguments(log.values()))
        except (RedisError, OSError):
            self._untold.put(key, True)  # the next reader asks PostgreSQL again
        else:
            self._untold.put(key, False)


@dataclass(frozen=True)
class StoredInjection:
    request_id: str
    agent_id: UUID
    session_id: UUID
    memories: Sequence[Mapping[str, Any]]
    directive_version: int | None
    position: int
    tokens: int
    sha256: bytes = field(repr=False)
    insertions: Sequence[Mapping[str, Any]]
    dropped: Sequence[Mapping[str, Any]]
    degraded: Sequence[str]
    created_at: datetime
    observations: Sequence[
        Mapping[str, Any]
    ]  # what its answer tells, see ibex/memory/usefulness.py
    model: str | None  # None: the turn is not stored
    directive: str | None = field(repr=False)  # of that version


@dataclass(frozen=True)
class SaidVersion:
    """What a memory said at one of its versions."""

    memory_id: UUID
    version: int
    content: str = field(repr=False)
    category: str
    valid_from: datetime
    status: str | None  # of the memory now; None: it is gone
    valid_to: datetime | None
    current_version: int | None

    @property
    def state(self) -> str:
        """What has become of it."""
        if self.status is None:
            return "gone"
        if self.valid_to is not None:
            return "superseded"
        if self.status != "active":
            return self.status
        return "in force" if self.current_version == self.version else "changed"


class InjectionReader:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def injection(self, org_id: UUID, request_id: str) -> StoredInjection | None:
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["injection"], org_id, request_id)
        return StoredInjection(**row) if row else None

    async def given(self, org_id: UUID, session_id: UUID, after: int = 0) -> dict[int, list[str]]:
        """What the memories said that the turns of a session were given, by turn; those of turns
        up to `after` and what is erased left out."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["given"], org_id, session_id, after)
        found: dict[int, list[str]] = {}
        for row in rows:
            found.setdefault(row["number"], []).append(row["content"])
        return found

    async def versions(
        self, org_id: UUID, wanted: Sequence[tuple[UUID, int]]
    ) -> dict[tuple[UUID, int], SaidVersion]:
        """By memory and version; those that are erased are left out."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["versions"],
                org_id,
                [memory_id for memory_id, _ in wanted],
                [version for _, version in wanted],
            )
        return {(row["memory_id"], row["version"]): SaidVersion(**row) for row in rows}


def folded(records: Iterable[Sequence[Mapping[str, Any]]]) -> Log:
    """The log that these records, the oldest first, make together."""
    log: dict[bytes, Decision] = {}
    for record in records:
        for one in record:
            anchor = bytes.fromhex(one["anchor"])
            log[anchor] = Decision(
                one["place"],
                anchor,
                tuple(_pinned(memory) for memory in one["memories"]),
            )
    return log


def _pinned(recorded: Mapping[str, Any] | Sequence[Any]) -> Pinned:
    """Earlier records name the values."""
    if isinstance(recorded, Mapping):
        recorded = (recorded["memory_id"], recorded["version"], recorded["digest"])
    memory_id, version, digest = recorded
    return Pinned(UUID(memory_id), version, bytes.fromhex(digest))


def _arguments(
    new: Iterable[Decision], corrected: Iterable[Decision] = ()
) -> list[bytes | str | int]:
    """Of the script."""
    values: list[bytes | str | int] = [TTL]
    for kind, decisions in (("new", new), ("corrected", corrected)):
        for decision in decisions:
            values += [kind, decision.anchor, _pack(decision)]
    return values


def _pack(decision: Decision) -> bytes:
    memories = [(one.id.bytes, one.version, one.digest) for one in decision.memories]
    packed: bytes = msgpack.packb((decision.place, memories))
    return packed


def _unpack(anchor: bytes, packed: bytes) -> Decision:
    place, memories = msgpack.unpackb(packed)
    return Decision(
        place,
        anchor,
        tuple(Pinned(UUID(bytes=id_), version, digest) for id_, version, digest in memories),
    )
