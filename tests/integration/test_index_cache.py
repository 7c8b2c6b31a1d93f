"""The index over a real PostgreSQL: who sees what, and how soon."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from ibex.errors import DatabaseUnavailableError
from ibex.ids import new_id
from ibex.memory.model import Candidate, Category
from ibex.settings import Settings
from ibex.stores import index_cache
from ibex.stores.identity import IdentityStore
from ibex.stores.index_cache import IndexCache, Indexed
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database
from tests.integration.remembering import change, remember
from tests.unit.candidates import direction


class Clock:
    """Seconds; every look at it is one that a test allows."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(database: Database, clock: Clock) -> AsyncIterator[IndexCache]:
    cache = IndexCache(database, max_bytes=2**30, clock=clock)
    yield cache
    await cache.close()


async def loaded(cache: IndexCache, org_id: UUID, agent_id: UUID) -> Indexed:
    for _ in range(500):
        index = cache.current(org_id, agent_id)
        if index:
            return index
        await asyncio.sleep(0.01)
    pytest.fail("the index was never loaded")


async def contents(
    cache: IndexCache, org_id: UUID, agent_id: UUID, user_id: UUID | None = None
) -> set[str]:
    index = await loaded(cache, org_id, agent_id)
    found = await index.search(org_id, agent_id, user_id, "the secret", direction(1.0))
    recalled = index.recall(user_id, "the secret", direction(1.0), datetime.now(UTC))
    assert {one.origin for one in recalled} <= {"both"}
    listed = {one.candidate.content for one in recalled}
    assert {one.candidate.content for one in found} == listed  # both show all of a small store
    return listed


