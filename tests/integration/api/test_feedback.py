from uuid import UUID

import pytest
import redis.asyncio

from ibex.ids import new_id
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.seeding import add_injection, add_memory, add_session, add_turn


@pytest.fixture
async def host(database: Database, org_id: UUID, agent_id: UUID) -> UUID:
    return await add_memory(database, org_id, agent_id, "The database host is db.example.com.")


@pytest.fixture
async def cat(database: Database, org_id: UUID, agent_id: UUID) -> UUID:
    return await add_memory(database, org_id, agent_id, "The cat is called Wilhelmina.")


@pytest.fixture
async def request_id(
    database: Database, org_id: UUID, agent_id: UUID, host: UUID, cat: UUID
) -> str:
    """Of an answer that rests on the host."""
    session = await add_session(database, org_id, agent_id)
    request = await add_turn(database, org_id, session, 1, "Where?", "It is db.example.com.")
    await add_injection(database, org_id, agent_id, session, request, [host, cat])
    return request


async def usefulness(api: Api, memory: UUID) -> float:
    value: float = (await api.get(f"/memories/{memory}"))["usefulness"]
    return value


async def test_a_vote_on_an_answer_counts_for_what_it_rests_on_and_shows_at_once(
    api: Api,
    redis_client: redis.asyncio.Redis,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    host: UUID,
    cat: UUID,
    request_id: str,
) -> None:
    path = f"/injections/{request_id}"
    unseen = await api.get(path)
    assert unseen["observed_at"] is None
    assert [one["support"] for one in unseen["memories"]] == [None, None]

    answer = await api.call("POST", f"{path}/feedback", {"helpful": True})
    assert answer.body == {"request_id": request_id, "helpful": True, "memories": [str(host)]}
    seen = await api.get(path)
    assert seen["observed_at"] is not None
    supports = {one["memory_id"]: one["support"] for one in seen["memories"]}
    assert supports[str(host)] > 0.5 > supports[str(cat)]
    praised = await usefulness(api, host)
    assert praised > 0.65
    listed = await HotCache(redis_client, database).read(org_id, agent_id, None)
    assert {one.candidate.id: one.candidate.usefulness for one in listed}[host] == praised

    await api.call("POST", f"{path}/feedback", {"helpful": False})
    assert await usefulness(api, host) < 0.5
    await api.call("POST", f"{path}/feedback", {"helpful": False, "memories": [str(cat)]})
    assert await usefulness(api, cat) < 0.4
    assert await usefulness(api, host) > 0.5


async def test_a_vote_on_a_memory_as_such(api: Api, host: UUID) -> None:
    answer = await api.call("POST", f"/memories/{host}/feedback", {"helpful": False})
    assert answer.status == 200
    assert answer.body["usefulness"] == await usefulness(api, host) < 0.4


async def test_wrong_votes_are_refused(
    api: Api, database: Database, org_id: UUID, agent_id: UUID, request_id: str
) -> None:
    other = await add_memory(database, org_id, agent_id, "Another fact.")
    path = f"/injections/{request_id}/feedback"
    for body in ({}, {"helpful": 2}, {"helpful": True, "memories": [str(other)]}, {"good": True}):
        answer = await api.call("POST", path, body)
        assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request"), body


async def test_who_may_vote(
    api: Api,
    anonymous: Api,
    identity: IdentityStore,
    org_id: UUID,
    host: UUID,
    request_id: str,
) -> None:
    """Whoever may chat with the agent says what became of an answer, and no more."""
    other_agent = await identity.create_agent(org_id, "other")
    answer, memory = f"/injections/{request_id}/feedback", f"/memories/{host}/feedback"
    for scopes, agent, on_answer, on_memory in (
        (("chat",), None, 200, 403),
        (("write",), None, 200, 200),
        (("read",), None, 403, 403),
        (("chat", "write"), other_agent, 404, 404),
    ):
        token = await identity.create_token(org_id, "t", scopes=scopes, agent_id=agent)
        caller = anonymous.with_token(token.text)
        vote = {"helpful": True}
        assert (await caller.call("POST", answer, vote)).status == on_answer, scopes
        assert (await caller.call("POST", memory, vote)).status == on_memory, scopes
    assert (await api.call("POST", f"/injections/{new_id()}/feedback", vote)).status == 404
