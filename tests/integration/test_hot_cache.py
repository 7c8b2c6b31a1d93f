import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ibex.errors import CacheUnavailableError
from ibex.ids import new_id
from ibex.memory.model import Candidate, Category
from ibex.stores import keys
from ibex.stores.hot import SIZE, HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.remembering import change, remember
from tests.unit.candidates import direction


@pytest.fixture
def hot(redis_client: redis.asyncio.Redis, database: Database) -> HotCache:
    return HotCache(redis_client, database)


async def test_a_memory_comes_back_as_it_was(
    hot: HotCache, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    said_at = datetime(2025, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
    vector = direction(0.3, -0.4, 0.5)
    memory = await remember(
        database,
        org_id,
        agent_id,
        "Zoë's host.",
        vector=vector,
        category=Category.PROCEDURAL,
        said_at=said_at,
        confidence=0.7,
    )
    await change(database, org_id, memory, access_count=7, usefulness=0.25, version=3)
    assert await hot.refresh(org_id, agent_id) == 1
    (read,) = await hot.read(org_id, agent_id, None)
    assert (read.candidate.id, read.candidate.version, read.candidate.category) == (
        memory,
        3,
        Category.PROCEDURAL,
    )
    assert (read.candidate.content, read.candidate.confidence, read.candidate.usefulness) == (
        "Zoë's host.",
        0.7,
        0.25,
    )
    assert (read.candidate.access_count, read.origin) == (7, "hot")
    assert abs(read.candidate.valid_from - said_at) < timedelta(milliseconds=1)
    assert read.candidate.embedding @ vector == pytest.approx(1, abs=1e-3)


async def test_a_list_that_was_never_built_is_told_from_an_empty_one(
    hot: HotCache, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    user = await identity.user(org_id, "u")
    assert (await hot.lookup(org_id, agent_id, None)).missing == (None,)
    assert (await hot.lookup(org_id, agent_id, user)).missing == (None, user)
    assert await hot.refresh(org_id, agent_id) == 0
    assert (await hot.lookup(org_id, agent_id, user)).missing == (user,)
    assert await hot.refresh(org_id, agent_id, user) == 0
    listed = await hot.lookup(org_id, agent_id, user)
    assert (listed.memories, listed.missing) == ([], ())


async def test_the_best_of_the_agent_and_the_user_and_of_nobody_else(
    hot: HotCache, database: Database, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    mine, yours = [await identity.user(org_id, name) for name in ("mine", "yours")]
    own = [
        await remember(database, org_id, agent_id, f"Fact {number}.", confidence=0.9 - number / 100)
        for number in range(40)
    ]
    my_own = [
        await remember(
            database,
            org_id,
            agent_id,
            f"Wish {number}.",
            user_id=mine,
            confidence=0.905 - number / 100,
        )
        for number in range(40)
    ]
    await remember(database, org_id, agent_id, "Yours.", user_id=yours, confidence=1.0)
    for owner in (None, mine, yours):
        await hot.refresh(org_id, agent_id, owner)
    assert [one.candidate.id for one in await hot.read(org_id, agent_id, None)] == own
    read = [one.candidate.id for one in await hot.read(org_id, agent_id, mine)]
    assert read == [one for pair in zip(my_own, own, strict=True) for one in pair][:SIZE]
    assert await hot.read(new_id(), agent_id, mine) == []
    assert await hot.read(org_id, new_id(), mine) == []


async def test_a_refresh_replaces_the_list_and_it_expires(
    hot: HotCache,
    redis_client: redis.asyncio.Redis,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    old = await remember(database, org_id, agent_id, "The host is a.")
    await hot.refresh(org_id, agent_id)
    await change(database, org_id, old, valid_to=datetime.now(UTC))
    new = await remember(database, org_id, agent_id, "The host is b.")
    await hot.refresh(org_id, agent_id)
    assert [one.candidate.id for one in await hot.read(org_id, agent_id, None)] == [new]
    for key in (
        keys.hot_scores(org_id, agent_id, None),
        keys.hot_memories(org_id, agent_id, None),
    ):
        assert 0 < await redis_client.ttl(key) <= 86_400
    assert await redis_client.hlen(keys.hot_memories(org_id, agent_id, None)) == 1 + 1
    assert await redis_client.zcard(keys.hot_scores(org_id, agent_id, None)) == 1


async def test_a_list_with_another_models_vectors_is_missing(
    redis_client: redis.asyncio.Redis,
    hot: HotCache,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    empty = await identity.create_agent(org_id, "empty")
    await remember(database, org_id, agent_id, "The host is a.")
    for agent in (agent_id, empty):
        await hot.refresh(org_id, agent)
        other = HotCache(redis_client, database, "another")
        listed = await other.lookup(org_id, agent, None)
        assert (listed.memories, listed.missing) == ([], (None,))
        await other.refresh(org_id, agent)
        assert (await other.lookup(org_id, agent, None)).missing == ()


class Slow(HotCache):
    """Waits between reading PostgreSQL and writing to Redis."""

    def __init__(self, client: redis.asyncio.Redis, database: Database) -> None:
        super().__init__(client, database)
        self.has_read, self.may_write = asyncio.Event(), asyncio.Event()
        self._memories.best = self._and_wait(self._memories.best)  # type: ignore[method-assign]

    def _and_wait(
        self, best: Callable[..., Awaitable[list[Candidate]]]
    ) -> Callable[..., Coroutine[Any, Any, list[Candidate]]]:
        async def best_and_wait(*arguments: Any) -> list[Candidate]:
            found = await best(*arguments)
            self.has_read.set()
            await self.may_write.wait()
            return found

        return best_and_wait


@pytest.fixture
def slow(redis_client: redis.asyncio.Redis, database: Database) -> Slow:
    return Slow(redis_client, database)


async def listed_usefulness(hot: HotCache, org_id: UUID, agent_id: UUID) -> float:
    (listed,) = await hot.read(org_id, agent_id, None)
    return listed.candidate.usefulness


async def test_of_two_refreshes_at_once_the_one_that_read_last_stays(
    hot: HotCache, slow: Slow, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    memory = await remember(database, org_id, agent_id, "The host is a.")
    refreshing = asyncio.create_task(slow.refresh(org_id, agent_id))
    await slow.has_read.wait()
    await change(database, org_id, memory, usefulness=0.9)
    await hot.refresh(org_id, agent_id)
    slow.may_write.set()
    await refreshing
    assert await listed_usefulness(hot, org_id, agent_id) == 0.9


async def test_a_refresh_from_before_redis_lost_all_holds_up_nobody(
    hot: HotCache,
    slow: Slow,
    redis_client: redis.asyncio.Redis,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    memory = await remember(database, org_id, agent_id, "The host is a.")
    for _ in range(3):
        await hot.refresh(org_id, agent_id)
    refreshing = asyncio.create_task(slow.refresh(org_id, agent_id))
    await slow.has_read.wait()
    await redis_client.delete(keys.hot_refreshes(org_id, agent_id, None))
    slow.may_write.set()
    await refreshing
    await change(database, org_id, memory, usefulness=0.9)
    await hot.refresh(org_id, agent_id)
    assert await listed_usefulness(hot, org_id, agent_id) == 0.9


async def test_a_redis_that_is_away_is_named(database: Database) -> None:
    nobody = redis.asyncio.Redis(port=1, retry=Retry(NoBackoff(), 0))
    hot = HotCache(nobody, database)
    with pytest.raises(CacheUnavailableError):
        await hot.read(new_id(), new_id(), None)
