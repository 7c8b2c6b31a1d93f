"""What a memory was, what it rests on, and the memories it is tied to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("history")

#: Statements, and edges, that are shown of one memory: the oldest.
MOST: Final = 500


@dataclass(frozen=True)
class VersionRecord:
    version: int
    change: str  # created | superseded | merged | edited | approved | rejected | promoted
    content: str = field(repr=False)
    confidence: float | None
    status: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    superseded_by: UUID | None
    run_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class StatementRecord:
    """One time that somebody said what the memory says."""

    id: UUID
    content: str = field(repr=False)
    confidence: float
    source: str
    valid_from: datetime
    session_id: UUID | None
    turns: Sequence[int]
    message_ids: Sequence[str]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class RelationshipRecord:
    """From the newer memory to the older one."""

    kind: str
    from_memory_id: UUID
    to_memory_id: UUID
    reason: str | None = field(repr=False)
    created_at: datetime


@dataclass(frozen=True)
class MemoryHistory:
    versions: Sequence[VersionRecord]
    statements: Sequence[StatementRecord]
    relationships: Sequence[RelationshipRecord]
    tags: Sequence[str] = field(repr=False)


class HistoryReader:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, org_id: UUID, memory_id: UUID) -> MemoryHistory:
        """Nothing in it for a memory that is not there. Raises DatabaseUnavailableError."""
        async with self._database.tenant(org_id) as connection:
            one = (org_id, memory_id)
            versions = await connection.fetch(_SQL["versions"], *one)
            statements = await connection.fetch(_SQL["statements"], *one, MOST)
            relationships = await connection.fetch(_SQL["relationships"], *one, MOST)
            tags = await connection.fetch(_SQL["tags"], *one)
        return MemoryHistory(
            [VersionRecord(**row) for row in versions],
            [StatementRecord(**row) for row in statements],
            [RelationshipRecord(**row) for row in relationships],
            [row["tag"] for row in tags],
        )
