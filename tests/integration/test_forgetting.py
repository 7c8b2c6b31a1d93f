"""Forgetting on a real PostgreSQL: what goes, what stays, and what is never recalled meanwhile."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis.asyncio

from ibex.ids import new_id
from ibex.memory.forgetting import Retention
from ibex.memory.model import Category
from ibex.settings import Settings
from ibex.stores.forgetting import Forgetting, RetentionStore
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.index_cache import IndexCache
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database
from tests.integration.remembering import change, remember
from tests.integration.test_index_cache import loaded
from tests.pipeline import metadata, run_job
from tests.unit.candidates import direction

NOW = datetime.now(UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


async def kept(database: Database, org_id: UUID) -> set[str]:
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch("SELECT content FROM ibex_core.memories")
    return {row["content"] for row in rows}


async def aged(
    database: Database, org_id: UUID, agent_id: UUID, content: str, days: float, category: Category
) -> UUID:
    """A memory that was learned and said that long ago."""
    memory = await remember(database, org_id, agent_id, content, category=category)
    await change(database, org_id, memory, created_at=days_ago(days))
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.memory_statements SET created_at = $2 WHERE memory_id = $1",
            memory,
            days_ago(days),
        )
    return memory


async def test_what_has_ended_goes_with_its_history_in_every_organization(
    database: Database, identity: IdentityStore, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    other = await identity.create_organization(f"org-{new_id()}")
    others_agent = await identity.create_agent(other, "assistant")
    user_id = await identity.user(org_id, "ann")
    for number in range(5):
        one = await remember(database, org_id, agent_id, f"Over {number}.", user_id=user_id)
        await change(database, org_id, one, expires_at=days_ago(0.1))
    two = await remember(database, other, others_agent, "Over too.")
    await change(database, other, two, expires_at=NOW)
    later = await remember(database, org_id, agent_id, "Not yet.")
    await change(database, org_id, later, expires_at=NOW + timedelta(minutes=1))
    await remember(database, org_id, agent_id, "Never.")

    gone = await Forgetting(database, settings, batch=2).forget(NOW)
    assert (gone.expired, gone.over_limit, sum(gone.old.values())) == (6, 0, 0)
    assert {(one.org_id, one.agent_id, one.user_id) for one in gone.owners} == {
        (org_id, agent_id, user_id),
        (other, others_agent, None),
    }
    assert await kept(database, org_id) == {"Not yet.", "Never."}
    assert await kept(database, other) == set()
    async with database.tenant(org_id) as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM ibex_core.memory_versions WHERE content LIKE 'Over%'"
        )
    assert left == 0
    assert (await Forgetting(database, settings).forget(NOW)).expired == 0


async def test_a_category_is_kept_as_long_as_its_rule_says(
    database: Database, identity: IdentityStore, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    other = await identity.create_agent(org_id, "other")
    rules = RetentionStore(database)
    await rules.set_organization(org_id, Retention(episodic_days=30, declarative_days=0))
    await rules.set_agent(org_id, other, Retention(episodic_days=0, declarative_days=5))
    for agent, name in ((agent_id, "assistant"), (other, "other")):
        for category in Category:
            for age in (10, 40):
                await aged(database, org_id, agent, f"{name} {category} {age}", age, category)
    said_again = await aged(database, org_id, agent_id, "said again", 40, Category.EPISODIC)
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.memory_statements SET created_at = $2 WHERE memory_id = $1",
            said_again,
            days_ago(3),
        )

    deployment = settings.model_copy(update={"retention_procedural_days": 20})
    gone = await Forgetting(database, deployment, batch=1).forget(NOW)
    assert gone.old == {
        Category.PROCEDURAL: 2,
        Category.DECLARATIVE: 2,
        Category.EPISODIC: 1,
    }
    assert await kept(database, org_id) == {
        "said again",
        *("assistant procedural 10", "other procedural 10"),
        *("assistant declarative 10", "assistant declarative 40"),
        *("assistant episodic 10", "other episodic 10", "other episodic 40"),
    }


async def test_beyond_the_limits_the_least_valuable_go(
    database: Database, identity: IdentityStore, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    other = await identity.create_agent(org_id, "other")
    rules = RetentionStore(database)
    await rules.set_agent(org_id, agent_id, Retention(memories=2))
    for agent, usefulness in (
        *((agent_id, one) for one in (0.9, 0.1, 0.8, 0.3)),
        *((other, one) for one in (0.2, 0.7)),
    ):
        memory = await remember(database, org_id, agent, f"worth {usefulness}")
        await change(database, org_id, memory, usefulness=usefulness)
    held = await remember(database, org_id, agent_id, "held")
    await change(
        database, org_id, held, usefulness=0.0, status="quarantined", quarantine_reason="secrets"
    )

    forgetting = Forgetting(database, settings, batch=1)
    assert (await forgetting.forget(NOW)).over_limit == 2
    assert await kept(database, org_id) == {
        *("worth 0.9", "worth 0.8", "worth 0.2", "worth 0.7"),
        "held",
    }
    await rules.set_organization(org_id, Retention(memories=3))
    assert (await forgetting.forget(NOW)).over_limit == 1
    assert await kept(database, org_id) == {"worth 0.9", "worth 0.8", "worth 0.7", "held"}
    limited = settings.model_copy(update={"memory_limit_agent": 1})
    await rules.set_agent(org_id, agent_id, Retention(memories=0))
    assert (await Forgetting(database, limited).forget(NOW)).over_limit == 0


async def test_what_has_ended_is_recalled_nowhere_before_it_is_deleted(
    database: Database, redis_client: redis.asyncio.Redis, org_id: UUID, agent_id: UUID
) -> None:
    over = await remember(database, org_id, agent_id, "The secret was red.")
    soon = await remember(database, org_id, agent_id, "The secret is blue.")
    await change(database, org_id, over, expires_at=days_ago(0.01))
    await change(database, org_id, soon, expires_at=NOW + timedelta(hours=1))
    reader, question = MemoryReader(database), ("secret", direction(1.0))
    found = await reader.search(org_id, agent_id, None, *question)
    assert [one.candidate.id for one in found] == [soon]
    checked = await reader.in_force(org_id, agent_id, None, [over, soon])
    assert [one.id for one in checked] == [soon]

    hot = HotCache(redis_client, database)
    assert await hot.refresh(org_id, agent_id) == 0
    assert await hot.read(org_id, agent_id, None) == []

    cache = IndexCache(database, max_bytes=2**30)
    try:
        index = await loaded(cache, org_id, agent_id)
        found = await index.search(org_id, agent_id, None, *question)
        assert [one.candidate.id for one in found] == [soon]
        for moment, recalled in ((NOW, [soon]), (NOW + timedelta(hours=2), [])):
            ranked = index.recall(None, *question, moment)
            assert [one.candidate.id for one in ranked] == recalled
    finally:
        await cache.close()


@pytest.mark.usefixtures("redis_server")
async def test_the_hourly_job_forgets_and_makes_the_hot_list_anew(
    settings: Settings,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    for number in range(3):
        memory = await remember(database, org_id, agent_id, f"Fact {number}.")
        await change(database, org_id, memory, usefulness=number / 10)
    hot = HotCache(redis_client, database)
    assert await hot.refresh(org_id, agent_id) == 3

    limited = settings.model_copy(update={"memory_limit_agent": 1})
    made = metadata(await run_job(limited, "forgetting"))
    assert made["retention"]["over_limit"] == 2
    listed = await hot.read(org_id, agent_id, None)
    assert [one.candidate.content for one in listed] == ["Fact 2."]
