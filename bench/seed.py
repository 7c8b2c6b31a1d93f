"""The agents that are asked, each with as many memories as wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg
import redis.asyncio
from rich.console import Console
from rich.progress import track

from bench import corpus
from bench.embeddings import embedded
from ibex.embedding import Matrix
from ibex.ids import new_id
from ibex.memory.model import Fact, Provenance, Vector
from ibex.memory.statements import NewMemory, Stated
from ibex.memory.writing import content_hash
from ibex.settings import Settings
from ibex.stores import memories_write
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Database

_DIRECTIVE: Final = "You help the operations team. Be brief, and say when you are not sure."
_BATCH: Final = 256
_FEW: Final = 1024  # of an agent's memories, after which PostgreSQL is told how many there are
_PROVENANCE: Final = Provenance(None, "bench/1", "bench", "bench", None)


@dataclass(frozen=True)
class SeededAgent:
    org_id: UUID
    id: UUID
    memories: int
    token: str = field(repr=False)  # for this agent only


async def seed(
    settings: Settings, counts: Sequence[int], console: Console, *, real: int | None = None
) -> list[SeededAgent]:
    """An organization with an agent for each of `counts`, the number of its memories. A larger
    agent knows all that a smaller one knows. The embeddings of the first `real` memories are the
    embedder's, None: of all; see bench/embeddings.py."""
    facts = corpus.memories(max(counts))
    texts = [fact.content for fact in facts]
    embeddings = await embedded(settings, texts, len(texts) if real is None else real, console)
    database = await Database.connect(settings.app_dsn, name="bench")
    client = redis.asyncio.Redis.from_url(settings.redis_dsn)
    try:
        identity = IdentityStore(database)
        org_id = await identity.create_organization("bench")
        agents = []
        for count in counts:
            agent_id = await identity.create_agent(org_id, f"assistant-{count}")
            await identity.set_directive(org_id, agent_id, _DIRECTIVE)
            token = await identity.create_token(org_id, f"bench-{count}", agent_id=agent_id)
            agent = SeededAgent(org_id, agent_id, count, token.text)
            await _store(database, agent, facts, embeddings, settings, console)
            await _count(settings)
            await HotCache(client, database, settings.embedding_model).refresh(org_id, agent_id)
            agents.append(agent)
    finally:
        await client.aclose()
        await database.close()
    return agents


async def _store(
    database: Database,
    agent: SeededAgent,
    facts: Sequence[Fact],
    embeddings: Matrix,
    settings: Settings,
    console: Console,
) -> None:
    title = f"Storing {agent.memories:,} memories"
    starts = range(0, agent.memories, _BATCH)
    for start in track(starts, title, console=console, transient=True):
        part = slice(start, min(start + _BATCH, agent.memories))
        rows = [
            _memory(fact, vector)
            for fact, vector in zip(facts[part], embeddings[part], strict=True)
        ]
        async with database.tenant(agent.org_id) as connection:
            await memories_write.insert(
                connection, Owner(agent.org_id, agent.id, None), rows, settings.embedding_model
            )
        if start == _FEW:
            await _count(settings)


def _memory(fact: Fact, vector: Vector) -> NewMemory:
    since = fact.valid_from or corpus.NOW
    words = Stated(
        id=new_id(),
        fact=fact,
        content_hash=content_hash(fact.content),
        redactions={},
        valid_from=since,
        provenance=_PROVENANCE,
        embedding=vector,
    )
    return NewMemory(new_id(), words, since)


async def _count(settings: Settings) -> None:
    """What autovacuum does within minutes: until then, PostgreSQL takes the tables for empty, and
    each batch of memories costs more than the one before."""
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        await admin.execute("ANALYZE ibex_core.memories, ibex_core.memory_changes")
    finally:
        await admin.close()
