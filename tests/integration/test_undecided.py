"""What a verdict makes of two memories that no rule could judge."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.memory.conflicts import Resolution, Statement, Verdict
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter
from ibex.settings import Settings
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Database
from ibex.stores.undecided import UndecidedStore

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND = "User is a nurse in Leeds.", "User's profession is nursing in Leeds."


def undecided(_older: Statement, _newer: Statement, _cosine: float) -> Verdict:
    return Verdict(Resolution.UNDECIDED, "Nobody knows.", "test")


def verdict(resolution: Resolution) -> Verdict:
    return Verdict(resolution, "Both name the job.", "model:m/1")


class Memories:
    def __init__(self, writer: MemoryWriter, database: Database, owner: Owner) -> None:
        self.writer = writer
        self.database = database
        self.owner = owner
        self.store = UndecidedStore(database)

    async def say(self, content: str, day: int, source: Source = Source.USER) -> None:
        fact = Fact(
            Category.DECLARATIVE,
            content,
            0.9,
            source,
            (1,),
            subject="User",
            attribute="job",
            valid_from=START + timedelta(days=day),
        )
        made_by = Provenance(None, "facts/1", "abc", "sandbox", "run-1")
        owner = self.owner
        await self.writer.write(
            owner.org_id, owner.agent_id, owner.user_id, [fact], made_by, {1: START}
        )

    async def rows(self, table: str, order: str) -> list[Any]:
        async with self.database.tenant(self.owner.org_id) as connection:
            return list(
                await connection.fetch(
                    f"SELECT * FROM ibex_core.{table} WHERE org_id = $1 ORDER BY {order}",  # noqa: S608
                    self.owner.org_id,
                )
            )

    async def believed(self) -> list[str]:
        rows = await self.rows("memories", "valid_from")
        return [row["content"] for row in rows if row["valid_to"] is None]


@pytest.fixture
async def memories(
    settings: Settings,
    embedder_server: ProcessSpec,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> AsyncIterator[Memories]:
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)
    writer = MemoryWriter(database, embedder, settings, judge=undecided)
    made = Memories(writer, database, Owner(org_id, agent_id, None))
    await made.say(FIRST, 1)
    await made.say(SECOND, 5)
    yield made
    await embedder.close()


@pytest.mark.parametrize(
    ("resolution", "kind", "left"),
    [
        (Resolution.SUPERSEDE, "supersedes", [SECOND]),
        (Resolution.MERGE, "supersedes", [SECOND]),
        (Resolution.DUPLICATE, "supports", [FIRST]),
        (Resolution.CONTRADICT, "contradicts", [FIRST, SECOND]),
        (Resolution.KEEP, "related", [FIRST, SECOND]),
    ],
)
async def test_a_verdict_is_done_and_recorded(
    memories: Memories, resolution: Resolution, kind: str, left: list[str]
) -> None:
    (pair,) = await memories.store.open(memories.owner, 10)
    assert (pair.older.statement.content, pair.newer.statement.content) == (FIRST, SECOND)
    assert await memories.store.settle(memories.owner, pair, verdict(resolution), "run-2")

    assert await memories.believed() == left
    (edge,) = await memories.rows("memory_relationships", "id")
    assert (edge["from_memory_id"], edge["to_memory_id"]) == (pair.newer.id, pair.older.id)
    assert edge["kind"] == kind
    assert edge["reason"] == f"model:m/1: {resolution}: Both name the job."
    assert await memories.store.open(memories.owner, 10) == []

    versions = await memories.rows("memory_versions", "version")
    assert [row["run_id"] for row in versions[2:]] == ["run-2"] * (2 - len(left))
    for row in await memories.rows("memories", "id"):
        if row["valid_to"] is not None:
            assert row["valid_to"] == pair.newer.statement.valid_from
            assert row["superseded_by"] in {pair.older.id, pair.newer.id} - {row["id"]}


async def test_what_changed_since_is_not_settled(memories: Memories) -> None:
    (pair,) = await memories.store.open(memories.owner, 10)
    stale = replace(pair, older=replace(pair.older, version=pair.older.version + 1))
    done = await memories.store.settle(memories.owner, stale, verdict(Resolution.SUPERSEDE), None)
    assert not done
    assert await memories.believed() == [FIRST, SECOND]
    assert await memories.store.open(memories.owner, 10) == [pair]


async def test_what_was_said_again_does_not_end(memories: Memories) -> None:
    await memories.say(FIRST, 9)
    (pair, *_) = await memories.store.open(memories.owner, 10)
    assert await memories.store.settle(memories.owner, pair, verdict(Resolution.SUPERSEDE), "run-2")
    assert await memories.believed() == [FIRST, SECOND]


async def test_pairs_are_their_owners(memories: Memories, database: Database) -> None:
    other_agent = replace(memories.owner, agent_id=memories.owner.org_id)
    assert await memories.store.open(other_agent, 10) == []
    other_user = replace(memories.owner, user_id=memories.owner.org_id)
    assert await memories.store.open(other_user, 10) == []
    assert await memories.store.open(memories.owner, 0) == []


@pytest.mark.parametrize(
    ("resolution", "left"),
    [
        (Resolution.DUPLICATE, [FIRST]),
        (Resolution.SUPERSEDE, [SECOND]),
        (Resolution.CONTRADICT, [FIRST, SECOND]),
        (Resolution.KEEP, [FIRST, SECOND]),
    ],
)
async def test_a_verdict_holds_when_the_same_is_written_again(
    memories: Memories, resolution: Resolution, left: list[str]
) -> None:
    (pair,) = await memories.store.open(memories.owner, 10)
    await memories.store.settle(memories.owner, pair, verdict(resolution), "run-2")
    edges = await memories.rows("memory_relationships", "id")
    await memories.say(SECOND, 5)
    await memories.say(FIRST, 1)
    assert await memories.believed() == left
    assert len(await memories.rows("memories", "id")) == 2
    assert await memories.rows("memory_relationships", "id") == edges
    assert await memories.store.open(memories.owner, 10) == []


async def test_a_duplicates_statements_are_the_other_memorys(memories: Memories) -> None:
    (pair,) = await memories.store.open(memories.owner, 10)
    await memories.store.settle(memories.owner, pair, verdict(Resolution.DUPLICATE), "run-2")
    rows = await memories.rows("memory_statements", "valid_from")
    assert [row["content"] for row in rows] == [None, SECOND]
    assert {row["memory_id"] for row in rows} == {pair.older.id}
