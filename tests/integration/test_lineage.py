"""Where memories come from and where they went, after a real run of the pipeline."""

from uuid import UUID

import pytest

from ibex.errors import NotFoundError
from ibex.ids import new_id
from ibex.memory.usefulness import Observation
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.lineage import Lineage, LineageReader
from ibex.stores.postgres import Database
from ibex.stores.usefulness import Observed, UsefulnessStore
from tests.command_line import ibex, shown
from tests.integration.recorded import add_session
from tests.pipeline import learn
from tests.seeding import add_injection, add_turn
from tests.seeding import add_session as add_empty_session


async def observe(database: Database, org_id: UUID, memory_id: UUID) -> None:
    """All answers that wait, as the job would: each rests on the memory."""
    store = UsefulnessStore(database)
    answers = await store.unobserved(org_id, 10)
    rests = [Observation(memory_id, 0.9, 1.0)]
    await store.record(org_id, [Observed(answer, rests) for answer in answers])


@pytest.mark.usefixtures(
    "redis_server", "s3_server", "embedder_server", "sandbox_server", "environment"
)
async def test_a_memory_is_followed_to_its_archive_and_to_every_request(
    settings: Settings, database: Database, identity: IdentityStore
) -> None:
    org_id = await identity.create_organization("shop")
    agent_id = await identity.create_agent(org_id, "clerk")
    said_in = await add_session(database, org_id, agent_id)
    run_id = (await learn(settings)).run_id
    reader = LineageReader(database)

    async def of(name: object, limit: int = 10) -> Lineage:
        return await reader.of(org_id, str(name), limit=limit)

    made = await of(said_in)
    assert (made.kind, made.requests, made.more_memories) == ("session", [], False)
    assert {one.run_id for one in made.memories} == {run_id}
    fact = next(
        one for one in made.memories if "smoketest" in one.content and one.category == "declarative"
    )
    assert fact.versions[0].change == "created"
    assert {(one.session_id, tuple(one.turns)) for one in fact.statements} == {(said_in, (1,))}
    assert fact.extractor == fact.statements[0].extractor != ""
    (session,) = made.sessions
    assert session.archive is not None
    assert session.archive.key.endswith(f"{said_in}.ndjson")
    assert len(session.archive.sha256) == 64

    # Two sessions are given it: in the first nobody has looked at the answers of the second yet.
    used_in = [await add_empty_session(database, org_id, agent_id) for _ in range(2)]
    requests = []
    for session_id in used_in:
        for number in (1, 2):
            request_id = await add_turn(database, org_id, session_id, number, "Which host?", "db.")
            await add_injection(
                database, org_id, agent_id, session_id, request_id, [fact.id, made.memories[-1].id]
            )
            requests.append(request_id)
        if session_id == used_in[0]:
            await observe(database, org_id, fact.id)
    other = await add_empty_session(database, org_id, agent_id)
    unrelated = await add_turn(database, org_id, other, 1, "Hi.", "Hello.")
    gone = new_id()
    await add_injection(database, org_id, agent_id, other, unrelated, [gone])

    found = await of(fact.id)
    assert (found.kind, [one.id for one in found.memories]) == ("memory", [fact.id])
    assert [one.request_id for one in found.requests] == requests[::-1]
    assert [one.turn for one in found.requests] == [2, 1, 2, 1]
    assert [one.memories[0].support for one in found.requests] == [None, None, 0.9, 0.9]
    assert {one.memory_id for use in found.requests for one in use.memories} == {fact.id}
    assert {one.id for one in found.sessions} == {said_in, *used_in}
    page = await of(fact.id, limit=3)
    assert page.more_requests
    rest = await reader.of(org_id, str(fact.id), after=page.requests[-1].id, limit=3)
    assert ([one.request_id for one in rest.requests], rest.more_requests) == (requests[:1], False)

    request = await of(requests[0])
    assert (request.kind, [one.request_id for one in request.requests]) == (
        "request",
        requests[:1],
    )
    assert {one.id for one in request.memories} == {fact.id, made.memories[-1].id}
    assert {one.id for one in request.sessions} == {said_in, used_in[0]}
    forgotten = await of(unrelated)
    assert ([one.request_id for one in forgotten.requests], forgotten.gone) == ([unrelated], [gone])
    assert {one.request_id for one in (await of(said_in)).requests} == set(requests)

    for wrong in (new_id(), "no-such-request", "x\0y", str(org_id)):
        with pytest.raises(NotFoundError):
            await of(wrong)
    stranger = await identity.create_organization("another")
    bound = await identity.create_agent(org_id, "other")
    for name in (str(fact.id), requests[0], str(said_in)):
        with pytest.raises(NotFoundError):
            await reader.of(stranger, name, limit=1)
        with pytest.raises(NotFoundError):
            await reader.of(org_id, name, agent_id=bound, limit=1)

    at = ("--org", "shop")
    tree = await shown("lineage", str(fact.id), *at, "--requests", "1", "--archive-urls")
    for part in (str(said_in), run_id, fact.content, requests[-1], "sha256", "X-Amz", "--requests"):
        assert part in "".join(tree.split("\n")).replace("│", ""), part
    hidden = await shown("lineage", str(said_in), *at, "--no-content")
    assert "smoketest" not in hidden
    values = await ibex("lineage", requests[0], *at, "--no-content")
    assert values["kind"] == "request"
    assert {one["content"] for one in values["memories"]} == {None}
