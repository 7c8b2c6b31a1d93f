"""Asks every question and looks how much of its evidence is found."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from rich.console import Console
from rich.progress import track

from bench.retrieval.questions import Question, session_of
from hotpath.assembler.context_service import priced
from ibex.embedding import Matrix
from ibex.memory.model import Ranked, ScoredMemory
from ibex.memory.packing import pack
from ibex.memory.recall import Recall
from ibex.memory.rendering import EMPTY_FRAME
from ibex.memory.scoring import rank
from ibex.memory.tokens import Costs
from ibex.stores.index_cache import IndexCache, Indexed
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database

RANKS: Final = (5, 10, 20)
BUDGETS: Final = (500, 1_000, 2_000)
_MODEL: Final = "gpt-4o-mini"  # whose tokens are counted
_NO_LIMIT: Final = 10**6  # tokens
_LOAD_LIMIT: Final = 120.0  # seconds
_SAID: Final = """
    SELECT id, message_ids FROM ibex_core.memories
    WHERE org_id = $1 AND agent_id = $2 AND status = 'active' AND valid_to IS NULL
"""


@dataclass(frozen=True)
class Hit:
    """Of one question: the shares of its evidence that were found."""

    category: str
    at: Mapping[int, float]  # rank → among the so many first
    within: Mapping[int, float]  # tokens → in what is injected of so many
    sessions: float  # of the sessions of the evidence, among those of the first ten
    search_ms: float = 0.0  # embedding the question and searching
    index_ms: float = 0.0  # of it the index alone


@dataclass(frozen=True)
class Way:
    """One way to rank."""

    name: str
    vector: bool = True
    words: bool = True
    composite: bool = True  # else by relevance alone


WAYS: Final = (
    Way("vector, relevance", words=False, composite=False),
    Way("words, relevance", vector=False, composite=False),
    Way("both, relevance", composite=False),
    Way("vector, composite", words=False),
    Way("words, composite", vector=False),
    Way("both, composite"),
)


@dataclass(frozen=True)
class Asked:
    """An agent's questions with their vectors, and which messages its memories rest on."""

    org_id: UUID
    agent_id: UUID
    questions: tuple[Question, ...]
    vectors: Matrix
    said: Mapping[UUID, frozenset[str]]


async def said_by(database: Database, org_id: UUID, agent_id: UUID) -> dict[UUID, frozenset[str]]:
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(_SAID, org_id, agent_id)
    return {row["id"]: frozenset(row["message_ids"]) for row in rows}


async def loaded(indexes: IndexCache, asked: Asked) -> Indexed:
    """The agent's index, fresh. Raises TimeoutError after two minutes."""
    async with asyncio.timeout(_LOAD_LIMIT):
        while True:
            index = indexes.current(asked.org_id, asked.agent_id)
            if index is not None:
                return index
            await asyncio.sleep(0.05)


async def ask_as_served(
    recall: Recall, indexes: IndexCache, asked: Asked, console: Console, title: str
) -> list[Hit]:
    """By the assembler's own recall, question after question."""
    await loaded(indexes, asked)
    hits = []
    for question in track(asked.questions, title, console=console, transient=True):
        began = time.perf_counter()
        recalled = await recall.fetch(asked.org_id, asked.agent_id, None, question.text)
        took = (time.perf_counter() - began) * 1000
        hits.append(hit(question, recalled.ranked, asked.said, took, recalled.milliseconds["hot"]))
    return hits


async def ask_by(way: Way, indexes: IndexCache, asked: Asked) -> list[Hit]:
    """By the same index, with a part of what it knows."""
    index = await loaded(indexes, asked)
    now = datetime.now(UTC)
    hits = []
    for question, vector in zip(asked.questions, asked.vectors, strict=True):
        ranked = index.recall(
            None, question.text if way.words else "", vector if way.vector else None, now
        )
        if not way.composite:
            ranked = [one._replace(score=one.parts.relevance) for one in ranked]
        hits.append(hit(question, ranked, asked.said))
    return hits


async def ask_postgres(reader: MemoryReader, asked: Asked) -> list[Hit]:
    """By PostgreSQL, as the first requests of an agent are answered."""
    hits = []
    for question, vector in zip(asked.questions, asked.vectors, strict=True):
        found = await reader.search(asked.org_id, asked.agent_id, None, question.text, vector)
        hits.append(hit(question, rank(found, vector, datetime.now(UTC)), asked.said))
    return hits


def hit(
    question: Question,
    ranked: Sequence[Ranked],
    said: Mapping[UUID, frozenset[str]],
    search_ms: float = 0.0,
    index_ms: float = 0.0,
) -> Hit:
    """In the order, and with what is left out, of what is injected."""
    costs = Costs.of(_MODEL)
    scored = priced(ranked, costs)
    frame = costs.text(EMPTY_FRAME)
    share = _sharer(question.evidence, said)
    first = pack(scored, _NO_LIMIT).kept
    wanted = {session_of(one) for one in question.evidence}
    met = {session_of(one) for memory in first[:10] for one in said[memory.candidate.id]}
    return Hit(
        category=question.category,
        at={count: share(first[:count]) for count in RANKS},
        within={budget: share(pack(scored, budget - frame).kept) for budget in BUDGETS},
        sessions=len(wanted & met) / len(wanted),
        search_ms=search_ms,
        index_ms=index_ms,
    )


def _sharer(
    evidence: frozenset[str], said: Mapping[UUID, frozenset[str]]
) -> Callable[[Sequence[ScoredMemory]], float]:
    def share(kept: Sequence[ScoredMemory]) -> float:
        found = frozenset().union(*(said[one.candidate.id] for one in kept))
        return len(evidence & found) / len(evidence)

    return share
