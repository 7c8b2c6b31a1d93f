"""The pipeline's work as the API shows it, and what it lets operators do about it."""

from uuid import UUID

from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.integration.recorded import add_session

LEASE = 60.0


async def give_up(database: Database, run: str, code: str) -> None:
    """Every session that can be claimed fails for good."""
    jobs = JobStore(database)
    for job in await jobs.claim(run, 100, LEASE):
        await jobs.fail(job, code, 1, 0.0)


async def due(database: Database, session_id: UUID) -> bool:
    async with database.system() as connection:
        found: bool = await connection.fetchval(
            "SELECT available_at <= now() FROM ibex_core.extraction_jobs WHERE session_id = $1",
            session_id,
        )
    return found


async def test_every_session_is_accounted_for_and_dead_letters_are_tried_again(
    api: Api,
    without_content: Api,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    jobs = JobStore(database)
    other = await identity.create_agent(org_id, "other")
    await add_session(database, org_id, agent_id)
    (done,) = await jobs.claim("run-1", 1, LEASE)
    await jobs.finish(done, 2)
    malformed = [await add_session(database, org_id, agent_id) for _ in range(3)]
    await give_up(database, "run-2", "malformed_extraction")
    lost = await add_session(database, org_id, other)
    await give_up(database, "run-3", "lease_expired")
    again = await add_session(database, org_id, other)
    (failed,) = await jobs.claim("run-4", 1, LEASE)
    assert failed.session_id == again
    await jobs.fail(failed, "provider_timeout", 3, 600.0)
    await add_session(database, org_id, agent_id, completed=False)
    await add_session(database, org_id, other)

    state = await without_content.get("/pipeline")
    assert state["accepted"] == 7
    assert state["jobs"] == {"waiting": 2, "leased": 0, "done": 1, "dead": 4}
    assert [(one["code"], one["sessions"]) for one in state["dead_letters"]] == [
        ("malformed_extraction", 3),
        ("lease_expired", 1),
    ]
    runs = {one["run_id"]: one for one in state["runs"]}
    assert [one["run_id"] for one in state["runs"]] == ["run-4", "run-3", "run-2", "run-1"]
    assert (runs["run-1"]["sessions"], runs["run-1"]["done"]) == (1, 1)
    assert (runs["run-2"]["sessions"], runs["run-2"]["dead"]) == (3, 3)
    assert (runs["run-4"]["waiting"], runs["run-4"]["leased"]) == (1, 0)
    of_one = await api.get("/pipeline?agent=other")
    assert of_one["jobs"] == {"waiting": 2, "leased": 0, "done": 0, "dead": 1}

    letters = "/pipeline/dead-letters"
    assert await api.every_id(letters, 1) == await api.every_id(letters, 50)
    listed = (await api.get(f"{letters}?code=malformed_extraction"))["items"]
    assert {one["session_id"] for one in listed} == {str(one) for one in malformed}
    assert {(one["agent"], one["attempts"], one["run_id"]) for one in listed} == {
        ("assistant", 1, "run-2")
    }

    path = f"/pipeline/sessions/{malformed[0]}"
    assert (await api.get(path))["last_error"] == "malformed_extraction"
    for _ in range(2):
        answer = await api.call("POST", f"{path}/retry")
        assert (answer.status, answer.body["status"], answer.body["attempts"]) == (
            200,
            "waiting",
            0,
        )
    # One that waits for another try waits no longer.
    assert not await due(database, again)
    await api.call("POST", f"/pipeline/sessions/{again}/retry")
    assert await due(database, again)
    answer = await api.call("POST", "/pipeline/requeue", {"code": "lease_expired"})
    assert answer.body == {"requeued": 1}
    assert (await api.get(f"/pipeline/sessions/{lost}"))["status"] == "waiting"
    answer = await api.call("POST", "/pipeline/requeue", {"session": str(malformed[1])})
    assert answer.body == {"requeued": 1}
    assert (await api.call("POST", "/pipeline/requeue", {})).body == {"requeued": 1}
    assert (await api.call("POST", "/pipeline/requeue", {})).body == {"requeued": 0}


async def test_there_is_a_reason_when_nothing_can_be_tried(
    api: Api, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    jobs = JobStore(database)
    active = await add_session(database, org_id, agent_id, completed=False)
    answer = await api.call("POST", f"/pipeline/sessions/{active}/retry")
    assert (answer.status, "not complete" in answer.body["error"]["message"]) == (409, True)
    assert (await api.call("GET", f"/pipeline/sessions/{active}")).status == 404
    session = await add_session(database, org_id, agent_id)
    (job,) = await jobs.claim("run", 1, LEASE)
    answer = await api.call("POST", f"/pipeline/sessions/{session}/retry")
    assert (answer.status, "at this moment" in answer.body["error"]["message"]) == (409, True)
    await jobs.finish(job, 2)
    answer = await api.call("POST", f"/pipeline/sessions/{session}/retry")
    assert (answer.status, "is extracted" in answer.body["error"]["message"]) == (409, True)


async def test_others_see_and_change_nothing(
    api: Api,
    anonymous: Api,
    without_content: Api,
    stranger: Api,
    database: Database,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session = await add_session(database, org_id, agent_id)
    await give_up(database, "run", "x")
    other = await identity.create_agent(org_id, "other")
    bound = await identity.create_token(org_id, "app", agent_id=other, scopes=("read", "write"))
    for caller in (stranger, anonymous.with_token(bound.text)):
        state = await caller.get("/pipeline")
        assert (state["accepted"], state["dead_letters"], state["runs"]) == (0, [], [])
        assert (await caller.get("/pipeline/dead-letters"))["items"] == []
        assert (await caller.call("POST", "/pipeline/requeue", {})).body == {"requeued": 0}
        for method, path in (("GET", ""), ("POST", "/retry")):
            answer = await caller.call(method, f"/pipeline/sessions/{session}{path}")
            assert answer.status == 404
        for wrong in ({"session": str(session)}, {"agent": "assistant"}):
            assert (await caller.call("POST", "/pipeline/requeue", wrong)).status == 404
    for path in ("/pipeline/requeue", f"/pipeline/sessions/{session}/retry"):
        assert (await without_content.call("POST", path, {})).status == 403
    assert (await api.get("/pipeline"))["jobs"]["dead"] == 1
