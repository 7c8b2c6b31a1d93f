"""What becomes of statements in PostgreSQL, with the real embedder and the real rules."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest

from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter, WriteResult
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.recorded import add_session
from tests.integration.remembering import change

START = datetime(2026, 1, 1, tzinfo=UTC)
HOST = "The staging database host is {}."
OTHERWISE = "The staging database uses the host db1.example.com."
FULLER = "The staging database host is db1.example.com in Lisbon."
FIRST, SECOND, THIRD = (HOST.format(f"db{number}.example.com") for number in (1, 2, 3))


def fact(content: str, day: int, **changes: Any) -> Fact:
    values: dict[str, Any] = {
        "category": Category.DECLARATIVE,
        "content": content,
        "confidence": 0.8,
        "source": Source.USER,
        "turns": (1,),
        "subject": "staging database",
        "attribute": "host",
        "valid_from": START + timedelta(days=day),
    }
    return Fact(**values | changes)


class Agent:
    """An agent's memories, written and read."""

    def __init__(
        self, writer: MemoryWriter, database: Database, org_id: UUID, agent_id: UUID
    ) -> None:
        self.writer = writer
        self.database = database
        self.org_id = org_id
        self.agent_id = agent_id

    async def write(
        self, *facts: Fact, session: UUID | None = None, user: UUID | None = None
    ) -> WriteResult:
        made_by = Provenance(session, "facts/1", "abc", "sandbox", "run-1")
        said_at = {1: START, 2: START}
        return await self.writer.write(self.org_id, self.agent_id, user, facts, made_by, said_at)

    async def rows(self, table: str = "memories") -> list[Any]:
        async with self.database.tenant(self.org_id) as connection:
            found = await connection.fetch(
                f"SELECT * FROM ibex_core.{table} WHERE org_id = $1",  # noqa: S608
                self.org_id,
            )
        return sorted(found, key=lambda row: str(row.get("valid_from") or row["created_at"]))

    async def believed(self) -> list[tuple[str, int, int | None]]:
        """Words, and the days from and until which they hold."""
        found = [
            (
                row["content"],
                (row["valid_from"] - START).days,
                (row["valid_to"] - START).days if row["valid_to"] else None,
            )
            for row in await self.rows()
            if row["agent_id"] == self.agent_id
        ]
        return sorted(found, key=str)


@pytest.fixture
async def agent(
    settings: Settings,
    embedder_server: ProcessSpec,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> AsyncIterator[Agent]:
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)
    yield Agent(MemoryWriter(database, embedder, settings), database, org_id, agent_id)
    await embedder.close()


async def another(agent: Agent, name: str) -> Agent:
    made = await IdentityStore(agent.database).create_agent(agent.org_id, name)
    return Agent(agent.writer, agent.database, agent.org_id, made)


async def test_a_wish_that_was_an_episode_first_is_a_wish(agent: Agent) -> None:
    words = "From now on answer in French."
    kinds = (Category.EPISODIC, Category.PROCEDURAL)
    episode, wish = (fact(words, 1, category=kind, subject="") for kind in kinds)
    await agent.write(episode)
    for _ in range(2):
        result = await agent.write(wish)
        (memory,) = await agent.rows()
        assert (memory["category"], memory["version"]) == (Category.PROCEDURAL, 2)
    assert not result.changed
    (statement,) = await agent.rows("memory_statements")
    assert statement["category"] == Category.PROCEDURAL


async def test_a_newer_value_supersedes_the_older(agent: Agent) -> None:
    await agent.write(fact(FIRST, 1))
    result = await agent.write(fact(SECOND, 5))
    assert (len(result.created), len(result.superseded), result.changed) == (1, 1, True)
    assert await agent.believed() == [(FIRST, 1, 5), (SECOND, 5, None)]

    older, newer = await agent.rows()
    assert older["superseded_by"] == newer["id"]
    assert (older["version"], newer["version"]) == (2, 1)
    (edge,) = await agent.rows("memory_relationships")
    assert (edge["from_memory_id"], edge["to_memory_id"]) == (newer["id"], older["id"])
    assert edge["kind"] == "supersedes"
    versions = await agent.rows("memory_versions")
    (closed,) = [row for row in versions if row["change"] == "superseded"]
    assert datetime.fromisoformat(closed["snapshot"]["valid_to"]) == START + timedelta(days=5)
    assert (closed["version"], closed["content"]) == (2, FIRST)


async def test_what_takes_a_memory_s_place_is_as_useful_as_its_answers_made_it(
    agent: Agent,
) -> None:
    result = await agent.write(fact(FIRST, 1), fact("User likes tea.", 1, attribute="likes"))
    for memory in result.created:
        await change(
            agent.database,
            agent.org_id,
            memory,
            observed_usefulness=0.8,
            usefulness=0.9,  # by votes, about other words
            access_count=7,
        )
    await agent.write(fact(SECOND, 5), fact("User owns a cat.", 5, attribute="pets"))
    found = {row["content"]: row for row in await agent.rows()}
    newer = found[SECOND]
    assert (newer["usefulness"], newer["observed_usefulness"]) == (0.8, 0.8)
    assert newer["access_count"] == 0
    assert found["User owns a cat."]["usefulness"] == 0.5
    assert found[FIRST]["usefulness"] == 0.9


async def test_an_update_need_not_be_near(agent: Agent) -> None:
    """The cosine of the first two is 0.79; that of the likes is about the same."""
    city, likes = ({"subject": "User", "attribute": name} for name in ("city", "likes"))
    await agent.write(fact("User lives in Berlin.", 1, **city), fact("User likes tea.", 1, **likes))
    result = await agent.write(
        fact("User lives in Hamburg.", 5, **city), fact("User likes coffee.", 5, **likes)
    )
    assert (len(result.created), len(result.superseded)) == (2, 1)
    assert await agent.believed() == [
        ("User likes coffee.", 5, None),
        ("User likes tea.", 1, None),
        ("User lives in Berlin.", 1, 5),
        ("User lives in Hamburg.", 5, None),
    ]


