"""`ibex pipeline …` on a real database."""

import pytest

from ibex.errors import ConflictError, InvalidRequestError, SessionNotFoundError
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.postgres import Database
from tests.command_line import ibex, shown
from tests.integration.recorded import add_session

AT = ("--org", "shop")


@pytest.mark.usefixtures("environment")
async def test_what_was_given_up_is_seen_and_tried_again(
    identity: IdentityStore, database: Database
) -> None:
    org_id = await identity.create_organization("shop")
    agent_id = await identity.create_agent(org_id, "clerk")
    jobs = JobStore(database)
    assert "0 sessions accepted" in await shown("pipeline", "status", *AT)
    sessions = [await add_session(database, org_id, agent_id) for _ in range(3)]
    claimed = await jobs.claim("run-1", 3, 60.0)
    await jobs.finish(claimed[0], 2)
    for job in claimed[1:]:
        await jobs.fail(job, "malformed_extraction", 1, 0.0)
    waiting = await add_session(database, org_id, agent_id)

    state = await ibex("pipeline", "status", *AT, "--agent", "clerk")
    counts = {name: state[name] for name in ("accepted", "done", "waiting", "leased", "dead")}
    assert counts == {"accepted": 4, "done": 1, "waiting": 1, "leased": 0, "dead": 2}
    assert [(one["code"], one["sessions"]) for one in state["dead_letters"]] == [
        ("malformed_extraction", 2)
    ]
    assert [(one["run_id"], one["done"], one["dead"]) for one in state["runs"]] == [("run-1", 1, 2)]
    dead = {one["session_id"] for one in state["latest_dead"]}
    assert dead == {str(job.session_id) for job in claimed[1:]} < {str(one) for one in sessions}
    table = await shown("pipeline", "status", *AT)
    assert "4 sessions accepted = 1 done + 1 waiting + 0 at work + 2 dead" in table
    assert "malformed_extraction" in table
    assert "The oldest has waited for" in table

    first, second = sorted(dead)
    assert (await ibex("pipeline", "status", *AT, "--session", first))["status"] == "dead"
    assert (await ibex("pipeline", "retry", first, *AT))["status"] == "waiting"
    assert "It is due." in await shown("pipeline", "status", *AT, "--session", first)
    assert await ibex("pipeline", "requeue", *AT, "--code", "lease_expired") == {"requeued": 0}
    assert await ibex("pipeline", "requeue", *AT, "--session", second) == {"requeued": 1}
    assert {job.session_id for job in await jobs.claim("run-2", 9, 60.0)} == {
        waiting,
        *(job.session_id for job in claimed[1:]),
    }

    with pytest.raises(ConflictError):
        await ibex("pipeline", "retry", first, *AT)
    with pytest.raises(SessionNotFoundError):
        await ibex("pipeline", "retry", "nothing", *AT)
    with pytest.raises(InvalidRequestError):
        await ibex("pipeline", "status", *AT, "--watch")
