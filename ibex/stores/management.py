"""What operators list, read and count, each within one organization.

A listing takes the last id of the page before and gives at most `limit` rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ibex.errors import (
    AgentNotFoundError,
    ConflictError,
    MemoryNotFoundError,
    NotFoundError,
    SessionNotFoundError,
)
from ibex.ids import parse_id
from ibex.policy import AgentPolicy, policy_of
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("management")


@dataclass(frozen=True)
class AgentRecord:
    id: UUID
    name: str
    description: str
    status: str
    policy: AgentPolicy
    memory_token_budget: int | None
    directive_version: int  # 0: it has none
    memories: int  # active and valid now
    sessions: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class MemoryRecord:
    id: UUID
    agent_id: UUID
    user: str | None  # the application's own id; None: the agent's own memory
    category: str
    subject: str = field(repr=False)
    attribute: str = field(repr=False)
    content: str = field(repr=False)
    confidence: float
    usefulness: float
    access_count: int
    last_accessed_at: datetime | None
    status: str
    quarantine_reason: str | None
    source: str
    version: int
    valid_from: datetime
    valid_to: datetime | None
    expires_at: datetime | None
    superseded_by: UUID | None
    session_id: UUID | None
    turns: Sequence[int]
    message_ids: Sequence[str]
    extractor: str
    prompt_version: str
    model: str
    run_id: str | None
    redactions: Mapping[str, int]
    embedding_model: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class MemoryFilter:
    category: str | None = None
    status: str | None = None
    user: str | None = None  # the application's own id
    include_past: bool = False  # also those whose validity has ended
    query: str | None = field(default=None, repr=False)  # words, or a part of the text
    as_of: datetime | None = None  # those that were valid then, instead of those that are
    tag: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SessionRecord:
    id: UUID
    agent_id: UUID
    agent: str
    user: str | None
    external_id: str | None
    status: str
    origin: str
    turn_count: int
    message_count: int
    last_extracted_turn: int
    archived_turn: int
    archived_at: datetime | None
    started_at: datetime
    last_turn_at: datetime
    completed_at: datetime | None
    job_status: str | None  # of its extraction; None: never completed
    job_attempts: int | None
    job_error: str | None
    memories: int  # valid ones that came from it
    # What its extraction asked of models so far, tries that failed included.
    model_calls: int
    model_prompt_tokens: int
    model_completion_tokens: int
    model_cost_usd: float | None  # None: no price is set
    model_seconds: float
    models: Sequence[str]


@dataclass(frozen=True)
class TurnRecord:
    id: UUID
    number: int
    request_id: str
    messages: Sequence[Mapping[str, Any]] | None = field(repr=False)
    response: Mapping[str, Any] | None = field(repr=False)
    model: str
    finish_reason: str | None
    complete: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    started_at: datetime
    created_at: datetime


@dataclass(frozen=True)
class InjectionRecord:
    request_id: str
    agent_id: UUID
    session_id: UUID
    memories: Sequence[Mapping[str, Any]]
    directive_version: int | None
    position: int
    tokens: int
    sha256: bytes
    insertions: Sequence[Mapping[str, Any]]
    dropped: Sequence[Mapping[str, Any]]
    degraded: Sequence[str]
    created_at: datetime
    observed_at: datetime | None  # None: nobody has looked yet what the answer rests on
    observations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class MemoryText:
    content: str = field(repr=False)
    version: int


@dataclass(frozen=True)
class ArchiveRecord:
    bucket: str
    key: str
    rows: int
    size: int  # bytes
    sha256: bytes
    created_at: datetime


@dataclass(frozen=True)
class OverviewRecord:
    organization: str
    agents: int
    sessions: int
    active: int
    completed: int  # of these: extracted, archived
    extracted: int
    archived: int
    turns: int
    memories: int
    quarantined: int
    superseded: int


@dataclass(frozen=True)
class TokenRecord:
    id: UUID
    name: str
    agent_id: UUID | None
    scopes: Sequence[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


class ManagementStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def agents(
        self, org_id: UUID, *, only: UUID | None = None, after: UUID | None = None, limit: int
    ) -> list[AgentRecord]:
        return [_agent(row) for row in await self._fetch("agents", org_id, only, after, limit)]

    async def agent(self, org_id: UUID, agent_id: UUID) -> AgentRecord:
        """Raises AgentNotFoundError."""
        found = await self.agents(org_id, only=agent_id, limit=1)
        if not found:
            raise AgentNotFoundError
        return found[0]

    async def memories(
        self,
        org_id: UUID,
        agent_id: UUID | None,
        wanted: MemoryFilter,
        *,
        after: UUID | None = None,
        limit: int,
    ) -> list[MemoryRecord]:
        """Of one agent, or of all."""
        rows = await self._fetch(
            "memories",
            org_id,
            None,
            agent_id,
            after,
            wanted.category,
            wanted.status,
            wanted.user,
            wanted.include_past,
            wanted.query,
            wanted.as_of,
            wanted.tag.casefold() if wanted.tag else None,
            limit,
        )
        return [MemoryRecord(**row) for row in rows]

    async def memory(self, org_id: UUID, memory_id: UUID) -> MemoryRecord:
        """Raises MemoryNotFoundError."""
        everything = (None, None, None, None, None, True, None, None, None)
        rows = await self._fetch("memories", org_id, memory_id, *everything, 1)
        if not rows:
            raise MemoryNotFoundError
        return MemoryRecord(**rows[0])

    async def sessions(
        self,
        org_id: UUID,
        *,
        agent_id: UUID | None = None,
        status: str | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> list[SessionRecord]:
        rows = await self._fetch("sessions", org_id, None, agent_id, after, status, limit)
        return [SessionRecord(**row) for row in rows]

    async def find_session(
        self, org_id: UUID, id_or_external_id: str, agent_id: UUID | None = None
    ) -> UUID:
        """Of one agent, or of all. Raises SessionNotFoundError, or ConflictError when several
        sessions have that external id."""
        wanted = parse_id(id_or_external_id)
        rows = await self._fetch("find_sessions", org_id, wanted, id_or_external_id, agent_id)
        if not rows:
            raise SessionNotFoundError
        found: UUID = rows[0]["id"]
        if found != wanted and len(rows) > 1:
            raise ConflictError("Several sessions have this external id.", hint="Use the id.")
        return found

    async def session(self, org_id: UUID, session_id: UUID) -> SessionRecord:
        """Raises SessionNotFoundError."""
        rows = await self._fetch("sessions", org_id, session_id, None, None, None, 1)
        if not rows:
            raise SessionNotFoundError
        return SessionRecord(**rows[0])

    async def turns(
        self, org_id: UUID, session_id: UUID, *, after: UUID | None = None, limit: int
    ) -> list[TurnRecord]:
        """In the order of the conversation."""
        rows = await self._fetch("turns", org_id, session_id, after, limit)
        return [TurnRecord(**row) for row in rows]

    async def injections(
        self, org_id: UUID, request_ids: Sequence[str]
    ) -> dict[str, InjectionRecord]:
        """By request id; requests without an injection are left out."""
        rows = await self._fetch("injections", org_id, list(request_ids))
        return {row["request_id"]: InjectionRecord(**row) for row in rows}

    async def injection(self, org_id: UUID, request_id: str) -> InjectionRecord:
        """Raises NotFoundError."""
        found = await self.injections(org_id, [request_id])
        if request_id not in found:
            raise NotFoundError("Nothing was recorded as injected into this request.")
        return found[request_id]

    async def memory_texts(
        self, org_id: UUID, memory_ids: Sequence[UUID]
    ) -> dict[UUID, MemoryText]:
        """What these memories say now; those that are gone are left out."""
        rows = await self._fetch("memory_texts", org_id, list(memory_ids))
        return {row["id"]: MemoryText(row["content"], row["version"]) for row in rows}

    async def session_archive(self, org_id: UUID, session_id: UUID) -> ArchiveRecord | None:
        rows = await self._fetch("session_archive", org_id, session_id)
        return ArchiveRecord(**rows[0]) if rows else None

    async def overview(self, org_id: UUID, agent_id: UUID | None = None) -> OverviewRecord:
        """Of one agent, or of all."""
        return OverviewRecord(**(await self._fetch("overview", org_id, agent_id))[0])

    async def tokens(
        self, org_id: UUID, *, after: UUID | None = None, limit: int
    ) -> list[TokenRecord]:
        return [TokenRecord(**row) for row in await self._fetch("tokens", org_id, after, limit)]

    async def _fetch(self, name: str, org_id: UUID, *parameters: object) -> list[Any]:
        async with self._database.tenant(org_id) as connection:
            return await connection.fetch(_SQL[name], org_id, *parameters)


def _agent(row: Mapping[str, Any]) -> AgentRecord:
    columns = dict(row)
    return AgentRecord(policy=policy_of(columns.pop("policy")), **columns)
