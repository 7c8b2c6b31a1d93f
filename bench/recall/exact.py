"""Whether a search finds the nearest memories, against every vector, and how long it takes alone:
one question at a time, without the deadline that a request has."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from bench.figures import Times, percentiles
from bench.seed import SeededAgent
from ibex.embedding import Matrix
from ibex.memory.model import Found as FoundMemory
from ibex.memory.model import Vector
from ibex.settings import Settings
from ibex.stores.index_cache import IndexCache, Indexed
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database

_NEAREST: Final = 10
_SAME: Final = 1e-5  # of cosines that float32 may put in either order
_INDEX_BYTES: Final = 2**32
_LOAD_LIMIT: Final = 300.0  # seconds
_LOOK: Final = 0.1
_EVERY: Final = "SELECT embedding FROM ibex_core.memories WHERE org_id = $1 AND agent_id = $2"


class Searches(Protocol):
    async def search(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        question: str,
        vector: Vector | None,
    ) -> list[FoundMemory]: ...


@dataclass(frozen=True)
class Found:
    recall: float  # mean share of the ten nearest memories
    search_ms: Times


async def check(
    settings: Settings, agent: SeededAgent, questions: Sequence[str], vectors: Matrix
) -> tuple[Found, Found]:
    """By the index, as the assembler loads it, and by PostgreSQL. Raises TimeoutError when the
    index is not loaded in five minutes."""
    database = await Database.connect(settings.app_dsn, name="bench", command_timeout=60)
    indexes = IndexCache(database, settings.embedding_model, max_bytes=_INDEX_BYTES)
    try:
        async with database.tenant(agent.org_id) as connection:
            rows = await connection.fetch(_EVERY, agent.org_id, agent.id)
        matrix = np.stack([row["embedding"].to_numpy() for row in rows]).astype(np.float64)
        nearest = -np.sort(-(vectors.astype(np.float64) @ matrix.T), axis=1)[:, :_NEAREST]
        async with asyncio.timeout(_LOAD_LIMIT):
            index = await _loaded(indexes, agent)
        with threadpool_limits(1, "blas"):  # as in the assembler
            by_index = await _ask(index, agent, questions, vectors, nearest)
        reader = MemoryReader(database, settings.embedding_model)
        by_sql = await _ask(reader, agent, questions, vectors, nearest)
    finally:
        await indexes.close()
        await database.close()
    return by_index, by_sql


async def _loaded(indexes: IndexCache, agent: SeededAgent) -> Indexed:
    while True:
        index = indexes.current(agent.org_id, agent.id)
        if index is not None:
            return index
        await asyncio.sleep(_LOOK)


async def _ask(
    way: Searches,
    agent: SeededAgent,
    questions: Sequence[str],
    vectors: Matrix,
    nearest: npt.NDArray[np.float64],
) -> Found:
    shares, times = [], []
    await way.search(agent.org_id, agent.id, None, questions[0], vectors[0])  # warms up
    for question, vector, best in zip(questions, vectors, nearest, strict=True):
        began = time.perf_counter()
        found = await way.search(agent.org_id, agent.id, None, question, vector)
        times.append((time.perf_counter() - began) * 1000)
        rows = np.stack([one.candidate.embedding for one in found]).astype(np.float64)
        shares.append(share_found(rows @ vector.astype(np.float64), best))
    return Found(round(float(np.mean(shares)), 4), percentiles(times))


def share_found(cosines: npt.NDArray[np.float64], nearest: npt.NDArray[np.float64]) -> float:
    """How many of the memories with these `nearest` cosines, the best first, are among those found
    with `cosines`: by rank, for memories at the same distance stand for one another."""
    best = -np.sort(-cosines)[: len(nearest)]
    return float((best >= nearest[: len(best)] - _SAME).sum()) / len(nearest)
