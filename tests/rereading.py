"""An agent whose sessions were read by an earlier prompt, to be read again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from ibex.backfills.model import Backfill, Kind, State, Wish
from ibex.backfills.running import BackfillRunner, Tools
from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.extraction.prompts import BUILT_IN
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter, redact_facts
from ibex.settings import Settings
from ibex.stores import exchange
from ibex.stores.audit import Actor
from ibex.stores.backfills import BackfillStore
from ibex.stores.hot import HotCache
from ibex.stores.memories_write import Owner
from ibex.stores.model_slots import open_model_slots
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader
from tests.integration.recorded import START, add_session

ACTOR = Actor("cli", "tester")
SINCE = START - timedelta(days=1)
HOST = "User's database host is db.smoketest.example.com."
SHORT = "User: I prefer short answers."
BRIEF = "User prefers short answers."
ECHO = "The assistant answers questions about databases."
_STATE = ("memories", "memory_statements", "memory_relationships", "memory_tags")


def fact(content: str, day: int = 0, **changes: Any) -> Fact:
    values: dict[str, Any] = {
        "category": Category.DECLARATIVE,
        "content": content,
        "confidence": 0.9,
        "source": Source.USER,
        "turns": (1,),
        "subject": "User",
        "valid_from": START + timedelta(days=day),
    }
    return Fact(**values | changes)


@dataclass
class Place:
    """An agent whose sessions were read by an earlier prompt."""

    tools: Tools
    org_id: UUID
    agent_id: UUID
    every_agent: bool = False  # is read again

    @property
    def database(self) -> Database:
        return self.tools.database

    @property
    def store(self) -> BackfillStore:
        return BackfillStore(self.database)

    async def name(self) -> str:
        async with self.database.tenant(self.org_id) as connection:
            name: str = await connection.fetchval("SELECT name FROM ibex_core.organizations")
        return name

    async def session(self, *facts: Fact, user: UUID | None = None) -> UUID:
        """A session that the pipeline has read, and what an earlier prompt made of it."""
        session_id = await add_session(self.database, self.org_id, self.agent_id, user_id=user)
        async with self.database.tenant(self.org_id) as connection:
            await connection.execute(
                "UPDATE ibex_core.sessions SET last_extracted_turn = turn_count "
                "WHERE org_id = $1 AND id = $2",
                self.org_id,
                session_id,
            )
        await self.teach(session_id, *facts, user=user)
        return session_id

    async def teach(self, session_id: UUID | None, *facts: Fact, user: UUID | None = None) -> None:
        writer = MemoryWriter(self.database, self.tools.embedder, self.tools.settings)
        made_by = Provenance(session_id, "facts/1", "old", "old-model", "run-1")
        said_at = dict.fromkeys(range(1, 9), START)
        await writer.write(self.org_id, self.agent_id, user, facts, made_by, said_at)

    async def wait(
        self, backfill: Backfill, session_id: UUID, *facts: Fact, user: UUID | None = None
    ) -> None:
        """What another prompt made of the session, as if a model had been asked."""
        writer = MemoryWriter(self.database, self.tools.embedder, self.tools.settings)
        owner = Owner(self.org_id, self.agent_id, user)
        made_by = Provenance(session_id, "facts/1", "new", "new-model", "run-2")
        said_at = dict.fromkeys(range(1, 9), START)
        stated = await writer.state(
            owner, redact_facts(facts, said_at), made_by, said_at, datetime.now(UTC)
        )
        async with self.database.tenant(self.org_id) as connection:
            await exchange.put_facts(
                connection,
                owner,
                backfill.id,
                stated,
                self.tools.settings.embedding_model,
                memories={},
            )
            await connection.execute(
                "UPDATE ibex_core.backfill_sessions SET status = 'done', through_turn = 8 "
                "WHERE org_id = $1 AND backfill_id = $2 AND session_id = $3",
                self.org_id,
                backfill.id,
                session_id,
            )

    async def backfill(self, *, since: datetime = SINCE, model: str = "sandbox") -> Backfill:
        version = BUILT_IN["v1"].version
        wish = Wish(None if self.every_agent else self.agent_id, since, None, "v1", version, model)
        return await self.store.create(self.org_id, wish, ACTOR)

    def runner(self, worker: str = "run-2", **changes: Any) -> BackfillRunner:
        return BackfillRunner(self.tools, worker, first_wait=0, **changes)

    async def run(self, backfill: Backfill) -> Backfill:
        return await self.runner().run(self.org_id, backfill.id)

    async def do(self, backfill: Backfill, state: State) -> Backfill:
        await self.store.ask(self.org_id, backfill.id, state, ACTOR)
        return await self.run(backfill)

    async def rows(self, table: str = "memories") -> list[dict[str, Any]]:
        async with self.database.tenant(self.org_id) as connection:
            found = await connection.fetch(
                f"SELECT * FROM ibex_core.{table} WHERE org_id = $1 AND agent_id = $2"  # noqa: S608
                if table in {"memories", "memory_statements"}
                else f"SELECT * FROM ibex_core.{table} WHERE org_id = $1",  # noqa: S608
                *((self.org_id, self.agent_id) if table in _STATE[:2] else (self.org_id,)),
            )
        return [dict(row) for row in found]

    async def everything(self) -> dict[str, list[str]]:
        return {
            table: sorted(map(str, await self.rows(table)))
            for table in (*_STATE, "memory_versions")
        }

    async def believed(self) -> dict[str, tuple[UUID, int, int | None]]:
        """By words, the memory and the days from and until which it holds or held."""
        return {
            row["content"]: (
                row["id"],
                (row["valid_from"] - START).days,
                (row["valid_to"] - START).days if row["valid_to"] else None,
            )
            for row in await self.rows()
            if row["valid_to"] is None or row["valid_to"] > row["valid_from"]
        }

    async def changes(self, backfill: Backfill) -> dict[tuple[Kind, str | None], str | None]:
        found = await self.store.changes(self.org_id, backfill.id, limit=100)
        return {(one.change.kind, one.before): one.change.content for one in found}


@pytest.fixture
async def place(
    settings: Settings,
    embedder_server: ProcessSpec,
    sandbox_server: ProcessSpec,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> AsyncIterator[Place]:
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)
    hot = HotCache(redis_client, database, settings.embedding_model)
    turns = TurnReader.of(database, ObjectStore(settings), settings)
    async with open_model_slots(settings) as slots:
        tools = Tools(settings, database, embedder, hot, turns, slots)
        yield Place(tools, org_id, agent_id)
    await embedder.close()