async def test_the_same_in_other_words_makes_a_memory_surer(agent: Agent) -> None:
    sessions = [await add_session(agent.database, agent.org_id, agent.agent_id) for _ in range(2)]
    await agent.write(fact(FIRST, 1, message_ids=("m1",)), session=sessions[0])
    result = await agent.write(fact(OTHERWISE, 2), session=sessions[1])
    assert (result.created, result.duplicates, len(result.merged)) == ((), 1, 1)

    (memory,) = await agent.rows()
    assert (memory["content"], memory["session_id"]) == (FIRST, sessions[0])
    assert memory["confidence"] == pytest.approx(0.96)
    assert memory["version"] == 2
    first, second = await agent.rows("memory_statements")
    assert (first["content"], first["session_id"]) == (None, sessions[0])
    assert (second["content"], second["session_id"]) == (OTHERWISE, sessions[1])
    assert second["memory_id"] == memory["id"]

    again = await agent.write(fact(OTHERWISE, 2), session=sessions[1])
    assert (again.changed, again.duplicates) == (False, 1)
    assert len(await agent.rows("memory_statements")) == 2
    assert len(await agent.rows("memory_versions")) == 2


async def test_a_fact_said_twice_in_a_session_rests_on_both_turns(agent: Agent) -> None:
    session = await add_session(agent.database, agent.org_id, agent.agent_id)
    await agent.write(fact(FIRST, 1, message_ids=("m1",)), session=session)
    await agent.write(fact(FIRST, 2, turns=(2,), message_ids=("m2",)), session=session)
    (memory,) = await agent.rows()
    assert (memory["turns"], memory["message_ids"]) == ([1, 2], ["m1", "m2"])


async def test_no_order_and_no_retry_changes_what_is_believed(agent: Agent) -> None:
    facts = [
        fact(FIRST, 1),
        fact(SECOND, 3),
        fact(FIRST, 5),
        fact(OTHERWISE, 6),
        fact("Ada works in Lisbon.", 2, subject="Ada", attribute="place of work"),
    ]
    orders: list[Sequence[Fact]] = [facts, *list(permutations(facts))[7::17]]
    seen = []
    for number, order in enumerate(orders):
        other = await another(agent, f"agent-{number}")
        for one in order:
            await other.write(one)
        for one in order[:2]:
            await other.write(one)
        seen.append(await other.believed())
    at_once = await another(agent, "at once")
    await at_once.write(*facts)
    assert all(one == seen[0] for one in [*seen, await at_once.believed()])
    assert seen[0] == [
        ("Ada works in Lisbon.", 2, None),
        (FIRST, 1, 3),
        (FIRST, 5, None),
        (SECOND, 3, 5),
    ]


async def test_writers_at_once_agree(agent: Agent) -> None:
    said = [fact(FIRST, 1), fact(SECOND, 3), fact(THIRD, 5), fact(FIRST, 1)]
    await asyncio.gather(*(agent.write(one) for one in said))
    assert await agent.believed() == [(FIRST, 1, 3), (SECOND, 3, 5), (THIRD, 5, None)]
    by_words = {row["content"]: row for row in await agent.rows()}
    assert by_words[FIRST]["superseded_by"] == by_words[SECOND]["id"]
    assert by_words[SECOND]["superseded_by"] == by_words[THIRD]["id"]


async def test_what_a_user_says_meets_that_users_memories_only(agent: Agent) -> None:
    identity = IdentityStore(agent.database)
    ada, bob = [await identity.user(agent.org_id, name) for name in ("ada", "bob")]
    await agent.write(fact(FIRST, 1))
    await agent.write(fact(FIRST, 1), user=ada)
    result = await agent.write(fact(SECOND, 5), user=bob)
    assert (len(result.created), result.superseded) == (1, ())
    await agent.write(fact(SECOND, 5), user=ada)
    ends = {(row["user_id"], row["content"]): row["valid_to"] for row in await agent.rows()}
    assert ends[ada, FIRST] is not None
    assert [ends[None, FIRST], ends[ada, SECOND], ends[bob, SECOND]] == [None] * 3


async def test_tags_are_kept_with_the_memory(agent: Agent) -> None:
    await agent.write(fact(FIRST, 1, tags=("Staging", "infra")))
    await agent.write(fact(FIRST, 2, tags=("infra", "hosts")))
    assert {row["tag"] for row in await agent.rows("memory_tags")} == {
        "staging",
        "infra",
        "hosts",
    }


async def test_a_fuller_statement_gives_the_words_and_late_ones_take_them_back(
    agent: Agent,
) -> None:
    await agent.write(fact(FIRST, 1))
    await agent.write(fact(FULLER, 5))
    assert await agent.believed() == [(FULLER, 1, None)]
    (memory,) = await agent.rows()
    assert [row["content"] for row in await agent.rows("memory_statements")] == [FIRST, None]
    assert [(row["version"], row["content"]) for row in await agent.rows("memory_versions")] == [
        (1, FIRST),
        (2, FULLER),
    ]

    await agent.write(fact(SECOND, 3))
    assert {(FIRST, 1, 3), (FULLER, 5, None)} < set(await agent.believed())
    assert {row["id"] for row in await agent.rows() if row["content"] == FIRST} == {memory["id"]}
    statements = await agent.rows("memory_statements")
    assert [row["content"] for row in statements] == [None, None, None]
    assert len({row["memory_id"] for row in statements}) == 3
