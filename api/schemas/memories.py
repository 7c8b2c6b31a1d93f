"""Memories."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field

from api.schemas.base import Input, Output
from ibex.memory.model import Category
from ibex.stores.management import MemoryRecord

MemoryStatus = Literal["active", "quarantined", "rejected"]


class Memory(Output):
    id: UUID
    agent_id: UUID
    user: str | None = Field(description="The application's own id; null: the agent's memory.")
    category: Category
    subject: str | None
    attribute: str | None
    content: str | None
    confidence: float
    usefulness: float
    access_count: int
    last_accessed_at: datetime | None
    status: MemoryStatus
    quarantine_reason: str | None = Field(
        description="directive, other_users, secrets, exfiltration, instruction; "
        "null: never quarantined, or approved."
    )
    source: str = Field(description="user, assistant, tool, document, import, operator.")
    version: int
    valid_from: datetime
    valid_to: datetime | None
    expires_at: datetime | None = Field(
        description="From then on it is not recalled, and within the hour it is deleted."
    )
    superseded_by: UUID | None
    session_id: UUID | None
    turns: list[int] = Field(description="Numbers of the session's turns that it rests on.")
    message_ids: list[str]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None = Field(description="Of Dagster.")
    redactions: dict[str, int] = Field(description="What was redacted: counts by kind.")
    embedding_model: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, record: MemoryRecord, *, with_content: bool) -> Self:
        memory = cls.model_validate(record)
        if not with_content:
            memory.subject = memory.attribute = memory.content = None
        return memory


class Expiry(Input):
    expires_at: AwareDatetime | None = Field(description="Null: never.")
    version: int | None = Field(None, ge=1, description="As of a decision.")


class Decision(Input):
    version: int | None = Field(
        None, ge=1, description="The version that was read; another one by now is a conflict."
    )
