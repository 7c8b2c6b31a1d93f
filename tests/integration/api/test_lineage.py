"""Lineage and checks by the API: who may see what."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ibex.checks.catalogue import CHECKS, Name, Result, Seen, Severity
from ibex.ids import new_id
from ibex.stores.checks import CheckStore
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.seeding import add_injection, add_memory, add_session, add_turn, insert


async def test_lineage_says_what_the_token_may_see(
    api: Api,
    without_content: Api,
    stranger: Api,
    anonymous: Api,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id, external_id="chat-1")
    memory_id = await add_memory(
        database, org_id, agent_id, "The host is db-7.", session_id=session_id, turns=[1]
    )
    await insert(
        database,
        org_id,
        "archive_files",
        kind="session",
        bucket="ibex-sessions",
        key="a/b/c.ndjson",
        session_id=session_id,
        rows=1,
        bytes=10,
        sha256=bytes(32),
        schema_version=1,
    )
    requests = []
    for number in (1, 2, 3):
        requests.append(await add_turn(database, org_id, session_id, number, "Host?", "db-7"))
        await add_injection(database, org_id, agent_id, session_id, requests[-1], [memory_id])

    found = await api.get(f"/lineage/{memory_id}?limit=2")
    assert (found["kind"], found["memories"][0]["content"]) == ("memory", "The host is db-7.")
    assert [one["request_id"] for one in found["requests"]] == requests[:0:-1]
    assert found["sessions"][0]["archive"]["url"] is None
    rest = await api.get(f"/lineage/{memory_id}?limit=2&cursor={found['next_cursor']}")
    assert [one["request_id"] for one in rest["requests"]] == requests[:1]
    assert rest["next_cursor"] is None
    assert (await api.get(f"/lineage/{requests[0]}"))["kind"] == "request"
    assert (await api.get("/lineage/chat-1"))["kind"] == "session"
    signed = await api.get(f"/lineage/{session_id}?archive_urls=true")
    assert "X-Amz-Signature" in signed["sessions"][0]["archive"]["url"]

    hidden = await without_content.get(f"/lineage/{memory_id}")
    assert "db-7" not in str(hidden)
    refused = await without_content.call("GET", f"/lineage/{memory_id}?archive_urls=true")
    assert refused.status == 403
    other = await identity.create_agent(org_id, "other")
    bound = await identity.create_token(org_id, "bound", agent_id=other, scopes=("read",))
    for name in (memory_id, requests[0], session_id):
        for who in (stranger, anonymous.with_token(bound.text)):
            answer = await who.call("GET", f"/lineage/{name}")
            assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")
    for wrong in (new_id(), "nothing"):
        assert (await api.call("GET", f"/lineage/{wrong}")).status == 404
    assert (await anonymous.call("GET", f"/lineage/{memory_id}")).status == 401


async def test_checks_are_listed_with_what_they_found(
    api: Api,
    stranger: Api,
    anonymous: Api,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    listed = await api.get("/checks")
    assert (listed["failing"], len(listed["checks"])) == (0, len(CHECKS))
    assert {one["result"] for one in listed["checks"]} == {None}

    store, now = CheckStore(database), datetime.now(UTC)
    check = CHECKS[Name.EMBEDDINGS]
    for number, wrong in enumerate((0, 2, 0, 3)):
        seen = Seen(10, {"missing": wrong}, wrong, [str(agent_id)] * bool(wrong))
        result = Result(check, seen, 0, Severity.ERROR)
        at = now + timedelta(minutes=number)
        await store.record(org_id, result, "run", at, timedelta(days=1))
    listed = await api.get("/checks")
    assert listed["failing"] == 1
    (found,) = [one["result"] for one in listed["checks"] if one["name"] == "embeddings"]
    assert (found["passed"], found["value"], found["found"]) == (False, 3, {"missing": 3})
    ids = await api.every_id("/checks/embeddings/results", 2)
    assert len(ids) == 4
    assert ids[0] == found["id"]

    assert (await stranger.get("/checks"))["failing"] == 0
    assert await stranger.every_id("/checks/embeddings/results", 2) == []
    assert (await api.call("GET", "/checks/nothing/results")).status == 400
    bound = await identity.create_token(org_id, "bound", agent_id=agent_id, scopes=("read",))
    assert (await anonymous.with_token(bound.text).call("GET", "/checks")).status == 403


@pytest.mark.parametrize("path", ["/checks", "/checks/embeddings/results"])
async def test_whoever_may_not_read_sees_no_checks(
    anonymous: Api, identity: IdentityStore, org_id: UUID, path: str
) -> None:
    chat = await identity.create_token(org_id, "app", scopes=("chat",))
    assert (await anonymous.with_token(chat.text).call("GET", path)).status == 403
