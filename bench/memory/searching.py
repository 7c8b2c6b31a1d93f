"""How long the search of a request takes, and whether it finds what an exact search finds.

What is measured is `Recall`, as the assembler calls it, with the vectors of the questions made
beforehand: the search is everything it does with one. Its ten best memories by the composite score
are compared with those that come of scoring every memory of the agent, exactly, in float64.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import redis.asyncio
from threadpoolctl import threadpool_limits

from bench.figures import Times, percentiles
from bench.memory.filling import Crowd
from ibex.embedding import Matrix
from ibex.memory.model import Vector
from ibex.memory.recall import Recall
from ibex.memory.scoring import rank
from ibex.settings import Settings
from ibex.stores.directives import DirectiveCache
from ibex.stores.hot import HotCache
from ibex.stores.index_cache import IndexCache, Indexed
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database

NEAREST: Final = 10
#: Of composite scores that six digits may put in either order.
_SAME: Final = 2e-6
_PATIENCE: Final = 600.0  # seconds: nothing is cut off here
_LOAD_LIMIT: Final = 300.0
_LOOK: Final = 0.05
_SEED: Final = 1


@dataclass(frozen=True)
class Searched:
    way: str  # index | sql | served
    memories: int  # of all agents
    agents: int
    searches: int
    search_ms: Times
    recall: float | None  # mean share of the ten best; None: not checked
    checked: int  # questions that were compared
    late: int  # longer than a request waits
    load_s: float | None = None  # of the index
    mib: float | None = None  # of the index


class Known:
    """The vectors of the questions, made beforehand."""

    def __init__(self, questions: Sequence[str], vectors: Matrix) -> None:
        self._vectors: Mapping[str, Vector] = dict(zip(questions, vectors, strict=True))

    async def embed(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self._vectors[text] for text in texts])


class Searcher:
    """For questions, of which each has its vector."""

    def __init__(self, settings: Settings, questions: Sequence[str], vectors: Matrix) -> None:
        self._settings = settings
        self._questions = questions
        self._vectors = vectors

    async def by_index(self, crowd: Crowd, checked: int) -> Searched:
        """One agent, whose index is loaded."""
        async with self._open(2**33) as (recall, hot, indexes, _):
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(_LOAD_LIMIT):
                index = await _loaded(indexes, crowd)
            load_s = asyncio.get_running_loop().time() - began
            nbytes = indexes.nbytes
            times = await self._times(recall, hot, crowd, len(self._questions))
            now, shares = datetime.now(UTC), []
            for question, vector in self._some(checked):
                found = await index.search(
                    crowd.org_id, crowd.agents[0], None, question, vector, width=crowd.each
                )
                exact = [one.score for one in rank(found, vector, now)]
                served = index.recall(None, question, vector, now)
                shares.append(share_of(exact, [one.score for one in served]))
            return self._searched("index", crowd, times, shares, load_s, nbytes)

    async def by_sql(self, crowd: Crowd, checked: int, searches: int) -> Searched:
        """PostgreSQL alone, as before an index is loaded; agents in turns."""
        async with self._open(0) as (recall, hot, _, reader):
            times = await self._times(recall, hot, crowd, searches)
            now, shares = datetime.now(UTC), []
            chance = random.Random(_SEED)
            for question, vector in self._some(checked):
                agent_id = chance.choice(crowd.agents)
                every = await reader.search(
                    crowd.org_id, agent_id, None, question, vector, width=crowd.each
                )
                exact = [one.score for one in rank(every, vector, now)]
                found = await recall.fetch(crowd.org_id, agent_id, None, question)
                shares.append(share_of(exact, [one.score for one in found.ranked]))
            return self._searched("sql", crowd, times, shares)

    async def as_served(self, crowd: Crowd, searches: int) -> Searched:
        """With the memory for indexes that is set: some agents have one, others are loaded behind
        their request, and those used longest ago are let go."""
        async with self._open(self._settings.index_max_bytes) as (recall, hot, indexes, _):
            times = await self._times(recall, hot, crowd, searches)
            return self._searched("served", crowd, times, (), nbytes=indexes.nbytes)

    async def _times(
        self, recall: Recall, hot: HotCache, crowd: Crowd, searches: int
    ) -> list[float]:
        """One after the other, each for an agent taken by chance. Their hot lists are there, as
        they are but for an agent's first request of a day."""
        chance, times = random.Random(_SEED), []
        agents = [chance.choice(crowd.agents) for _ in range(searches)]
        for agent_id in dict.fromkeys(agents):
            await hot.refresh(crowd.org_id, agent_id)
        for number, agent_id in enumerate(agents):
            question = self._questions[number % len(self._questions)]
            found = await recall.fetch(crowd.org_id, agent_id, None, question)
            times.append(found.milliseconds["cold"])
        return times[1:]  # the first opens the connections

    def _some(self, count: int) -> list[tuple[str, Vector]]:
        return list(zip(self._questions[:count], self._vectors[:count], strict=True))

    def _searched(
        self,
        way: str,
        crowd: Crowd,
        times: Sequence[float],
        shares: Sequence[float],
        load_s: float | None = None,
        nbytes: int | None = None,
    ) -> Searched:
        return Searched(
            way=way,
            memories=crowd.memories,
            agents=len(crowd.agents),
            searches=len(times),
            search_ms=percentiles(times),
            recall=round(float(np.mean(shares)), 4) if shares else None,
            checked=len(shares),
            late=sum(one > self._settings.retrieval_deadline_ms for one in times),
            load_s=None if load_s is None else round(load_s, 2),
            mib=None if nbytes is None else round(nbytes / 2**20, 1),
        )

    @asynccontextmanager
    async def _open(
        self, index_bytes: int
    ) -> AsyncIterator[tuple[Recall, HotCache, IndexCache, MemoryReader]]:
        settings, model = self._settings, self._settings.embedding_model
        database = await Database.connect(
            settings.app_dsn, name="bench", command_timeout=_PATIENCE, max_size=16
        )
        cache = redis.asyncio.Redis.from_url(settings.redis_dsn)
        indexes = IndexCache(database, model, max_bytes=index_bytes)
        reader = MemoryReader(database, model)
        hot = HotCache(cache, database, model)
        recall = Recall(
            DirectiveCache(cache, database),
            hot,
            reader,
            Known(self._questions, self._vectors),
            indexes=indexes,
            deadline=_PATIENCE,
        )
        try:
            with threadpool_limits(1, "blas"):  # as in the assembler
                yield recall, hot, indexes, reader
        finally:
            await recall.close()
            await indexes.close()
            await cache.aclose()
            await database.close()


async def _loaded(indexes: IndexCache, crowd: Crowd) -> Indexed:
    while True:
        index = indexes.current(crowd.org_id, crowd.agents[0])
        if index is not None:
            return index
        await asyncio.sleep(_LOOK)


def share_of(exact: Sequence[float], served: Sequence[float]) -> float:
    """How many of the ten best scores of all memories, `exact`, are among those `served`: by score,
    for memories of the same score stand for one another."""
    best = sorted(exact, reverse=True)[:NEAREST]
    left = sorted(served, reverse=True)
    hits = place = 0
    for wanted in best:
        while place < len(left) and left[place] > wanted + _SAME:
            place += 1
        if place < len(left) and left[place] >= wanted - _SAME:
            hits += 1
            place += 1
    return hits / len(best) if best else 1.0
