"""What several users said becomes the agent's own, with the real embedder."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.ids import new_id
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.promotion import Promotion
from tests.integration.remembering import change

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FACT = "Deploys run from the Lyon office at noon."
MADE = Provenance(None, "facts/1", "p", "m", None)


@pytest.fixture
async def writer(
    settings: Settings, database: Database, embedder_server: ProcessSpec
) -> AsyncIterator[MemoryWriter]:
    client = EmbedderClient(settings.embedder_endpoint, timeout=10)
    yield MemoryWriter(database, client, settings)
    await client.close()


async def say(
    writer: MemoryWriter, owner: tuple[UUID, UUID, UUID], content: str = FACT
) -> list[UUID]:
    fact = Fact(Category.DECLARATIVE, content, 0.9, Source.USER, (1,), subject="deploys")
    return list((await writer.write(*owner, [fact], MADE, {1: START})).created)


async def own(database: Database, org_id: UUID, agent_id: UUID) -> list[Any]:
    async with database.tenant(org_id) as connection:
        return await connection.fetch(
            "SELECT * FROM ibex_core.memories "
            "WHERE org_id = $1 AND agent_id = $2 AND user_id IS NULL",
            org_id,
            agent_id,
        )


async def test_the_third_user_makes_it_the_agents_own(
    writer: MemoryWriter,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    promotion = Promotion(database, writer, users=3)
    other_agent = await identity.create_agent(org_id, "other")
    users = [await identity.user(org_id, name) for name in ("ann", "bob", "eve")]
    said: list[UUID] = []
    for user in users:
        assert await own(database, org_id, agent_id) == []
        (made,) = await say(writer, (org_id, agent_id, user))
        said.append(made)
        await say(writer, (org_id, other_agent, users[0]))
        done = await promotion.promote(org_id, agent_id, [made], "run-1")
        assert len(done.created) == (user == users[-1])
    (memory,) = await own(database, org_id, agent_id)
    assert (memory["content"], memory["status"], memory["extractor"]) == (
        FACT,
        "active",
        "promotion/1",
    )
    assert (memory["session_id"], memory["turns"], memory["valid_from"]) == (None, [], START)
    async with database.tenant(org_id) as connection:
        edges = await connection.fetch("SELECT * FROM ibex_core.memory_relationships")
    assert {(edge["from_memory_id"], edge["to_memory_id"], edge["kind"]) for edge in edges} == {
        (memory["id"], one, "derived_from") for one in said
    }
    again = await promotion.promote(org_id, agent_id, said, "run-2")
    assert again.created == ()
    assert await own(database, org_id, other_agent) == []
    assert (await promotion.promote(new_id(), agent_id, said, None)).created == ()


async def test_what_waits_ended_or_was_redacted_counts_for_nobody(
    writer: MemoryWriter,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    promotion = Promotion(database, writer, users=2)
    ann, bob = [await identity.user(org_id, name) for name in ("ann", "bob")]
    (hers,) = await say(writer, (org_id, agent_id, ann))
    (his,) = await say(writer, (org_id, agent_id, bob))
    for hidden, shown in (
        ({"status": "quarantined"}, {"status": "active"}),
        ({"valid_to": datetime.now(UTC)}, {"valid_to": None}),
        ({"redactions": {"EMAIL": 1}}, {"redactions": {}}),
    ):
        await change(database, org_id, hers, **hidden)
        assert (await promotion.promote(org_id, agent_id, [hers], None)).created == ()
        await change(database, org_id, hers, **shown)
    never = Promotion(database, writer, users=0)
    assert (await never.promote(org_id, agent_id, [hers, his], None)).created == ()
    assert len((await promotion.promote(org_id, agent_id, [hers, his], None)).created) == 1
