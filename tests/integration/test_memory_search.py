from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ibex.ids import new_id
from ibex.memory.model import Category
from ibex.memory.scoring import static_score
from ibex.stores.identity import IdentityStore
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database
from tests.integration.recorded import add_session
from tests.integration.remembering import change, remember
from tests.unit.candidates import direction


@pytest.fixture
def reader(database: Database) -> MemoryReader:
    return MemoryReader(database)


async def test_the_nearest_and_the_ones_with_the_words_are_found(
    database: Database, reader: MemoryReader, org_id: UUID, agent_id: UUID
) -> None:
    async def add(content: str, *vector: float) -> UUID:
        return await remember(database, org_id, agent_id, content, vector=direction(*vector))

    near = await add("Something else entirely.", 1.0, 0.1)
    worded = await add("The databases' host is db.example.com.", 0.0, 1.0)
    await add("Cats sleep all day.", 0.0, 0.0, 1.0)
    found = await reader.search(
        org_id, agent_id, None, "Which database host?", direction(1.0), width=1
    )
    assert {one.candidate.id for one in found} == {near, worded}
    by_id = {one.candidate.id: one for one in found}
    assert by_id[near].lexical == 0
    assert by_id[worded].lexical == pytest.approx(1)
    assert by_id[near].candidate.embedding @ direction(1.0, 0.1) == pytest.approx(1, abs=1e-5)
    assert by_id[near].origin == "cold"


async def test_the_lexical_score_is_the_share_of_the_words(
    database: Database, reader: MemoryReader, org_id: UUID, agent_id: UUID
) -> None:
    half = await remember(database, org_id, agent_id, "Paris is in France.")
    often = await remember(database, org_id, agent_id, "Paris, Paris, Paris! A summer in Paris.")
    found = {
        one.candidate.id: one.lexical
        for one in await reader.search(org_id, agent_id, None, "Paris in winter?", None)
    }
    assert found[half] == pytest.approx(0.5, abs=1e-4)
    assert found[half] < found[often] <= 1
    long = "Paris " + " ".join(f"w{number}" for number in range(60))
    found = {
        one.candidate.id: one.lexical
        for one in await reader.search(org_id, agent_id, None, long, None)
    }
    assert found[half] == pytest.approx(1 / 5, abs=1e-4)


@pytest.mark.parametrize(
    "question", ["", "the of and", "':* & !", "a\0b", "\\ ' ''", "猫", "https://a.b/c\\d'e"]
)
async def test_no_question_breaks_the_search(
    database: Database, reader: MemoryReader, org_id: UUID, agent_id: UUID, question: str
) -> None:
    memory = await remember(database, org_id, agent_id, "A fact.")
    found = await reader.search(org_id, agent_id, None, question, direction(1.0))
    assert [one.candidate.id for one in found] == [memory]
    assert await reader.search(org_id, agent_id, None, question, None) == []


async def test_nothing_crosses_organizations_agents_or_users(
    database: Database,
    reader: MemoryReader,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    other_org = await identity.create_organization(f"other-{new_id()}")
    other_agent = await identity.create_agent(org_id, "other")
    foreign_agent = await identity.create_agent(other_org, "assistant")
    mine, yours = [await identity.user(org_id, name) for name in ("mine", "yours")]
    own = await remember(database, org_id, agent_id, "The secret is one.")
    my_own = await remember(database, org_id, agent_id, "The secret is two.", user_id=mine)
    await remember(database, org_id, agent_id, "The secret is three.", user_id=yours)
    await remember(database, org_id, other_agent, "The secret is four.")
    await remember(database, other_org, foreign_agent, "The secret is five.")

    async def found(org: UUID, agent: UUID, user: UUID | None) -> set[UUID]:
        searched = await reader.search(org, agent, user, "the secret", direction(1.0))
        return {one.candidate.id for one in searched}

    async def best(org: UUID, agent: UUID, user: UUID | None) -> set[UUID]:
        listed = await reader.best(org, agent, user, 50, datetime.now(UTC))
        return {one.id for one in listed}

    assert await found(org_id, agent_id, None) == {own}
    assert await found(org_id, agent_id, mine) == {own, my_own}
    assert await best(org_id, agent_id, None) == {own}
    assert await best(org_id, agent_id, mine) == {my_own}
    for org, agent, user in (
        (other_org, agent_id, mine),
        (org_id, foreign_agent, mine),
        (new_id(), agent_id, mine),
    ):
        assert await found(org, agent, user) == set()
        assert await best(org, agent, user) == set()


async def test_only_what_is_active_and_in_force_is_found(
    database: Database, reader: MemoryReader, org_id: UUID, agent_id: UUID
) -> None:
    now = datetime.now(UTC)
    valid = await remember(database, org_id, agent_id, "The secret is one.")
    quarantined = await remember(database, org_id, agent_id, "The secret is two.")
    superseded = await remember(database, org_id, agent_id, "The secret is three.")
    await change(database, org_id, quarantined, status="quarantined")
    await change(database, org_id, superseded, valid_to=now + timedelta(days=1))
    found = await reader.search(org_id, agent_id, None, "the secret", direction(1.0))
    assert [one.candidate.id for one in found] == [valid]
    assert [one.id for one in await reader.best(org_id, agent_id, None, 50, now)] == [valid]


async def test_the_database_orders_as_the_scoring_does(
    database: Database, reader: MemoryReader, org_id: UUID, agent_id: UUID
) -> None:
    now = datetime.now(UTC)
    for number in range(24):
        memory = await remember(
            database,
            org_id,
            agent_id,
            f"Fact {number}.",
            category=list(Category)[number % 3],
            said_at=now - timedelta(days=number * 97 % 1400),
            confidence=(number * 7 % 11) / 10,
        )
        await change(
            database,
            org_id,
            memory,
            usefulness=(number * 5 % 13) / 12,
            access_count=number**2 % 300,
        )
    every = await reader.best(org_id, agent_id, None, 24, now)
    scores = [static_score(one, now) for one in every]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 20
    best = await reader.best(org_id, agent_id, None, 5, now)
    assert [one.id for one in best] == [one.id for one in every[:5]]


async def test_an_episode_is_met_by_the_words_beside_it(
    database: Database,
    reader: MemoryReader,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session = await add_session(database, org_id, agent_id, said=[], completed=False)
    ann = await identity.user(org_id, "ann")

    async def say(place: int | None, content: str, user_id: UUID | None = None) -> UUID:
        memory = await remember(database, org_id, agent_id, content, user_id=user_id)
        await change(database, org_id, memory, session_id=session, place=place)
        return memory

    question = await say(1, "Where do you ski?")
    await say(None, "A fact of the same session.")
    answer = await say(2, "Mostly in Davos.")
    beside = await say(3, "Lovely place.")
    await say(4, "My boat is red.")
    other = await say(5, "I ski at home.", ann)
    found = {
        one.candidate.id: one.lexical
        for one in await reader.search(org_id, agent_id, None, "ski", None)
    }
    assert set(found) == {question, answer, beside}
    assert found[question] > found[answer] == found[beside] > 0
    seen = await reader.search(org_id, agent_id, ann, "ski", None)
    assert {one.candidate.id for one in seen} == {question, answer, beside, other}
    await change(database, org_id, question, status="quarantined")
    assert await reader.search(org_id, agent_id, None, "ski", None) == []
