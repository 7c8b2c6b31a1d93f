"""Backfills on the real stores: what a prompt taught is replaced by what another one teaches."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from ibex.backfills.model import Kind, State
from ibex.backfills.running import BackfillRunner
from ibex.errors import (
    BackfillNotFoundError,
    ConflictError,
    InvalidRequestError,
    ProviderUnavailableError,
    UnknownPromptError,
)
from ibex.extraction.prompts import BUILT_IN
from ibex.memory.model import Category, Fact, Provenance
from ibex.memory.writing import MemoryWriter
from ibex.settings import Settings
from ibex.stores import memories_write
from ibex.stores.identity import IdentityStore
from ibex.stores.memories_write import Owner
from ibex.stores.review import MemoryReview
from tests.command_line import ibex, shown
from tests.conftest import free_port
from tests.integration.recorded import START
from tests.pipeline import output, run_job
from tests.rereading import ACTOR, BRIEF, ECHO, HOST, SHORT, Place, fact


async def test_another_reading_is_compared_switched_and_reverted(place: Place) -> None:
    session_id = await place.session(
        fact(HOST, valid_from=START + timedelta(minutes=1)),
        fact(BRIEF, category=Category.PROCEDURAL, turns=(2,)),
        fact(ECHO),
    )
    at_first = await place.everything()
    ids = await place.believed()

    made = await place.backfill()
    ready = await place.run(made)
    assert (ready.status, ready.sessions, ready.done, ready.dead) == (State.READY, 1, 1, 0)
    assert ready.prompt_tokens > 0
    assert await place.everything() == at_first
    assert await place.changes(made) == {(Kind.CHANGED, BRIEF): SHORT, (Kind.GONE, ECHO): None}
    difference = await place.store.difference(place.org_id, made.id)
    (counts,) = difference.agents
    assert (counts.added, counts.gone, counts.changed) == (0, 1, 1)
    assert ready.unchanged == 1
    assert (difference.before.statements, difference.after.statements) == (3, 2)
    (usage,) = await place.rows("extraction_usage")
    assert (usage["purpose"], usage["prompt_tokens"]) == ("backfill", ready.prompt_tokens)
    assert difference.after.grounded_share > difference.before.grounded_share

    switched = await place.do(made, State.SWITCHING)
    assert (switched.status, switched.switched) == (State.SWITCHED, 1)
    now = await place.believed()
    assert set(now) == {HOST, SHORT}
    assert now[HOST][0] == ids[HOST][0]
    by_words = {row["content"]: row for row in await place.rows()}
    assert by_words[BRIEF]["superseded_by"] == by_words[SHORT]["id"]
    assert {row["prompt_version"] for row in (by_words[HOST], by_words[SHORT])} == {
        BUILT_IN["v1"].version
    }
    assert by_words[SHORT]["run_id"] == "run-2"
    versions = {(row["content"], row["change"]) for row in await place.rows("memory_versions")}
    assert {(ECHO, "set_aside"), (BRIEF, "set_aside"), (HOST, "reextracted")} <= versions
    hot = await place.tools.hot.read(place.org_id, place.agent_id, None)
    assert {one.candidate.content for one in hot} == {HOST, SHORT}

    reverted = await place.do(made, State.REVERTING)
    assert (reverted.status, reverted.switched) == (State.READY, 0)
    assert await place.believed() == ids
    assert {row["prompt_version"] for row in await place.rows() if row["id"] == ids[HOST][0]} == {
        "old"
    }
    await place.do(made, State.SWITCHING)
    assert await place.believed() == now
    statements = await place.rows("memory_statements")
    assert {row["session_id"] for row in statements} == {session_id}
    assert len(statements) == 2


async def test_what_a_wrong_fact_ended_holds_again(place: Place) -> None:
    first, second, third = (f"The staging database host is db{n}.example.com." for n in (1, 2, 3))
    about = {"subject": "staging database", "attribute": "host"}
    await place.teach(None, fact(first, 1, **about), fact(third, 9, **about))
    session_id = await place.session(fact(second, 5, **about))
    before = await place.believed()
    assert [before[one][1:] for one in (first, second, third)] == [(1, 5), (5, 9), (9, None)]

    made = await place.backfill()
    await place.wait(made, session_id)
    await place.run(made)
    assert await place.changes(made) == {(Kind.CHANGED, first): first, (Kind.GONE, second): None}
    await place.do(made, State.SWITCHING)
    now = await place.believed()
    assert [now[one][1:] for one in (first, third)] == [(1, 9), (9, None)]
    assert (now[first][0], now[third][0]) == (before[first][0], before[third][0])
    await place.do(made, State.REVERTING)
    assert await place.believed() == before


_SAID = (
    ("The staging database host is db1.example.com.", {"attribute": "host"}),
    ("The staging database host is db2.example.com.", {"attribute": "host"}),
    ("The staging database uses the host db1.example.com.", {"attribute": "host"}),
    ("The staging database host is db1.example.com in Lisbon.", {"attribute": "host"}),
)


async def test_the_switch_leaves_what_the_pipeline_would_have_made(place: Place) -> None:
    """Whatever stays, goes and comes: as if the new facts alone had ever been written."""
    identity = IdentityStore(place.database)

    def said(numbers: Sequence[int], day: int) -> list[Fact]:
        return [
            fact(_SAID[one][0], day + 3 * at, subject="staging database", **_SAID[one][1])
            for at, one in enumerate(numbers)
        ]

    choices = [(0,), (1, 0), (2,), (3, 1)]
    for number, (kept, gone, new) in enumerate(list(product(choices, repeat=3))[::7]):
        other = replace(place, agent_id=await identity.create_agent(place.org_id, f"a-{number}"))
        expected = replace(place, agent_id=await identity.create_agent(place.org_id, f"b-{number}"))
        stays, goes, comes = said(kept, 1), said(gone, 2), said(new, 3)
        await other.teach(None, *stays)
        session_id = await other.session(*goes)
        twin = await expected.session()
        before = {words: one[1:] for words, one in (await other.believed()).items()}

        made = await other.backfill()
        await other.wait(made, session_id, *comes)
        await other.run(made)
        await other.do(made, State.SWITCHING)
        await expected.teach(None, *stays)
        await expected.teach(twin, *comes)
        assert {words: one[1:] for words, one in (await other.believed()).items()} == {
            words: one[1:] for words, one in (await expected.believed()).items()
        }, (kept, gone, new)
        await other.do(made, State.REVERTING)
        assert {words: one[1:] for words, one in (await other.believed()).items()} == before


async def test_operators_and_episodes_are_left_alone(place: Place) -> None:
    session_id = await place.session(
        fact(HOST), fact(ECHO), fact(BRIEF, category=Category.PROCEDURAL)
    )
    review = MemoryReview(place.database, place.tools.hot)
    ids = {words: one[0] for words, one in (await place.believed()).items()}
    await review.reject(place.org_id, ids[HOST], ACTOR)
    await review.expire(place.org_id, ids[ECHO], datetime.now(UTC) + timedelta(days=1), ACTOR)
    writer = MemoryWriter(place.database, place.tools.embedder, place.tools.settings)
    said = fact("User: good words.", category=Category.EPISODIC, place=1000)
    made_by = Provenance(session_id, "episodes/1", "none", "none", "run-1")
    await writer.write(place.org_id, place.agent_id, None, [said], made_by, {1: START})

    made = await place.backfill()
    await place.wait(made, session_id, fact(HOST))
    await place.do(await place.run(made), State.SWITCHING)
    rows = {row["content"]: row for row in await place.rows()}
    assert (rows[HOST]["status"], rows[HOST]["valid_to"]) == ("rejected", None)
    assert rows[ECHO]["valid_to"] is None
    assert (rows["User: good words."]["valid_to"], rows["User: good words."]["place"]) == (
        None,
        1000,
    )
    assert rows[BRIEF]["valid_to"] == rows[BRIEF]["valid_from"]


async def test_users_stay_apart_and_what_was_learned_meanwhile_stays(place: Place) -> None:
    identity = IdentityStore(place.database)
    ada, bob = [await identity.user(place.org_id, name) for name in ("ada", "bob")]
    sessions = {user: await place.session(fact(BRIEF), user=user) for user in (ada, bob)}
    made = await place.backfill()
    for user, session_id in sessions.items():
        await place.wait(made, session_id, fact(HOST), user=user)
    await place.run(made)
    await place.teach(None, fact("User owns a cat."), user=ada)
    await place.teach(sessions[ada], fact("User owns a dog.", turns=(9,)), user=ada)
    await place.do(made, State.SWITCHING)
    found = {
        (row["user_id"], row["content"]) for row in await place.rows() if row["valid_to"] is None
    }
    assert found == {(ada, HOST), (bob, HOST), (ada, "User owns a cat.")}


async def test_a_model_that_is_away_leaves_the_rest_for_the_next_worker(place: Place) -> None:
    await place.session(fact(ECHO))
    made = await place.backfill()
    down = place.tools.settings.model_copy(
        update={"provider_base_url": f"http://127.0.0.1:{free_port()}/v1"}
    )
    away = BackfillRunner(replace(place.tools, settings=down), "run-1", first_wait=0)
    with pytest.raises(ProviderUnavailableError):
        await away.run(place.org_id, made.id)
    waiting = await place.store.backfill(place.org_id, made.id)
    assert (waiting.status, waiting.last_error) == (State.WAITING, "provider_unavailable")
    assert [due.id for due in await place.store.due(9)] == [made.id]
    ready = await place.run(made)
    assert (ready.status, ready.last_error, ready.done) == (State.READY, None, 1)
    assert await place.store.due(9) == []


async def test_one_worker_at_a_time_until_its_lease_ends(place: Place) -> None:
    await place.session(fact(ECHO))
    made = await place.backfill()
    await place.store.take(place.org_id, made.id, "killed", 60)
    with pytest.raises(ConflictError, match="works on"):
        await place.run(made)
    assert await place.store.due(9) == []
    await place.store.renew(place.org_id, made.id, "killed", -1)
    assert [due.id for due in await place.store.due(9)] == [made.id]
    assert (await place.run(made)).status is State.READY


async def test_what_is_switched_is_not_discarded_and_a_newer_one_reverts_first(
    place: Place,
) -> None:
    await place.session(fact(ECHO))
    first, second = [await place.run(await place.backfill()) for _ in range(2)]
    for one in (first, second):
        await place.do(one, State.SWITCHING)
    with pytest.raises(ConflictError, match="are believed"):
        await place.store.discard(place.org_id, first.id, ACTOR)
    with pytest.raises(ConflictError, match=str(second.id)):
        await place.store.ask(place.org_id, first.id, State.REVERTING, ACTOR)
    await place.do(second, State.REVERTING)
    await place.do(first, State.REVERTING)
    assert set(await place.believed()) == {ECHO}
    gone = await place.store.discard(place.org_id, first.id, ACTOR)
    assert gone.status is State.DISCARDED
    assert await place.store.changes(place.org_id, first.id, limit=9) == []
    with pytest.raises(BackfillNotFoundError):
        await place.store.backfill(place.org_id, place.agent_id)

    again = await place.do(second, State.SWITCHING)
    assert again.revert_until is not None
    (due,) = await place.store.expired(again.revert_until)
    await place.store.forget_replaced(due, again.revert_until)
    assert await place.rows("backfill_facts") == []
    with pytest.raises(ConflictError, match="no longer"):
        await place.store.ask(place.org_id, second.id, State.REVERTING, ACTOR)


@pytest.mark.usefixtures("redis_server", "s3_server")
async def test_the_job_takes_what_waits_or_makes_its_own(place: Place, settings: Settings) -> None:
    await place.session(fact(ECHO))
    made = await place.backfill()

    async def work(**wanted: str) -> Mapping[str, Any]:
        config = {"ops": {"read_again": {"config": wanted}}}
        return output(await run_job(settings, "backfill", config=config))

    found = await work(backfill=str(made.id))
    assert (found["backfill"], found["state"]) == (str(made.id), State.READY)
    assert (found["gone"], found["added"], found["sessions"]) == (1, 2, 1)
    assert not any(words in str(found) for words in (ECHO, HOST, SHORT))
    await place.store.ask(place.org_id, made.id, State.SWITCHING, ACTOR)
    assert (await work(backfill=str(made.id)))["state"] == State.SWITCHED
    assert set(await place.believed()) == {HOST, SHORT}

    org = await place.name()
    another = await work(org=org, since="2026-01-01")
    assert another["backfill"] != str(made.id)
    assert (another["gone"], another["added"], another["unchanged"]) == (0, 0, 2)
    refused = await run_job(settings, "backfill", fails=True)
    assert not [one for one in refused.all_events if one.is_step_up_for_retry]


@pytest.mark.usefixtures("environment", "s3_server")
async def test_the_command_line_from_the_wish_to_the_way_back(
    place: Place,
) -> None:
    await place.session(fact(ECHO))
    own = ("--org", await place.name())
    made = await ibex("backfill", "memories", "--since", "2026-01-01", "--model", "sandbox", *own)
    assert (made["status"], made["done"], made["agents"][0]["gone"]) == ("ready", 1, 1)
    (listed,) = await ibex("backfill", "list", *own)
    assert listed["id"] == made["id"]
    assert (await ibex("backfill", "show", made["id"], *own))["after"]["statements"] == 2

    told = await shown("backfill", "diff", made["id"], *own)
    assert ECHO not in told
    sampled = await ibex("backfill", "diff", made["id"], "--samples", "9", *own)
    assert {(one["before"], one["after"]) for one in sampled["samples"]} == {
        (ECHO, None),
        (None, HOST),
        (None, SHORT),
    }
    only = await ibex("backfill", "diff", made["id"], "--samples", "9", "--kind", "gone", *own)
    assert [one["before"] for one in only["samples"]] == [ECHO]

    assert (await ibex("backfill", "switch", made["id"], "--yes", *own))["status"] == "switched"
    assert set(await place.believed()) == {HOST, SHORT}
    with pytest.raises(ConflictError):
        await ibex("backfill", "discard", made["id"], "--yes", *own)
    assert (await ibex("backfill", "revert", made["id"], *own))["status"] == "ready"
    assert set(await place.believed()) == {ECHO}
    gone = await ibex("backfill", "discard", made["id"], "--yes", *own)
    assert (gone["status"], gone["sessions"]) == ("discarded", 1)

    waiting = await ibex("backfill", "memories", "--since", "2026-01-01", "--background", *own)
    assert waiting["status"] == "waiting"
    with pytest.raises(InvalidRequestError, match="No session"):
        await ibex("backfill", "memories", "--since", "2030-01-01", *own)
    with pytest.raises(UnknownPromptError):
        await ibex("backfill", "memories", "--since", "2026-01-01", "--prompt", "v9", *own)


async def test_a_switch_that_is_stopped_goes_on_with_the_agents_that_are_left(
    place: Place, identity: IdentityStore
) -> None:
    other = replace(place, agent_id=await identity.create_agent(place.org_id, "other"))
    for one in (place, other):
        await one.session(fact(ECHO))
    first, second = sorted((place, other), key=lambda one: one.agent_id)
    made = await replace(place, every_agent=True).backfill()
    await place.run(made)
    await place.store.ask(place.org_id, made.id, State.SWITCHING, ACTOR)
    async with place.database.tenant(place.org_id) as connection:
        await memories_write.lock(connection, Owner(place.org_id, second.agent_id, None))
        switching = asyncio.create_task(place.run(made))
        for _ in range(600):
            if (await place.store.backfill(place.org_id, made.id)).switched:
                break
            await asyncio.sleep(0.05)
        switching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await switching
    assert set(await first.believed()) == {HOST, SHORT}
    assert set(await second.believed()) == {ECHO}
    stopped = await place.store.backfill(place.org_id, made.id)
    assert (stopped.status, stopped.last_error) == (State.SWITCHING, "interrupted")
    assert [due.id for due in await place.store.due(9)] == [made.id]
    assert (await place.run(made)).switched == 2
    assert set(await second.believed()) == {HOST, SHORT}
