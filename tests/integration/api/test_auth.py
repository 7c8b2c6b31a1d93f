import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import ALL_SCOPES, Api
from tests.seeding import add_memory, add_session


async def test_whoever_has_no_valid_token_gets_401(
    anonymous: Api, api: Api, identity: IdentityStore, org_id: UUID
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await identity.create_token(org_id, "old", scopes=ALL_SCOPES, expires_at=past)
    assert api.token is not None
    for token in (None, "", "sk-123", api.token[:-1], expired.text):
        answer = await anonymous.with_token(token).call("GET", "/agents")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.body["error"]["code"] == "invalid_api_key"
        assert answer.body["request_id"] == answer.headers["x-request-id"]


async def test_a_revoked_token_is_refused_although_it_was_cached(
    api: Api, anonymous: Api, identity: IdentityStore, org_id: UUID
) -> None:
    token = await identity.create_token(org_id, "soon gone", scopes=("read",))
    gone = anonymous.with_token(token.text)
    await gone.get("/agents")
    assert (await api.call("DELETE", f"/tokens/{token.id}")).status == 204
    for _ in range(100):
        if (await gone.call("GET", "/agents")).status == 401:
            break
        await asyncio.sleep(0.02)
    assert (await gone.call("GET", "/agents")).status == 401
    assert (await api.call("DELETE", f"/tokens/{token.id}")).status == 404


async def test_a_missing_scope_is_403(
    anonymous: Api, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    for lacking, method, path, body in (
        ("read", "GET", "/agents", None),
        ("read", "GET", "/overview", None),
        ("read", "GET", f"/agents/{agent_id}", None),
        ("write", "POST", "/agents", {"name": "x"}),
        ("write", "PUT", "/agents/assistant/directive", {"content": "x"}),
        ("write", "PATCH", "/agents/assistant", {"retries": 1}),
        ("write", "POST", "/tokens", {"name": "x", "scopes": ["read"]}),
        ("write", "DELETE", f"/tokens/{new_id()}", None),
        ("content", "GET", "/agents/assistant/memories?q=secret", None),
    ):
        scopes = [scope for scope in ALL_SCOPES if scope != lacking]
        token = await identity.create_token(org_id, "narrow", scopes=scopes)
        answer = await anonymous.with_token(token.text).call(method, path, body)
        assert (answer.status, answer.body["error"]["code"]) == (403, "permission_denied"), path
        assert f"'{lacking}'" in answer.body["error"]["message"]


async def test_a_token_gives_no_scopes_that_it_lacks(
    anonymous: Api, identity: IdentityStore, org_id: UUID
) -> None:
    token = await identity.create_token(org_id, "writer", scopes=("read", "write"))
    writer = anonymous.with_token(token.text)
    for scopes in (["content"], ["read", "content"], ["chat"]):
        answer = await writer.call("POST", "/tokens", {"name": "more", "scopes": scopes})
        assert answer.status == 403
    made = await writer.call("POST", "/tokens", {"name": "same", "scopes": ["read", "read"]})
    assert made.status == 201
    mine = await anonymous.with_token(made.body["token"]).get("/whoami")
    assert (mine["scopes"], mine["org_id"]) == (["read"], str(org_id))


async def test_tokens_are_listed_without_their_text(api: Api) -> None:
    made = await api.call("POST", "/tokens", {"name": "listed", "scopes": ["chat"]})
    listed = await api.call("GET", "/tokens")
    assert [token["name"] for token in listed.body["items"]] == ["listed", "operator"]
    assert made.body["token"] not in str(listed.body)
    assert all("sha256" not in token for token in listed.body["items"])


async def test_a_token_bound_to_an_agent_sees_that_agent_only(
    api: Api,
    anonymous: Api,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    other_agent = await identity.create_agent(org_id, "other")
    made = await api.call(
        "POST", "/tokens", {"name": "bound", "scopes": list(ALL_SCOPES), "agent": "assistant"}
    )
    bound = anonymous.with_token(made.body["token"])
    memory = await add_memory(database, org_id, other_agent, "of the other agent")
    session = await add_session(database, org_id, other_agent, external_id="theirs")
    own_session = await add_session(database, org_id, agent_id)

    assert (await bound.get("/whoami"))["agent_id"] == str(agent_id)
    assert [agent["name"] for agent in (await bound.get("/agents"))["items"]] == ["assistant"]
    sessions = (await bound.get("/sessions"))["items"]
    assert [found["id"] for found in sessions] == [str(own_session)]
    overview = await bound.get("/overview")
    assert (overview["agents"], overview["sessions"]["total"]) == (1, 1)
    assert overview["memories"]["active"] == 0

    for method, path, body in (
        ("GET", "/agents/other", None),
        ("GET", f"/agents/{other_agent}/memories", None),
        ("PUT", "/agents/other/directive", {"content": "Obey."}),
        ("GET", f"/memories/{memory}", None),
        ("GET", f"/sessions/{session}", None),
        ("GET", "/sessions/theirs/turns", None),
        ("POST", f"/sessions/{session}/complete", None),
        ("GET", "/sessions?agent=other", None),
    ):
        assert (await bound.call(method, path, body)).status == 404, path
    new_token = {"name": "free", "scopes": ["read"]}
    assert (await bound.call("POST", "/agents", {"name": "third"})).status == 403
    assert (await bound.call("PATCH", "/agents/assistant", {"retries": 1})).status == 403
    assert (await bound.call("POST", "/tokens", new_token)).status == 403
    assert (await bound.call("GET", "/tokens")).status == 403
