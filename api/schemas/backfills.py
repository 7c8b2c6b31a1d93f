"""Backfills: what another prompt or model makes of sessions that were read before."""

from dataclasses import asdict
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, Field

from api.schemas.base import Input, Model, Name, Output, Text
from ibex.backfills.model import Backfill as StoredBackfill
from ibex.backfills.model import Difference as StoredDifference
from ibex.backfills.model import Kind, ShownChange, State


class NewBackfill(Input):
    since: AwareDatetime = Field(description="Sessions that began from here on.")
    until: AwareDatetime | None = Field(None, description="And before this.")
    agent: Text | None = Field(None, description="Id or name; null: of all agents.")
    prompt: Name | None = Field(None, description="Its name; null: the one in use.")
    model: Model | None = Field(None, description="Null: the one in use.")


class Backfill(Output):
    id: UUID
    status: State
    last_error: str | None = Field(description="An error code.")
    agent_id: UUID | None = Field(description="Null: all agents.")
    agent: str | None
    since: datetime
    until: datetime | None
    prompt: str
    prompt_version: str
    model: str
    sessions: int
    done: int = Field(description="Sessions that were read again.")
    dead: int = Field(description="Sessions that could not be read.")
    switched: int = Field(description="Sessions whose facts are believed by now.")
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None = Field(description="Null: no price is set for the model.")
    created_at: datetime
    compared_at: datetime | None
    switched_at: datetime | None
    revert_until: datetime | None = Field(description="Until then it can be reverted.")

    @classmethod
    def of(cls, found: StoredBackfill) -> Self:
        return cls.model_validate({**asdict(found.wish), **vars(found)})


class ReadingFigures(Output):
    """Of all statements that one reading made of these sessions."""

    statements: int
    junk_share: float = Field(description="Hardly a word, or an echo of instructions.")
    duplicate_share: float = Field(description="Said already by another of the session.")
    grounded_share: float = Field(description="Of their words, those that the session has.")
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class AgentChanges(Output):
    agent_id: UUID
    agent: str
    added: int
    gone: int
    changed: int
    quarantined: int = Field(description="Of added and changed: those that would be reviewed.")


class BackfillDifference(Output):
    agents: list[AgentChanges]
    unchanged: int | None = Field(description="Memories that stay; null for one agent of several.")
    before: ReadingFigures
    after: ReadingFigures
    errors: dict[str, int] = Field(description="Codes of sessions that failed, and how many.")

    @classmethod
    def of(cls, difference: StoredDifference, found: StoredBackfill, *, whole: bool) -> Self:
        before = {**difference.before.summary(), **asdict(difference.spent_before)}
        after = {
            **difference.after.summary(),
            "prompt_tokens": found.prompt_tokens,
            "completion_tokens": found.completion_tokens,
            "cost_usd": found.cost_usd,
        }
        return cls(
            agents=[AgentChanges.model_validate(one) for one in difference.agents],
            unchanged=found.unchanged if whole else None,
            before=ReadingFigures.model_validate(before),
            after=ReadingFigures.model_validate(after),
            errors=dict(difference.errors),
        )


class MemoryChange(Output):
    id: UUID
    kind: Kind
    differs: list[str] = Field(description="Of a changed one: words, category, validity, status.")
    agent_id: UUID
    agent: str
    user: str | None
    memory_id: UUID | None = Field(description="Before; null: there was none.")
    before: str | None = Field(description="Its words; null without the scope 'content'.")
    after: str | None
    category: str | None = Field(description="Afterwards, as what follows.")
    status: str | None
    confidence: float | None
    valid_from: datetime | None
    valid_to: datetime | None
    session_id: UUID | None

    @classmethod
    def of(cls, shown: ShownChange, *, with_content: bool) -> Self:
        change = shown.change
        return cls(
            id=change.id,
            kind=change.kind,
            differs=list(change.differs),
            agent_id=shown.agent_id,
            agent=shown.agent,
            user=shown.user,
            memory_id=change.memory_id,
            before=shown.before if with_content else None,
            after=change.content if with_content else None,
            category=change.category,
            status=change.status,
            confidence=change.confidence,
            valid_from=change.valid_from,
            valid_to=change.valid_to,
            session_id=change.session_id,
        )
