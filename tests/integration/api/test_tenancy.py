from uuid import UUID

from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.seeding import add_injection, add_memory, add_session, add_turn


async def test_what_another_organization_has_does_not_exist(
    api: Api,
    stranger: Api,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    """404 like for an id that nobody has, and word for word the same."""
    memory = await add_memory(database, org_id, agent_id, "Ours.")
    session = await add_session(database, org_id, agent_id, external_id="ours")
    request_id = await add_turn(database, org_id, session, 1, "Hi.", "Hello.")
    await add_injection(database, org_id, agent_id, session, request_id, [memory])
    token = await identity.create_token(org_id, "theirs")
    nobody = new_id()

    for method, path, known, unknown in (
        ("GET", "/agents/{}", agent_id, nobody),
        ("GET", "/agents/{}", "assistant", "nobody"),
        ("GET", "/agents/{}/memories", agent_id, nobody),
        ("GET", "/agents/{}/directive", agent_id, nobody),
        ("GET", "/memories/{}", memory, nobody),
        ("GET", "/memories/{}/history", memory, nobody),
        ("GET", "/sessions/{}", session, nobody),
        ("GET", "/sessions/{}", "ours", "nobody"),
        ("GET", "/sessions/{}/turns", session, nobody),
        ("GET", "/sessions/{}/archive", session, nobody),
        ("POST", "/sessions/{}/complete", session, nobody),
        ("GET", "/sessions?agent={}", agent_id, nobody),
        ("GET", "/injections/{}", request_id, nobody),
        ("POST", "/injections/{}/feedback", request_id, nobody),
        ("POST", "/memories/{}/feedback", memory, nobody),
        ("DELETE", "/tokens/{}", token.id, nobody),
    ):
        body = {"helpful": True} if path.endswith("/feedback") else None
        mine = await api.call(method, path.format(known), body)
        assert mine.status != 404 or path.endswith("/directive"), path
        theirs = await stranger.call(method, path.format(known), body)
        absent = await stranger.call(method, path.format(unknown), body)
        assert theirs.status == absent.status == 404, path
        assert theirs.body["error"] == absent.body["error"]

    for path in ("/agents", "/sessions"):
        assert (await stranger.get(path))["items"] == []
    assert len((await stranger.get("/tokens"))["items"]) == 1
    overview = await stranger.get("/overview")
    assert overview["organization"] == "another organization"
    assert overview["agents"] == overview["turns"] == overview["sessions"]["total"] == 0
    assert overview["memories"] == {"active": 0, "quarantined": 0, "superseded": 0}
    assert (await stranger.get("/pipeline"))["failures"] == []
    session_now = await api.get(f"/sessions/{session}")
    assert session_now["status"] == "completed"  # by its own organization's call above


async def test_a_name_taken_elsewhere_is_free_here(api: Api, stranger: Api, agent_id: UUID) -> None:
    assert (await api.call("POST", "/agents", {"name": "assistant"})).status == 409
    assert (await stranger.call("POST", "/agents", {"name": "assistant"})).status == 201
