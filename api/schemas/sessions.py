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
