"""`ibex … retention` and `ibex memory expire` on a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from ibex.stores.identity import IdentityStore
from ibex.stores.management import ManagementStore
from ibex.stores.postgres import Database
from tests.command_line import ibex
from tests.integration.remembering import remember

NOTHING = {
    "procedural_days": None,
    "declarative_days": None,
    "episodic_days": None,
    "memories": None,
}


@pytest.mark.usefixtures("environment")
async def test_rules_are_shown_and_set(identity: IdentityStore) -> None:
    org_id = await identity.create_organization("shop")
    await identity.create_agent(org_id, "clerk")
    for words in (("org", "retention", "shop"), ("agent", "retention", "clerk", "--org", "shop")):
        assert await ibex(*words) == NOTHING
        assert await ibex(*words, "--episodic", "30") == NOTHING | {"episodic_days": 30}
        both = NOTHING | {"episodic_days": 30, "memories": 0}
        assert await ibex(*words, "--memories", "0") == both
        assert await ibex(*words) == both
        only = NOTHING | {"declarative_days": 5}
        assert await ibex(*words, "--default", "--declarative", "5") == only
        assert await ibex(*words, "--default") == NOTHING


@pytest.mark.usefixtures("environment", "redis_server")
async def test_a_memory_is_given_an_end(identity: IdentityStore, database: Database) -> None:
    org_id = await identity.create_organization("shop")
    agent_id = await identity.create_agent(org_id, "clerk")
    memory = await remember(database, org_id, agent_id, "The offer ends on Friday.")
    words = ("memory", "expire", str(memory), "--org", "shop")
    store = ManagementStore(database)
    await ibex(*words, "--days", "2")
    end = (await store.memory(org_id, memory)).expires_at
    assert end is not None
    assert abs(end - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=5)
    await ibex(*words, "--at", "2030-01-02T03:04:05")
    end = (await store.memory(org_id, memory)).expires_at
    assert end == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    await ibex(*words, "--never")
    assert (await store.memory(org_id, memory)).expires_at is None
