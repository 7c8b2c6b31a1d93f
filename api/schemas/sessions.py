"""Sessions, their turns and archives."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Output
from api.schemas.injections import Injection
from ibex.stores.management import ArchiveRecord, SessionRecord, TurnRecord

SessionStatus = Literal["active", "completed"]


class Extraction(Output):
    status: Literal["waiting", "leased", "done", "dead"]
    attempts: int
    last_error: str | None = Field(description="An error code.")


class ModelUsage(Output):
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None = Field(description="By IBEX_MODEL_PRICES; null: no price is set.")
    seconds: float = Field(description="That the calls took.")
    models: list[str]


class Session(Output):
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
    archived_at: datetime | None = Field(description="When its archive was written last.")
    memories: int = Field(description="Valid ones that came from it.")
    extraction: Extraction | None = Field(description="Null: it was never completed.")
    model_usage: ModelUsage | None = Field(
        description="Of its extraction, tries that failed included. Null: no model was asked."
    )
    started_at: datetime
    last_turn_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        own = cls.model_fields.keys() - {"extraction", "model_usage"}
        columns = {name: getattr(record, name) for name in own}
        job = record.job_status and {
            "status": record.job_status,
            "attempts": record.job_attempts,
            "last_error": record.job_error,
        }
        usage = record.model_calls and ModelUsage(
            calls=record.model_calls,
            prompt_tokens=record.model_prompt_tokens,
            completion_tokens=record.model_completion_tokens,
            cost_usd=record.model_cost_usd,
            seconds=round(record.model_seconds, 3),
            models=list(record.models),
        )
        return cls.model_validate(
            {**columns, "extraction": job or None, "model_usage": usage or None}
        )


class Turn(Output):
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


class Archive(Output):
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
