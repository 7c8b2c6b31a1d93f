"""Where memories come from and where they went."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Output
from ibex.memory.model import Category
from ibex.stores.lineage import Lineage as LineageRecord


class LineageStatement(Output):
    content: str | None = Field(description="Null: the memory's own words, or hidden.")
    source: str = Field(description="user, assistant, tool, document, import, operator.")
    session_id: UUID | None
    turns: list[int]
    message_ids: list[str]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None = Field(description="Of Dagster.")
    valid_from: datetime
    created_at: datetime


class LineageVersion(Output):
    version: int
    change: str
    content: str | None
    run_id: str | None
    created_at: datetime


class LineageMemory(Output):
    id: UUID
    agent_id: UUID
    agent: str
    user: str | None = Field(description="The application's own id; null: the agent's memory.")
    category: Category
    status: str
    source: str
    content: str | None
    version: int
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None
    session_id: UUID | None
    turns: list[int]
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: UUID | None
    created_at: datetime
    statements: list[LineageStatement] = Field(
        description="Each time that it was said, and what made it of that: the first 50."
    )
    versions: list[LineageVersion] = Field(description="The last 50, the oldest of them first.")


class LineageArchive(Output):
    bucket: str
    key: str
    rows: int = Field(description="Turns.")
    size: int = Field(description="Bytes.")
    sha256: str
    schema_version: int
    archived_at: datetime
    url: str | None = Field(
        None, description="With 'archive_urls': whoever has it can read the archive, 15 minutes."
    )


class LineageSession(Output):
    id: UUID
    external_id: str | None
    agent_id: UUID
    agent: str
    user: str | None
    origin: str
    status: str
    turn_count: int
    last_extracted_turn: int
    archived_turn: int
    started_at: datetime
    completed_at: datetime | None
    archive: LineageArchive | None


class LineageEdge(Output):
    kind: str = Field(
        description="supersedes, contradicts, undecided, supports, derived_from, related."
    )
    from_memory_id: UUID = Field(description="The newer one.")
    to_memory_id: UUID
    created_at: datetime


class GivenMemory(Output):
    memory_id: UUID
    version: int
    score: float | None
    support: float | None = Field(
        description="The chance that the answer rests on it. Null: not looked at yet."
    )


class LineageRequest(Output):
    request_id: str
    session_id: UUID
    turn: int | None
    model: str | None
    created_at: datetime
    memories: list[GivenMemory]


class Lineage(Output):
    kind: Literal["memory", "request", "session"]
    id: str
    memories: list[LineageMemory] = Field(
        description="The memory, those of the request, or those made from the session."
    )
    gone: list[UUID] = Field(description="Memories of the request that are deleted.")
    more_memories: bool = Field(description="The session made more than the 200 that are here.")
    edges: list[LineageEdge]
    sessions: list[LineageSession] = Field(
        description="Those that the memories rest on, and those of the requests."
    )
    requests: list[LineageRequest] = Field(
        description="The request, or those that were given one of the memories: the newest "
        "session's first, and in each the newest."
    )
    next_cursor: str | None = Field(
        None, description="Send it as 'cursor' for more requests; null: there are none."
    )

    @classmethod
    def of(cls, record: LineageRecord, *, with_content: bool) -> Self:
        lineage = cls.model_validate(record)
        if not with_content:
            for memory in lineage.memories:
                memory.content = None
                for statement in memory.statements:
                    statement.content = None
                for version in memory.versions:
                    version.content = None
        return lineage
