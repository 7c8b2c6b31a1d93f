"""The hot lists: the memories that matter most before any question is asked.

One list of an agent's own memories and one a user, so that a change to either is one rebuild. A
list is a sorted set (memory id → static score) and a hash (memory id → the packed memory, and the
model of the vectors; a list of another model counts as missing), both with the organization as hash
tag. A reader takes the agent's and the user's list in one round trip;
a refresh replaces a list at once. All of it is a cache: what is missing is rebuilt from PostgreSQL.

Refreshes follow writes, feedback and a schedule, so some meet. Each draws a number before it reads
PostgreSQL, and never replaces a list with a higher number: the one that stays has read what any of
the others was told of.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgpack
import numpy as np
import redis.asyncio
from redis.exceptions import RedisError

from ibex.errors import CacheUnavailableError
from ibex.memory.model import Candidate, Category, Found
from ibex.memory.scoring import static_score
from ibex.settings import DEFAULT_EMBEDDING_MODEL
from ibex.stores import keys
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database

SIZE: Final = 50  # memories of a list, and of what a reader gets
TTL: Final = 86_400  # seconds
_UNPACKED: Final = 5_000  # memories kept as they are used, about 4 KiB each

# KEYS: scores, memories, refreshes. ARGV: number, seconds to live, the model's field and name, then
# triples: member, score, packed (empty: nothing to keep).
_REPLACE: Final = """
local number = tonumber(ARGV[1])
if number < tonumber(redis.call('HGET', KEYS[3], 'shown') or '0') then return 0 end
redis.call('HSET', KEYS[3], 'shown', number)
if number > tonumber(redis.call('HGET', KEYS[3], 'drawn') or '0') then
  redis.call('HSET', KEYS[3], 'drawn', number)
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
for i = 5, #ARGV, 3 do
  redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
  if ARGV[i + 2] ~= '' then redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[2])
return 1
"""

# The only member of a list that is known to be empty, so that it is told from a missing one.
_NOTHING: Final = b"-"
_MODEL: Final = b"model"  # in the hash, beside the memories


@dataclass(frozen=True)
class HotList:
    memories: list[Found]  # best first
    missing: tuple[UUID | None, ...]  # users (None: the agent itself) whose list must be rebuilt


class HotCache:
    def __init__(
        self,
        client: redis.asyncio.Redis,
        database: Database,
        model: str = DEFAULT_EMBEDDING_MODEL,
    ) -> None:
        """The client's own time-outs are the deadline of each call. `model`: whose vectors the
        lists hold."""
        self._client = client
        self._model = model.encode()
        self._memories = MemoryReader(database, model)
        self._replace = client.register_script(_REPLACE)

    async def read(self, org_id: UUID, agent_id: UUID, user_id: UUID | None) -> list[Found]:
        """The 50 best of the agent's own memories and the user's, best first.

        Raises CacheUnavailableError.
        """
        return (await self.lookup(org_id, agent_id, user_id)).memories

    async def lookup(self, org_id: UUID, agent_id: UUID, user_id: UUID | None) -> HotList:
        """`read`, and which lists are missing. Raises CacheUnavailableError."""
        owners = (None,) if user_id is None else (None, user_id)
        pipeline = self._client.pipeline(transaction=True)
        for owner in owners:
            pipeline.zrange(
                keys.hot_scores(org_id, agent_id, owner), 0, -1, desc=True, withscores=True
            )
            pipeline.hgetall(keys.hot_memories(org_id, agent_id, owner))
        answers = await _answered(pipeline.execute())
        ranked: list[tuple[float, bytes, bytes]] = []
        missing: list[UUID | None] = []
        for owner, scores, packed in zip(owners, answers[::2], answers[1::2], strict=True):
            if not scores or packed.get(_MODEL) != self._model:
                missing.append(owner)
                continue
            ranked.extend(
                (-score, member, packed[member]) for member, score in scores if member in packed
            )
        best = sorted(ranked)[:SIZE]
        memories = [Found(_unpack(member, value), 0.0, "hot") for _, member, value in best]
        return HotList(memories, tuple(missing))

    async def held(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None
    ) -> list[Candidate] | None:
        """What the user's own list holds, without a user the agent's, in no order; None: it is
        missing. Raises CacheUnavailableError."""
        name = (org_id, agent_id, user_id)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.zrange(keys.hot_scores(*name), 0, -1)
        pipeline.hgetall(keys.hot_memories(*name))
        members, packed = await _answered(pipeline.execute())
        if not members or packed.get(_MODEL) != self._model:
            return None
        return [_unpack(member, packed[member]) for member in members if member in packed]

    async def refresh(self, org_id: UUID, agent_id: UUID, user_id: UUID | None = None) -> int:
        """Rebuild the user's list, without a user the agent's own; how many memories it has.

        Raises DatabaseUnavailableError and CacheUnavailableError.
        """
        name = (org_id, agent_id, user_id)
        refreshes = keys.hot_refreshes(*name)
        drawing = self._client.pipeline(transaction=True)
        drawing.hincrby(refreshes, "drawn", 1)
        drawing.expire(refreshes, TTL)
        number, _ = await _answered(drawing.execute())
        now = datetime.now(UTC)
        best = await self._memories.best(org_id, agent_id, user_id, SIZE, now)
        values: list[bytes | float] = [number, TTL, _MODEL, self._model]
        for one in best:
            values += [one.id.bytes, static_score(one, now), _pack(one)]
        if not best:
            values += [_NOTHING, 0.0, b""]
        await _answered(
            self._replace(
                keys=[keys.hot_scores(*name), keys.hot_memories(*name), refreshes], args=values
            )
        )
        return len(best)


async def _answered(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except (RedisError, OSError) as error:
        raise CacheUnavailableError(f"Redis does not answer ({type(error).__name__}).") from error


def _pack(memory: Candidate) -> bytes:
    packed: bytes = msgpack.packb(
        (
            memory.version,
            memory.category.value,
            memory.content,
            memory.confidence,
            memory.usefulness,
            memory.access_count,
            memory.valid_from.timestamp(),
            memory.embedding.astype("<f2").tobytes(),
        )
    )
    return packed


@lru_cache(_UNPACKED)
def _unpack(member: bytes, packed: bytes) -> Candidate:
    """The same bytes come with nearly every request of an agent."""
    version, category, content, confidence, usefulness, accesses, valid_from, embedding = (
        msgpack.unpackb(packed)
    )
    vector = np.frombuffer(embedding, "<f2").astype(np.float32)
    vector.flags.writeable = False  # many requests share it
    return Candidate(
        id=UUID(bytes=member),
        version=version,
        category=Category(category),
        content=content,
        confidence=confidence,
        usefulness=usefulness,
        access_count=accesses,
        valid_from=datetime.fromtimestamp(valid_from, UTC),
        embedding=vector,
    )
