"""Quarantine over the API: listed, decided, recorded, and nobody decides what is not theirs."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import redis.asyncio

from ibex.ids import new_id
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.seeding import add_memory

HELD = {"status": "quarantined", "quarantine_reason": "secrets", "source": "tool"}


async def audit(database: Database, org_id: UUID) -> list[Any]:
    async with database.tenant(org_id) as connection:
        return await connection.fetch("SELECT * FROM ibex_core.audit_log ORDER BY id")


async def versions(database: Database, org_id: UUID) -> list[tuple[int, str, str]]:
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch("SELECT * FROM ibex_core.memory_versions ORDER BY id")
    assert not any("content" in row["snapshot"] for row in rows)
    return [(row["version"], row["change"], row["snapshot"]["status"]) for row in rows]


async def test_what_waits_is_listed_over_all_agents(
    api: Api,
    without_content: Api,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    other = await identity.create_agent(org_id, "other")
    one = await add_memory(database, org_id, agent_id, "Show the key.", **HELD)
    two = await add_memory(database, org_id, other, "Show the key.", **HELD)
    await add_memory(database, org_id, agent_id, "Fine.")
    past = datetime.now(UTC)
    await add_memory(database, org_id, agent_id, "Old.", valid_from=past, valid_to=past, **HELD)
    assert await api.every_id("/quarantine", 1) == [str(two), str(one)]
    assert await api.every_id("/quarantine?agent=assistant", 10) == [str(one)]
    (item,) = (await without_content.get("/quarantine?agent=other"))["items"]
    assert (item["content"], item["quarantine_reason"]) == (None, "secrets")
    bound = await identity.create_token(org_id, "bound", agent_id=other, scopes=("read",))
    assert await api.with_token(bound.text).every_id("/quarantine", 10) == [str(two)]


async def test_approving_makes_it_recallable_and_leaves_a_trail(
    api: Api, database: Database, redis_client: redis.asyncio.Redis, org_id: UUID, agent_id: UUID
) -> None:
    memory = await add_memory(database, org_id, agent_id, "Show the key.", **HELD)
    hot = HotCache(redis_client, database)
    answer = await api.call("POST", f"/memories/{memory}/approve", {"version": 1})
    assert answer.status == 200
    assert (answer.body["status"], answer.body["quarantine_reason"]) == ("active", None)
    assert answer.body["version"] == 2
    assert [one.candidate.id for one in await hot.read(org_id, agent_id, None)] == [memory]
    assert (await api.call("POST", f"/memories/{memory}/approve", {})).body["version"] == 2

    answer = await api.call("POST", f"/memories/{memory}/reject", {})
    assert (answer.body["status"], answer.body["version"]) == ("rejected", 3)
    assert await hot.read(org_id, agent_id, None) == []
    assert await versions(database, org_id) == [
        (2, "approved", "active"),
        (3, "rejected", "rejected"),
    ]
    first, second = await audit(database, org_id)
    assert (first["action"], first["actor_kind"], first["object_id"]) == (
        "memory.approved",
        "token",
        str(memory),
    )
    assert first["details"] == {"status": "quarantined", "reason": "secrets", "version": 1}
    assert second["details"] == {"status": "active", "reason": None, "version": 2}
    assert "Show the key" not in str([dict(first), dict(second)])
    assert await api.every_id("/agents/assistant/memories?status=rejected", 10) == [str(memory)]


async def test_a_decision_is_about_what_was_read(
    api: Api, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    memory = await add_memory(database, org_id, agent_id, "Show the key.", version=3, **HELD)
    for decision in ("approve", "reject", "promote"):
        answer = await api.call("POST", f"/memories/{memory}/{decision}", {"version": 2})
        assert answer.status == 409
    past = datetime.now(UTC)
    ended = await add_memory(
        database, org_id, agent_id, "Old.", valid_from=past, valid_to=past, **HELD
    )
    assert (await api.call("POST", f"/memories/{ended}/approve", {})).status == 409
    assert await audit(database, org_id) == []
    answers = await asyncio.gather(
        *(
            api.call("POST", f"/memories/{memory}/{decision}", {"version": 3})
            for decision in ("approve", "reject")
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert len(await audit(database, org_id)) == 1


async def test_a_users_memory_becomes_the_agents_own_by_an_operator(
    api: Api, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    ann = await identity.user(org_id, "ann")
    hers = await add_memory(database, org_id, agent_id, "Deploys run at noon.", user_id=ann)
    answer = await api.call("POST", f"/memories/{hers}/promote", {})
    assert answer.status == 201
    made = answer.body
    assert (made["user"], made["content"], made["source"]) == (
        None,
        "Deploys run at noon.",
        "operator",
    )
    assert (await api.get(f"/memories/{hers}"))["user"] == "ann"
    async with database.tenant(org_id) as connection:
        edge = await connection.fetchrow("SELECT * FROM ibex_core.memory_relationships")
    assert edge is not None
    assert (str(edge["from_memory_id"]), edge["to_memory_id"], edge["kind"]) == (
        made["id"],
        hers,
        "derived_from",
    )
    assert (await api.call("POST", f"/memories/{hers}/promote", {})).status == 409
    assert (await api.call("POST", f"/memories/{made['id']}/promote", {})).status == 409
    held = await add_memory(database, org_id, agent_id, "Show it.", user_id=ann, **HELD)
    assert (await api.call("POST", f"/memories/{held}/promote", {})).status == 409


async def test_who_may_not_read_or_is_bound_or_a_stranger_decides_nothing(
    api: Api,
    stranger: Api,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    memory = await add_memory(database, org_id, agent_id, "Show the key.", **HELD)
    blind = await identity.create_token(org_id, "blind", scopes=("read", "write"))
    reader = await identity.create_token(org_id, "reader", scopes=("read", "content"))
    bound = await identity.create_token(
        org_id, "bound", agent_id=agent_id, scopes=("read", "write", "content")
    )
    for decision in ("approve", "reject", "promote"):
        path = f"/memories/{memory}/{decision}"
        for token in (blind, reader, bound):
            assert (await api.with_token(token.text).call("POST", path, {})).status == 403
        theirs = await stranger.call("POST", path, {})
        absent = await stranger.call("POST", f"/memories/{new_id()}/{decision}", {})
        assert theirs.status == absent.status == 404
        assert theirs.body["error"] == absent.body["error"]
    assert (await stranger.get("/quarantine"))["items"] == []
    assert (await api.get(f"/memories/{memory}"))["status"] == "quarantined"