async def test_it_finds_what_the_database_has(
    cache: IndexCache, database: Database, org_id: UUID, agent_id: UUID
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
    index = await loaded(cache, org_id, agent_id)
    (found,) = await index.search(org_id, agent_id, None, "host", direction(1.0))
    (read,) = await MemoryReader(database).search(org_id, agent_id, None, "host", direction(1.0))
    assert found.candidate.embedding @ vector == pytest.approx(1, abs=1e-6)

    def columns(memory: Candidate) -> dict[str, object]:
        names = {one.name for one in fields(memory)} - {"embedding", "tokens"}
        return {name: getattr(memory, name) for name in names}

    assert columns(found.candidate) == columns(read.candidate)
    assert found.lexical > 0.9


async def test_nothing_crosses_organizations_agents_or_users(
    cache: IndexCache, database: Database, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    other_org = await identity.create_organization(f"other-{new_id()}")
    other_agent = await identity.create_agent(org_id, "other")
    foreign_agent = await identity.create_agent(other_org, "assistant")
    mine, yours = [await identity.user(org_id, name) for name in ("mine", "yours")]
    await remember(database, org_id, agent_id, "The secret is one.")
    await remember(database, org_id, agent_id, "The secret is two.", user_id=mine)
    await remember(database, org_id, agent_id, "The secret is three.", user_id=yours)
    await remember(database, org_id, other_agent, "The secret is four.")
    await remember(database, other_org, foreign_agent, "The secret is five.")
    assert await contents(cache, org_id, agent_id) == {"The secret is one."}
    assert await contents(cache, org_id, agent_id, mine) == {
        "The secret is one.",
        "The secret is two.",
    }
    assert await contents(cache, org_id, agent_id, new_id()) == {"The secret is one."}
    assert await contents(cache, other_org, foreign_agent) == {"The secret is five."}
    for org, agent in ((other_org, agent_id), (org_id, foreign_agent), (new_id(), agent_id)):
        assert await contents(cache, org, agent, mine) == set()
    index = await loaded(cache, org_id, agent_id)
    with pytest.raises(ValueError, match="another agent"):
        await index.search(other_org, foreign_agent, None, "secret", None)


async def test_a_change_is_found_by_the_first_search_after_it(
    cache: IndexCache,
    database: Database,
    clock: Clock,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    async def later() -> set[str]:
        clock.now += 1
        return await contents(cache, org_id, agent_id)

    assert await later() == set()
    one = await remember(database, org_id, agent_id, "The secret is one.")
    two = await remember(database, org_id, agent_id, "The secret is two.")
    assert await contents(cache, org_id, agent_id) == set()  # the index was read this instant
    assert await later() == {"The secret is one.", "The secret is two."}
    await change(database, org_id, one, status="quarantined")
    assert await later() == {"The secret is two."}
    await change(database, org_id, one, status="active", content="The secret is three.")
    await change(database, org_id, two, valid_to=datetime.now(UTC))
    assert await later() == {"The secret is three."}
    async with database.tenant(org_id) as connection:
        await connection.execute("DELETE FROM ibex_core.memories WHERE id = $1", one)
    assert await later() == set()
    await remember(database, org_id, agent_id, "The secret is four.")
    assert await later() == {"The secret is four."}
    admin = await asyncpg.connect(settings.admin_dsn)
    try:  # what goes with its agent, and outside every tenant
        await admin.execute("DELETE FROM ibex_core.agents WHERE id = $1", agent_id)
    finally:
        await admin.close()
    assert await later() == set()


async def test_a_request_in_between_has_the_changes_read_behind_it(
    cache: IndexCache, database: Database, clock: Clock, org_id: UUID, agent_id: UUID
) -> None:
    assert await contents(cache, org_id, agent_id) == set()
    await remember(database, org_id, agent_id, "The secret is one.")
    clock.now += index_cache.BEHIND
    assert await contents(cache, org_id, agent_id) == set()
    await eventually(lambda: _has(cache, org_id, agent_id, "The secret is one."))
    assert clock.now == index_cache.BEHIND


async def test_what_commits_late_is_not_missed(
    cache: IndexCache, database: Database, clock: Clock, org_id: UUID, agent_id: UUID
) -> None:
    """The transaction began first, and the index has looked since."""
    memory = await remember(database, org_id, agent_id, "The secret is one.")
    assert await contents(cache, org_id, agent_id) == {"The secret is one."}
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.memories SET content = 'The secret is two.' WHERE id = $1", memory
        )
        await remember(database, org_id, agent_id, "The secret is three.")
        for _ in range(2):
            clock.now += 1
            assert await contents(cache, org_id, agent_id) == {
                "The secret is one.",
                "The secret is three.",
            }
    clock.now += 1
    assert await contents(cache, org_id, agent_id) == {"The secret is two.", "The secret is three."}


async def test_many_changes_are_taken_in_and_the_garbage_packed(
    cache: IndexCache, database: Database, clock: Clock, org_id: UUID, agent_id: UUID
) -> None:
    for number in range(100):
        await remember(database, org_id, agent_id, f"Fact {number}.")
    index = await loaded(cache, org_id, agent_id)
    async with database.tenant(org_id) as connection:
        await connection.execute("UPDATE ibex_core.memories SET version = 2 WHERE true")
    clock.now += 1
    found = await index.search(org_id, agent_id, None, "Fact 7", None, width=200)
    assert {one.candidate.version for one in found} == {2}
    assert len(found) == 100
    (entry,) = cache._entries.values()
    await eventually(lambda: _done(entry))
    assert entry.index is not None
    assert len(entry.index._ids) == 100
    assert len(entry.seen) == 0


async def test_requests_that_come_together_load_it_once(
    cache: IndexCache, org_id: UUID, agent_id: UUID
) -> None:
    assert [cache.current(org_id, agent_id) for _ in range(5)] == [None] * 5
    assert len(cache._tasks) == 1
    await loaded(cache, org_id, agent_id)


async def test_the_indexes_stay_within_their_bytes(
    database: Database, clock: Clock, identity: IdentityStore, org_id: UUID
) -> None:
    agents = [await identity.create_agent(org_id, f"agent-{number}") for number in range(4)]
    for agent in agents[:3]:
        for number in range(5):
            await remember(database, org_id, agent, f"Fact {number}.")
    for number in range(250):
        await remember(database, org_id, agents[3], f"Fact {number}.")
    cache = IndexCache(database, max_bytes=2**30, clock=clock)
    await loaded(cache, org_id, agents[0])
    limit = int(2.5 * cache.nbytes)
    await cache.close()
    cache = IndexCache(database, max_bytes=limit, clock=clock)
    try:
        for agent in agents[:3]:
            await loaded(cache, org_id, agent)
            assert 0 < cache.nbytes <= limit
        assert (org_id, agents[0]) not in cache._entries
        await loaded(cache, org_id, agents[0])
        assert cache.current(org_id, agents[3]) is None
        await eventually(lambda: _done(cache._entries[org_id, agents[3]]))
        assert cache.current(org_id, agents[3]) is None  # too large, and not counted again
        assert not cache._tasks
    finally:
        await cache.close()
    nothing = IndexCache(database, max_bytes=0)
    assert nothing.current(org_id, agents[0]) is None
    assert not nothing._tasks


async def test_an_index_goes_for_an_agent_that_is_asked_for_again_and_again(
    database: Database, clock: Clock, identity: IdentityStore, org_id: UUID
) -> None:
    agents = [await identity.create_agent(org_id, f"agent-{number}") for number in range(4)]
    for agent in agents:
        await remember(database, org_id, agent, "A fact.")
    cache = IndexCache(database, max_bytes=2**30, clock=clock)
    await loaded(cache, org_id, agents[0])
    limit = int(2.5 * cache.nbytes)
    await cache.close()
    cache = IndexCache(database, max_bytes=limit, clock=clock)
    try:
        for agent in agents[:3]:  # the third takes the first one's place
            await loaded(cache, org_id, agent)
        for _ in range(3):
            for _ in range(index_cache.WANTED - 1):
                assert cache.current(org_id, agents[3]) is None
            assert not cache._tasks
            clock.now += index_cache.WANTED_WITHIN + 1
        held = {agent for _, agent in cache._entries if cache._entries[org_id, agent].index}
        assert held == {agents[1], agents[2]}
        for _ in range(index_cache.WANTED):
            assert cache.current(org_id, agents[3]) is None
        assert len(cache._tasks) == 1
        await loaded(cache, org_id, agents[3])
        assert (org_id, agents[1]) not in cache._entries
    finally:
        await cache.close()


async def test_without_the_database_an_index_serves_for_a_while(
    database: Database, clock: Clock, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    await remember(database, org_id, agent_id, "The secret is one.")
    lost = await Database.connect(settings.app_dsn, name="lost", acquire_timeout=0.2)
    cache = IndexCache(lost, max_bytes=2**30, clock=clock)
    index = await loaded(cache, org_id, agent_id)
    await lost.close()
    clock.now += 1
    assert index.late
    assert await index.search(org_id, agent_id, None, "secret", None)
    clock.now += index_cache.UNCHECKED
    with pytest.raises(DatabaseUnavailableError):
        await index.search(org_id, agent_id, None, "secret", None)
    clock.now += index_cache.FORGOTTEN
    assert cache.current(org_id, agent_id) is None
    await cache.close()


async def test_old_changes_go_when_newer_ones_come(
    database: Database, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    await remember(database, org_id, agent_id, "The secret is one.")
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        await admin.execute(
            "UPDATE ibex_core.memory_changes SET changed_at = now() - interval '2 hours'"
        )
        two = await remember(database, org_id, agent_id, "The secret is two.")
        left = await admin.fetch("SELECT memory_id FROM ibex_core.memory_changes")
    finally:
        await admin.close()
    assert [row["memory_id"] for row in left] == [two]


async def test_a_change_costs_the_same_however_many_came_before(
    database: Database, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    """Also while PostgreSQL, which nobody has told yet, takes the table for empty."""
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        await admin.execute("ALTER TABLE ibex_core.memory_changes SET (autovacuum_enabled = off)")
        await admin.execute(
            "INSERT INTO ibex_core.memory_changes (org_id, agent_id, xid, memory_id) "
            "SELECT $1, $2, number, gen_random_uuid() FROM generate_series(1, 2000) number",
            org_id,
            agent_id,
        )
    finally:
        await admin.close()
    memory = await remember(database, org_id, agent_id, "The secret is one.")
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.memories SET confidence = 0.5 WHERE org_id = $1 AND id = $2",
            org_id,
            memory,
        )
        read = await connection.fetchval(
            "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
            "FROM pg_stat_xact_user_tables WHERE relname = 'memory_changes'"
        )
    # The oldest thousand, and a few.
    assert read < 10_000


async def _has(cache: IndexCache, org_id: UUID, agent_id: UUID, content: str) -> bool:
    return content in await contents(cache, org_id, agent_id)


async def _done(entry: index_cache._Entry) -> bool:
    return entry.task is None


async def eventually(ask: Callable[[], Awaitable[object]]) -> None:
    for _ in range(500):
        if await ask():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never was")
