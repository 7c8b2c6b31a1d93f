"""What every request of an agent starts from: its directive and its memory budget.

From this process for a moment, then from Redis, and from PostgreSQL when Redis has nothing or does
not answer. A change deletes the key (`Invalidations.directive_changed`); the time to live bounds
what a lost deletion can do.
"""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgpack
import redis.asyncio
from redis.exceptions import RedisError

from ibex.lru import TimedLru
from ibex.stores import keys
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("directives")

TTL: Final = 60  # seconds
#: How long a process goes by what it has just read, s: a change is there within a second.
MOMENT: Final = 0.2
_AGENTS: Final = 10_000


@dataclass(frozen=True)
class Briefing:
    directive: str | None = field(repr=False)
    directive_version: int  # 0: the agent has none
    memory_token_budget: int | None  # None: the deployment's


class DirectiveCache:
    def __init__(self, client: redis.asyncio.Redis, database: Database) -> None:
        """The client's own time-outs are the deadline of each call to Redis."""
        self._client = client
        self._database = database
        self._read: TimedLru[tuple[UUID, UUID], Briefing] = TimedLru(_AGENTS, MOMENT)

    def at_hand(self, org_id: UUID, agent_id: UUID) -> Briefing | None:
        """What was read a moment ago."""
        return self._read.get((org_id, agent_id))

    async def read(self, org_id: UUID, agent_id: UUID) -> Briefing:
        """An agent that does not exist has neither directive nor budget.

        Raises DatabaseUnavailableError when Redis has nothing and PostgreSQL does not answer.
        """
        briefing = self.at_hand(org_id, agent_id)
        if briefing is None:
            briefing = await self._ask(org_id, agent_id)
            self._read.put((org_id, agent_id), briefing)
        return briefing

    async def _ask(self, org_id: UUID, agent_id: UUID) -> Briefing:
        key = keys.directive(org_id, agent_id)
        try:
            packed = await self._client.get(key)
        except (RedisError, OSError):
            return await self._from_database(org_id, agent_id)  # Redis is a cache
        if isinstance(packed, bytes):
            return _unpack(packed)
        briefing = await self._from_database(org_id, agent_id)
        await self._keep(key, briefing)
        return briefing

    async def _from_database(self, org_id: UUID, agent_id: UUID) -> Briefing:
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["briefing"], org_id, agent_id)
        if row is None:
            return Briefing(None, 0, None)
        return Briefing(row["content"], row["version"] or 0, row["memory_token_budget"])

    async def _keep(self, key: str, briefing: Briefing) -> None:
        try:
            await self._client.set(key, _pack(briefing), ex=TTL)
        except (RedisError, OSError):
            return  # the next reader asks PostgreSQL again


def _pack(briefing: Briefing) -> bytes:
    packed: bytes = msgpack.packb(
        {
            "version": briefing.directive_version,
            "content": briefing.directive,
            "memory_token_budget": briefing.memory_token_budget,
        }
    )
    return packed


def _unpack(packed: bytes) -> Briefing:
    value = msgpack.unpackb(packed)
    return Briefing(value["content"], value["version"], value["memory_token_budget"])
