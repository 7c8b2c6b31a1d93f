"""A memory's history."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Output
from ibex.stores.history import MemoryHistory


class MemoryVersion(Output):
    version: int
    change: str = Field(
        description="created, superseded, merged, edited, approved, rejected, vouched, promoted; "
        "by a backfill: set_aside, reextracted."
    )
    content: str | None
    confidence: float | None
    status: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    superseded_by: UUID | None
    run_id: str | None = Field(description="Of Dagster.")
    created_at: datetime


class MemoryStatement(Output):
    content: str | None
    confidence: float
    source: str = Field(description="user, assistant, tool, document, import, operator.")
    valid_from: datetime
    session_id: UUID | None
    turns: list[int]
    message_ids: list[str]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None
    created_at: datetime


class MemoryRelationship(Output):
    kind: str = Field(
        description="supersedes, contradicts, undecided, supports, derived_from, related."
    )
    from_memory_id: UUID = Field(description="The newer one.")
    to_memory_id: UUID
    reason: str | None = Field(description="Who judged, and why.")
    created_at: datetime


class History(Output):
    versions: list[MemoryVersion] = Field(description="What it was, the oldest first.")
    statements: list[MemoryStatement] = Field(
        description="What it rests on: each time that it was said. At most 500, the oldest."
    )
    relationships: list[MemoryRelationship] = Field(
        description="What it is tied to. At most 500, the oldest."
    )
    tags: list[str] | None

    @classmethod
    def of(cls, record: MemoryHistory, *, with_content: bool) -> Self:
        history = cls.model_validate(record)
        if not with_content:
            history.tags = None
            for version in history.versions:
                version.content = None
            for statement in history.statements:
                statement.content = None
            for relationship in history.relationships:
                relationship.reason = None
        return history
