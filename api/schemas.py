"""What the API takes and gives. Content is null for a token without the scope 'content'."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ibex.memory.model import Category
from ibex.policy import MOST_FALLBACKS, MOST_RETRIES, Fallback
from ibex.providers import ProviderName
from ibex.rate_limits import LARGEST, Limits
from ibex.rpc import VerifiedToken
from ibex.stores.management import (
    AgentRecord,
    ArchiveRecord,
    FailedJob,
    InjectionRecord,
    JobCounts,
    MemoryRecord,
    MemoryText,
    OverviewRecord,
    SessionRecord,
    TokenRecord,
    TurnRecord,
)

Scope = Literal["chat", "read", "write", "content"]
MemoryStatus = Literal["active", "quarantined"]
SessionStatus = Literal["active", "completed"]
# PostgreSQL's text holds everything but NUL.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=500)]
Name = Annotated[
    str,
    StringConstraints(
        pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=100, strip_whitespace=True
    ),
]
Model = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=200)
]
LongText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=100_000)]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Output(BaseModel):
    model_config = ConfigDict(from_attributes=True)


# --- who ---


class WhoAmI(_Output):
    org_id: UUID
    org_name: str
    token_id: UUID
    agent_id: UUID | None = Field(description="The only agent that the token may see.")
    scopes: list[str]
    expires_at: datetime | None

    @classmethod
    def of(cls, token: VerifiedToken, org_name: str) -> Self:
        return cls(
            org_id=token.org_id,
            org_name=org_name,
            token_id=token.token_id,
            agent_id=token.agent_id,
            scopes=sorted(token.scopes),
            expires_at=token.expires_at,
        )


class NewToken(_Input):
    name: Name
    scopes: list[Scope] = Field(["chat"], min_length=1)
    agent: Text | None = Field(None, description="Id or name: bind the token to this agent.")
    expires_at: datetime | None = Field(None, description="With an offset; null: never.")

    @model_validator(mode="after")
    def _in_the_future(self) -> Self:
        if self.expires_at is not None and (
            self.expires_at.tzinfo is None or self.expires_at <= datetime.now(UTC)
        ):
            raise ValueError("expires_at must be in the future and have an offset")
        return self


class Token(_Output):
    id: UUID
    name: str
    agent_id: UUID | None
    scopes: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, record: TokenRecord) -> Self:
        return cls.model_validate(record)


class CreatedToken(_Output):
    id: UUID
    token: str = Field(description="Shown this once; only its SHA-256 is kept.")


# --- agents ---


class PolicyFallback(_Output):
    model_config = ConfigDict(from_attributes=True, extra="forbid")

    provider: ProviderName = Field(description="As in IBEX_PROVIDERS, or 'default'.")
    model: Model


class _Policy(_Input):
    default_model: Model | None = None
    allowed_models: list[Model] = Field([], max_length=100, description="Empty: every model.")
    provider: ProviderName | None = Field(None, description="Null: the deployment's.")
    fallbacks: list[PolicyFallback] = Field(
        [], max_length=MOST_FALLBACKS, description="Asked in this order; always allowed."
    )
    retries: int = Field(
        0, ge=0, le=MOST_RETRIES, description="Further tries at each, before the first byte."
    )
    first_byte_timeout: float | None = Field(
        None, gt=0, le=3600, description="Seconds for one try; null: the deployment's."
    )

    def known_fallbacks(self) -> list[Fallback]:
        return [Fallback(one.provider, one.model) for one in self.fallbacks]


class NewAgent(_Policy):
    name: Name
    description: Text = ""
    memory_token_budget: int | None = Field(
        None, ge=0, le=1_000_000, description="Null: the deployment's."
    )

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        listed = self.allowed_models
        if self.default_model and listed and self.default_model not in listed:
            raise ValueError("default_model must be one of allowed_models")
        return self


class AgentChange(_Policy):
    """What is left out stays as it is."""

    description: Text = ""
    status: Literal["active", "suspended"] = "active"
    memory_token_budget: int | None = Field(
        None, ge=0, le=1_000_000, description="Null: the deployment's."
    )

    def columns(self) -> dict[str, Any]:
        return self._said({"description", "status", "memory_token_budget"})

    def policy(self) -> dict[str, Any]:
        return self._said(set(_Policy.model_fields))

    def _said(self, names: set[str]) -> dict[str, Any]:
        return self.model_dump(include=names & self.model_fields_set)


class Agent(_Output):
    id: UUID
    name: str
    description: str
    status: str
    default_model: str | None
    allowed_models: list[str]
    provider: str
    fallbacks: list[PolicyFallback]
    retries: int
    first_byte_timeout: float | None
    memory_token_budget: int | None
    directive_version: int = Field(description="0: it has none.")
    memories: int = Field(description="Active and valid now.")
    sessions: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, record: AgentRecord) -> Self:
        policy = record.policy
        return cls.model_validate(
            {
                **{
                    name: getattr(record, name)
                    for name in cls.model_fields
                    if hasattr(record, name)
                },
                "default_model": policy.default_model,
                "allowed_models": sorted(policy.allowed_models),
                "provider": policy.provider,
                "fallbacks": policy.fallbacks,
                "retries": policy.retries,
                "first_byte_timeout": policy.first_byte_timeout,
            }
        )


class RateLimits(_Input):
    """What may be used in a minute."""

    requests: int | None = Field(
        None, ge=0, le=LARGEST, description="Null: the deployment's default. 0: no limit."
    )
    tokens: int | None = Field(
        None, ge=0, le=LARGEST, description="Of the model, prompt and answer; as above."
    )

    @classmethod
    def of(cls, limits: Limits) -> Self:
        return cls(requests=limits.requests, tokens=limits.tokens)

    def as_limits(self) -> Limits:
        return Limits(self.requests, self.tokens)


class NewDirective(_Input):
    content: LongText = Field(min_length=1)


class Directive(_Output):
    version: int
    content: str | None


# --- memories ---


class Memory(_Output):
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
    source: str
    version: int
    valid_from: datetime
    valid_to: datetime | None
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


# --- sessions ---


class Extraction(_Output):
    status: Literal["waiting", "leased", "done", "dead"]
    attempts: int
    last_error: str | None = Field(description="An error code.")


class Session(_Output):
    id: UUID
    agent_id: UUID
    agent: str
    user: str | None
    external_id: str | None = Field(description="The application's own id of the session.")
    status: SessionStatus
    origin: str
    turn_count: int
    message_count: int
    last_extracted_turn: int
    archived_turn: int
    memories: int = Field(description="Valid ones that came from it.")
    extraction: Extraction | None = Field(description="Null: it was never completed.")
    started_at: datetime
    last_turn_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        columns = {name: getattr(record, name) for name in cls.model_fields if name != "extraction"}
        job = record.job_status and {
            "status": record.job_status,
            "attempts": record.job_attempts,
            "last_error": record.job_error,
        }
        return cls.model_validate({**columns, "extraction": job or None})


class InjectedMemory(_Output):
    memory_id: UUID
    version: int
    category: Category
    score: float
    parts: dict[str, float] = Field(description="Of the composite score, each in [0, 1].")
    tokens: int
    origin: str = Field(
        description="hot | cold | both | pinned: known from an earlier request of the session only"
    )
    insertion: int = Field(0, description="The number of its insertion, from 0.")
    current_version: int | None = Field(None, description="Null: the memory is gone.")
    content: str | None = Field(None, description="What the memory says now.")


class Insertion(_Output):
    position: int = Field(description="It stands before the client's message with this number.")
    pinned: bool = Field(description="The block that the session started with.")
    tokens: int
    sha256: str = Field(description="Of its content, in hexadecimal.")


class DroppedMemory(_Output):
    memory_id: UUID
    version: int
    reason: str = Field(
        description="relevance | duplicate | budget | gain | settled | window | gone | unknown"
    )
    category: Category | None = Field(None, description="Null, as what follows: it was gone.")
    score: float | None = None
    parts: dict[str, float] | None = None
    tokens: int | None = None
    origin: str | None = None


class Injection(_Output):
    request_id: str
    agent_id: UUID
    session_id: UUID
    directive_version: int | None
    position: int
    tokens: int
    sha256: str = Field(description="Of the injected bytes, in hexadecimal.")
    memories: list[InjectedMemory]
    insertions: list[Insertion] = Field([], description="In order.")
    dropped: list[DroppedMemory] = Field([], description="The best 50 that were left out.")
    degraded: list[str] = Field([], description="What did not arrive in time.")
    created_at: datetime

    @classmethod
    def of(
        cls, record: InjectionRecord, texts: Mapping[UUID, MemoryText], *, with_content: bool
    ) -> Self:
        memories = [InjectedMemory.model_validate(memory) for memory in record.memories]
        for memory in memories:
            now = texts.get(memory.memory_id)
            memory.current_version = now.version if now else None
            memory.content = now.content if now and with_content else None
        return cls(
            request_id=record.request_id,
            agent_id=record.agent_id,
            session_id=record.session_id,
            directive_version=record.directive_version,
            position=record.position,
            tokens=record.tokens,
            sha256=record.sha256.hex(),
            memories=memories,
            insertions=[Insertion.model_validate(one) for one in record.insertions],
            dropped=[DroppedMemory.model_validate(one) for one in record.dropped],
            degraded=list(record.degraded),
            created_at=record.created_at,
        )


class Turn(_Output):
    id: UUID
    number: int
    request_id: str
    messages: list[dict[str, Any]] | None = Field(description="The new ones, as they were sent.")
    response: dict[str, Any] | None
    model: str
    finish_reason: str | None
    complete: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    injection: Injection | None = Field(None, description="What was put into the request.")
    started_at: datetime
    created_at: datetime

    @classmethod
    def of(cls, record: TurnRecord, injection: Injection | None, *, with_content: bool) -> Self:
        turn = cls.model_validate(record)
        turn.injection = injection
        if not with_content:
            turn.messages = turn.response = None
        return turn


class Archive(_Output):
    url: str = Field(description="Pre-signed: whoever has it can read the archive.")
    expires_at: datetime
    bucket: str
    key: str
    rows: int
    size: int = Field(description="Bytes.")
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, record: ArchiveRecord, url: str, expires_at: datetime) -> Self:
        return cls(
            url=url,
            expires_at=expires_at,
            bucket=record.bucket,
            key=record.key,
            rows=record.rows,
            size=record.size,
            sha256=record.sha256.hex(),
            created_at=record.created_at,
        )


# --- counts ---


class Jobs(_Output):
    waiting: int
    leased: int
    done: int
    dead: int


class SessionCounts(_Output):
    total: int
    active: int
    completed: int
    extracted: int = Field(description="Completed, every turn turned into memories.")
    archived: int = Field(description="Completed, every turn in the archive.")


class MemoryCounts(_Output):
    active: int
    quarantined: int
    superseded: int


class Overview(_Output):
    organization: str
    agents: int
    sessions: SessionCounts
    turns: int
    memories: MemoryCounts
    jobs: Jobs

    @classmethod
    def of(cls, record: OverviewRecord, jobs: JobCounts) -> Self:
        return cls(
            organization=record.organization,
            agents=record.agents,
            sessions=SessionCounts(
                total=record.sessions,
                active=record.active,
                completed=record.completed,
                extracted=record.extracted,
                archived=record.archived,
            ),
            turns=record.turns,
            memories=MemoryCounts(
                active=record.memories,
                quarantined=record.quarantined,
                superseded=record.superseded,
            ),
            jobs=Jobs.model_validate(jobs),
        )


class Failure(_Output):
    session_id: UUID
    status: str
    attempts: int
    last_error: str | None = Field(description="An error code.")
    available_at: datetime = Field(description="When it is tried again, unless it is dead.")
    updated_at: datetime

    @classmethod
    def of(cls, record: FailedJob) -> Self:
        return cls.model_validate(record)


class Pipeline(_Output):
    jobs: Jobs
    oldest_waiting_at: datetime | None
    unarchived_sessions: int
    failures: list[Failure] = Field(description="The latest that are not over, at most 20.")


class Health(_Output):
    status: Literal["ok"] = "ok"


class Readiness(_Output):
    ready: bool
    checks: dict[str, bool]
