"""Vectors of further models, beside the one in each memory's row: which are missing, putting them
there, taking them into the rows, and forgetting them. Each organization as its own tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import pgvector

from ibex.memory.model import Vector
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("embeddings")
FIRST: Final = UUID(int=0)  # before every memory


@dataclass(frozen=True)
class Text:
    """What a vector is made of: a memory, or a statement in words of its own."""

    id: UUID
    content: str = field(repr=False)
    content_hash: bytes = field(repr=False)
    present: bool  # there is a vector of the model that was asked for


class EmbeddingStore:
    """Raises DatabaseUnavailableError everywhere."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def organizations(self) -> list[UUID]:
        async with self._database.system() as connection:
            return [row["id"] for row in await connection.fetch(_SQL["organizations"])]

    async def total(self, org_id: UUID) -> int:
        """How many memories there are to have vectors: all that hold or have held."""
        async with self._database.tenant(org_id) as connection:
            count: int = await connection.fetchval(_SQL["total"], org_id)
        return count

    async def counts(self, org_id: UUID) -> Mapping[str, int]:
        """How many of these have a vector of each model."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["counts"], org_id)
        return {row["model"]: row["vectors"] for row in rows}

    async def page(self, org_id: UUID, model: str, after: UUID, limit: int) -> list[Text]:
        """The next memories by id. New ones have higher ids than all before."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["page"], org_id, model, after, limit)
        return [Text(**row) for row in rows]

    async def put(
        self, org_id: UUID, model: str, texts: Sequence[Text], vectors: Sequence[Vector]
    ) -> int:
        """Vectors of memories; how many went in: not those of memories that are gone or say
        something else by now."""
        return await self._put("put", org_id, model, texts, vectors)

    async def statements(self, org_id: UUID, model: str, after: UUID, limit: int) -> list[Text]:
        """The next statements, by id, in words of their own and without a vector of the model."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["statements"], org_id, model, after, limit)
        return [Text(**row) for row in rows]

    async def put_statements(
        self, org_id: UUID, model: str, texts: Sequence[Text], vectors: Sequence[Vector]
    ) -> int:
        """As `put`, but they take the place of those of another model."""
        return await self._put("put_statements", org_id, model, texts, vectors)

    async def _put(
        self, name: str, org_id: UUID, model: str, texts: Sequence[Text], vectors: Sequence[Vector]
    ) -> int:
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(
                _SQL[name],
                org_id,
                model,
                [text.id for text in texts],
                [text.content_hash for text in texts],
                # As pgvector's own type: asyncpg would take a list of arrays for a matrix.
                [pgvector.Vector(vector) for vector in vectors],
            )
        return int(done.rpartition(" ")[2])

    async def exchange(self, org_id: UUID, model: str, after: UUID, limit: int) -> list[UUID]:
        """Take the next memories' vectors of the model into their rows; the rows' own lie beside
        from then on. The memories, in no order."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["exchange"], org_id, model, after, limit)
        return [row["id"] for row in rows]

    async def forget(self, org_id: UUID, model: str, limit: int) -> int:
        """Delete vectors of the model that lie beside; how many."""
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["forget"], org_id, model, limit)
        return int(done.rpartition(" ")[2])
