from datetime import UTC, datetime, timedelta
from uuid import UUID

import redis.asyncio

from ibex.memory.forgetting import LONGEST
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.seeding import add_memory

NOTHING = {
    "procedural_days": None,
    "declarative_days": None,
    "episodic_days": None,
    "memories": None,
}


async def test_rules_are_set_read_and_taken_back(api: Api, agent_id: UUID) -> None:
    for path in ("/retention", f"/agents/{agent_id}/retention"):
        assert await api.get(path) == NOTHING
        for rules in ({"episodic_days": 30, "memories": 1_000}, {"episodic_days": 0}):
            answer = await api.call("PUT", path, rules)
            assert (answer.status, answer.body) == (200, NOTHING | rules)
            assert await api.get(path) == NOTHING | rules
        for wrong in ({"episodic_days": -1}, {"memories": 1.5}, {"episodic_days": LONGEST + 1}):
            assert (await api.call("PUT", path, wrong)).status == 400
        assert (await api.call("PUT", path, {})).status == 200
        assert await api.get(path) == NOTHING


async def test_rate_limits_and_rules_leave_each_other_alone(api: Api, agent_id: UUID) -> None:
    for path in ("", f"/agents/{agent_id}"):
        await api.call("PUT", f"{path}/limits", {"requests": 60})
        await api.call("PUT", f"{path}/retention", {"memories": 10})
        assert (await api.get(f"{path}/limits"))["requests"] == 60
        await api.call("PUT", f"{path}/limits", {})
        assert (await api.get(f"{path}/retention"))["memories"] == 10


async def test_who_may_not_make_an_agent_forget(
    api: Api, stranger: Api, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    token = await identity.create_token(
        org_id, "bound", agent_id=agent_id, scopes=("read", "write", "content")
    )
    bound = api.with_token(token.text)
    assert (await bound.call("GET", f"/agents/{agent_id}/retention")).status == 200
    for path in ("/retention", f"/agents/{agent_id}/retention"):
        assert (await bound.call("PUT", path, {"memories": 1})).status == 403
    assert (await stranger.call("GET", f"/agents/{agent_id}/retention")).status == 404
    assert (await stranger.call("PUT", f"/agents/{agent_id}/retention", {})).status == 404
    assert (await stranger.call("PUT", "/retention", {"memories": 1})).status == 200
    assert await api.get("/retention") == NOTHING


async def test_a_memory_is_given_an_end_and_loses_it(
    api: Api,
    stranger: Api,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    memory = await add_memory(database, org_id, agent_id, "The offer ends on Friday.")
    hot = HotCache(redis_client, database)
    await hot.refresh(org_id, agent_id)
    path, end = f"/memories/{memory}/expiry", datetime.now(UTC) + timedelta(days=1)
    answer = await api.call("PUT", path, {"expires_at": end.isoformat(), "version": 1})
    assert answer.status == 200
    assert datetime.fromisoformat(answer.body["expires_at"]) == end
    assert answer.body["version"] == 2
    assert await hot.read(org_id, agent_id, None) == []
    assert (await api.call("PUT", path, {"expires_at": None, "version": 1})).status == 409
    assert (await api.call("PUT", path, {"expires_at": "2026-01-01T00:00:00"})).status == 400
    assert (await stranger.call("PUT", path, {"expires_at": None})).status == 404

    answer = await api.call("PUT", path, {"expires_at": None})
    assert (answer.body["expires_at"], answer.body["version"]) == (None, 3)
    assert len(await hot.read(org_id, agent_id, None)) == 1
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch("SELECT action, details FROM ibex_core.audit_log ORDER BY id")
        changes = await connection.fetch("SELECT change, snapshot FROM ibex_core.memory_versions")
    assert [row["action"] for row in rows] == ["memory.expiry_set"] * 2
    assert [row["details"]["expires_at"] for row in rows] == [None, end.isoformat()]
    assert [row["change"] for row in changes] == ["expiry_set"] * 2
    assert not any("content" in row["snapshot"] for row in changes)
