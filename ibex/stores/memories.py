"""The read side of memories in PostgreSQL: what recall may see."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from ibex.memory import scoring
from ibex.memory.model import NO_VECTOR, Candidate, Category, Found, Vector
from ibex.memory.threads import BESIDE, REACH
from ibex.settings import DEFAULT_EMBEDDING_MODEL
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("memories")

#: Candidates by meaning, and as many again by words.
SEARCH_WIDTH = 40


class MemoryReader:
    """Only memories that are active and in force now; one agent's, and of one user at most."""

    def __init__(self, database: Database, model: str = DEFAULT_EMBEDDING_MODEL) -> None:
        """`model`: whose vectors are read. A memory that has none is found by its words."""
        self._database = database
        self._model = model

    async def search(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        question: str,
        vector: Vector | None,
        *,
        width: int = SEARCH_WIDTH,
    ) -> list[Found]:
        """The `width` nearest to `vector` and the `width` with most of the question's words.

        Of the agent's own memories and the user's, in no order. Without a vector by words only.
        Raises DatabaseUnavailableError.
        """
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["search"],
                org_id,
                agent_id,
                user_id,
                question.replace("\0", " "),  # PostgreSQL's text holds no NUL
                vector,
                width,
                self._model,
                BESIDE,
                REACH,
            )
        return [Found(_candidate(row), row["lexical"], "cold") for row in rows]

    async def best(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None, limit: int, now: datetime
    ) -> list[Candidate]:
        """The `limit` memories with the highest `scoring.static_score`, best first.

        Of the user's memories only; without a user, of the agent's own only.
        """
        _, *weights = scoring.WEIGHTS
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["hot"],
                org_id,
                agent_id,
                user_id,
                limit,
                *weights,
                *(scoring.HALF_LIFE_DAYS[category] for category in Category),
                scoring.ACCESSES_FOR_ONE,
                now,
                self._model,
            )
        return [_candidate(row) for row in rows]

    async def in_force(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None, memory_ids: Sequence[UUID]
    ) -> list[Candidate]:
        """Those of these memories that a request may see now. Raises DatabaseUnavailableError."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["in_force"], org_id, agent_id, user_id, list(memory_ids), self._model
            )
        return [_candidate(row) for row in rows]


def _candidate(row: asyncpg.Record) -> Candidate:
    return Candidate(
        id=row["id"],
        version=row["version"],
        category=Category(row["category"]),
        content=row["content"],
        confidence=row["confidence"],
        usefulness=row["usefulness"],
        access_count=row["access_count"],
        valid_from=row["valid_from"],
        embedding=NO_VECTOR if row["embedding"] is None else row["embedding"].to_numpy(),
    )
