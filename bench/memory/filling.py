"""Agents with many memories, written as fast as PostgreSQL takes rows: by COPY, as the superuser
and without triggers. What the write pipeline costs is measured by bench/memory/writes.py."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np
import pgvector
from pgvector.asyncpg import register_vector
from rich.console import Console
from rich.progress import Progress

from bench import corpus
from bench.embeddings import beside
from ibex.embedding import Matrix
from ibex.ids import new_id
from ibex.memory.model import Fact
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database

_COLUMNS: Final = (
    *("org_id", "id", "agent_id", "category", "content", "content_hash", "confidence", "source"),
    *("valid_from", "turns", "extractor", "prompt_version", "model", "embedding"),
    "embedding_model",
)
_CHUNK: Final = 5_000  # rows of one COPY
_TABLES: Final = "ibex_core.memories, ibex_core.memory_changes"
_SLOW: Final = 900.0  # seconds


@dataclass(frozen=True)
class Crowd:
    """Agents of one organization, each with as many memories."""

    org_id: UUID
    agents: tuple[UUID, ...]
    each: int

    @property
    def memories(self) -> int:
        return len(self.agents) * self.each


async def crowd(
    settings: Settings, name: str, agents: int, each: int, real: Matrix, console: Console
) -> Crowd:
    """Memories of the corpus, of which the first have the embeddings in `real`. An agent alone has
    the corpus from its beginning; of many each has a part of those with an embedding. A vector that
    is not a text's own is near one: its own, or where it has none another's."""
    database = await Database.connect(settings.app_dsn, name="bench")
    try:
        identity = IdentityStore(database)
        org_id = await identity.create_organization(name)
        made = tuple(
            [await identity.create_agent(org_id, f"agent-{number}") for number in range(agents)]
        )
    finally:
        await database.close()
    facts = corpus.memories(max(each, len(real)))
    admin = await asyncpg.connect(settings.admin_dsn, command_timeout=_SLOW)
    try:
        await register_vector(admin)
        await admin.execute("SET session_replication_role = replica")
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"Storing {agents * each:,} memories", total=agents * each)
            for number, agent_id in enumerate(made):
                first = number * each % max(1, len(real) - each + 1)
                for start in range(0, each, _CHUNK):
                    places = np.arange(start, min(start + _CHUNK, each)) + first
                    vectors = real[places % len(real)]
                    if agents > 1:
                        vectors = beside(vectors, number)
                    elif places[-1] >= len(real):
                        others = places >= len(real)
                        vectors[others] = beside(vectors[others], start)
                    some = [facts[place] for place in places]
                    await admin.copy_records_to_table(
                        "memories",
                        schema_name="ibex_core",
                        columns=_COLUMNS,
                        records=_rows(org_id, agent_id, some, vectors, settings.embedding_model),
                    )
                    progress.advance(task, len(some))
        # What autovacuum does within minutes of such a load.
        await admin.execute(f"VACUUM (ANALYZE) {_TABLES}")
    finally:
        await admin.close()
    return Crowd(org_id, made, each)


async def forget(settings: Settings, crowd: Crowd) -> None:
    """So that the next crowd does not find its table full of another's rows."""
    admin = await asyncpg.connect(settings.admin_dsn, command_timeout=_SLOW)
    try:
        await admin.execute("TRUNCATE ibex_core.memories CASCADE")
        await admin.execute("DELETE FROM ibex_core.organizations WHERE id = $1", crowd.org_id)
    finally:
        await admin.close()


def _rows(
    org_id: UUID, agent_id: UUID, facts: Sequence[Fact], vectors: Matrix, model: str
) -> Iterator[tuple[Any, ...]]:
    for fact, vector in zip(facts, vectors, strict=True):
        yield (
            *(org_id, new_id(), agent_id, fact.category.value, fact.content),
            *(hashlib.sha256(fact.content.encode()).digest(), fact.confidence),
            *(fact.source.value, fact.valid_from or corpus.NOW, list(fact.turns)),
            *("bench/1", "bench", "bench", pgvector.Vector(vector), model),
        )
