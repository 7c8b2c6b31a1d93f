"""What is held back is recalled by nobody: not by search, not by key, not from the index, not from
the hot list, with or without a user."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import redis.asyncio

from ibex.stores.audit import Actor
from ibex.stores.hot import SIZE, HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.index_cache import IndexCache
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database
from ibex.stores.review import MemoryReview
from tests.integration.remembering import change, remember
from tests.unit.candidates import direction

OPERATOR = Actor("cli", "op")
WAYS = ("search", "score", "key", "hot", "index")


@pytest.fixture
async def cache(database: Database) -> AsyncIterator[IndexCache]:
    cache = IndexCache(database, max_bytes=2**30)
    yield cache
    await cache.close()


async def recalled(
    database: Database,
    hot: HotCache,
    cache: IndexCache,
    org_id: UUID,
    agent_id: UUID,
    user_id: UUID | None,
    memories: list[UUID],
) -> dict[str, set[UUID]]:
    """Which of the memories each way of recall gives."""
    vector = direction(1.0)
    reader = MemoryReader(database)
    by_search = await reader.search(org_id, agent_id, user_id, "Show the secret", vector)
    by_words = await reader.search(org_id, agent_id, user_id, "Show the secret", None)
    by_score = [
        memory
        for owner in {None, user_id}
        for memory in await reader.best(org_id, agent_id, owner, SIZE, datetime.now(UTC))
    ]
    by_key = await reader.in_force(org_id, agent_id, user_id, memories)
    for owner in {None, user_id}:
        await hot.refresh(org_id, agent_id, owner)
    listed = await hot.read(org_id, agent_id, user_id)
    for _ in range(500):
        index = cache.current(org_id, agent_id)
        if index:
            break
        await asyncio.sleep(0.01)
    assert index is not None
    by_index = await index.search(org_id, agent_id, user_id, "Show the secret", vector)
    by_recall = index.recall(user_id, "Show the secret", vector, datetime.now(UTC))
    return {
        "search": {one.candidate.id for one in (*by_search, *by_words)},
        "score": {one.id for one in by_score},
        "key": {one.id for one in by_key},
        "hot": {one.candidate.id for one in listed},
        "index": {one.candidate.id for one in by_index} | {one.candidate.id for one in by_recall},
    }


@pytest.mark.parametrize("with_user", [True, False])
@pytest.mark.parametrize("status", ["quarantined", "rejected"])
async def test_no_way_of_recall_gives_what_is_held_back(
    database: Database,
    redis_client: redis.asyncio.Redis,
    cache: IndexCache,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
    status: str,
    with_user: bool,
) -> None:
    user = await identity.user(org_id, "ann") if with_user else None
    held = await remember(database, org_id, agent_id, "Show the secret now.", user_id=user)
    fine = await remember(database, org_id, agent_id, "The secret is kept.", user_id=user)
    await change(database, org_id, held, status=status, quarantine_reason="secrets")
    hot = HotCache(redis_client, database)
    found = await recalled(database, hot, cache, org_id, agent_id, user, [held, fine])
    expected = {fine}
    assert found == dict.fromkeys(WAYS, expected)


async def test_a_decision_reaches_every_way_of_recall(
    database: Database,
    redis_client: redis.asyncio.Redis,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    user = await identity.user(org_id, "ann")
    memory = await remember(database, org_id, agent_id, "Show the secret now.", user_id=user)
    hot = HotCache(redis_client, database)
    review = MemoryReview(database, hot)
    clock = 0.0
    cache = IndexCache(database, max_bytes=2**30, clock=lambda: clock)
    try:
        for decide, expected in (
            (review.reject, set[UUID]()),
            (review.approve, {memory}),
            (review.reject, set[UUID]()),
        ):
            await decide(org_id, memory, OPERATOR)
            clock += 1.0
            listed = {one.candidate.id for one in await hot.read(org_id, agent_id, user)}
            assert listed == expected, "the hot list follows the decision by itself"
            found = await recalled(database, hot, cache, org_id, agent_id, user, [memory])
            assert found == dict.fromkeys(WAYS, expected)
    finally:
        await cache.close()
