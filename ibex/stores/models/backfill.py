"""Backfills of the extraction: the wish, its sessions, and the set that is not believed."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import Vector
from sqlalchemy import CheckConstraint, Float, Index, Numeric, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Integer, Text

from ibex.stores.models.base import (
    Base,
    Bytes,
    Created,
    Id,
    Json,
    OrgId,
    Time,
    one_of,
    tenant_reference,
)
from ibex.stores.models.identity import organization_key
from ibex.stores.models.memory import EMBEDDING_DIMENSIONS

_STATES = (
    "waiting", "running", "paused", "ready", "switching", "switched", "reverting", "discarded",
)  # fmt: skip


class Backfill(Base):
    """Sessions that another prompt or model reads again, and how far that is."""

    __tablename__ = "backfills"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        CheckConstraint(one_of("status", *_STATES), name="status"),
        CheckConstraint("(worker IS NULL) = (worker_until IS NULL)", name="worker"),
        Index(
            "ix_backfills_unfinished",
            "created_at",
            postgresql_where=text("status IN ('waiting', 'running', 'switching', 'reverting')"),
        ),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    status: Mapped[str] = mapped_column(server_default="waiting")
    agent_id: Mapped[UUID | None] = mapped_column(Uuid)  # NULL: all agents
    since: Mapped[Time]  # sessions that began from here on
    until: Mapped[datetime | None]  # and before this
    prompt: Mapped[str]  # its name
    prompt_version: Mapped[str]
    model: Mapped[str]
    last_error: Mapped[str | None]  # a code
    worker: Mapped[str | None]  # one at a time, while its lease lasts
    worker_until: Mapped[datetime | None]
    unchanged: Mapped[int] = mapped_column(server_default="0")  # memories that stay as they are
    compared_at: Mapped[datetime | None]
    switched_at: Mapped[datetime | None]
    revert_until: Mapped[datetime | None]  # then the set that was replaced goes
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class BackfillSession(Base):
    """One session of a backfill. Holds no content."""

    __tablename__ = "backfill_sessions"
    __table_args__ = (
        tenant_reference("backfill_id", "backfills"),
        tenant_reference("session_id", "sessions"),
        tenant_reference("agent_id", "agents"),
        tenant_reference("user_id", "users"),
        CheckConstraint(one_of("status", "waiting", "done", "dead"), name="status"),
        Index("ix_backfill_sessions_session", "org_id", "session_id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    backfill_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[UUID | None] = mapped_column(Uuid)
    status: Mapped[str] = mapped_column(server_default="waiting")
    attempts: Mapped[int] = mapped_column(server_default="0")
    last_error: Mapped[str | None]  # a code
    through_turn: Mapped[int] = mapped_column(server_default="0")  # the last that was read
    prompt_tokens: Mapped[int] = mapped_column(server_default="0")
    completion_tokens: Mapped[int] = mapped_column(server_default="0")
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))  # NULL: no price is set
    seconds: Mapped[float] = mapped_column(Float, server_default="0")
    # ibex.backfills.quality.Quality of the statements before and after
    before: Mapped[Json]
    after: Mapped[Json]
    switched_at: Mapped[datetime | None]  # since when the backfill's facts are believed


class BackfillFact(Base):
    """A statement of the set that is not believed: the backfill's before the switch, the one that
    it replaced afterwards."""

    __tablename__ = "backfill_facts"
    __table_args__ = (
        tenant_reference("backfill_id", "backfills"),
        tenant_reference("session_id", "sessions"),
        tenant_reference("agent_id", "agents"),
        tenant_reference("user_id", "users"),
        tenant_reference("memory_id", "memories"),
        Index("ix_backfill_facts_session", "org_id", "backfill_id", "session_id"),
        Index("ix_backfill_facts_memory", "org_id", "memory_id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    backfill_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    id: Mapped[Id]
    session_id: Mapped[UUID] = mapped_column(Uuid)
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[UUID | None] = mapped_column(Uuid)
    memory_id: Mapped[UUID | None] = mapped_column(Uuid)  # that it was of; NULL: of none yet
    category: Mapped[str]
    subject: Mapped[str]
    attribute: Mapped[str]
    content: Mapped[str]
    content_hash: Mapped[Bytes]
    confidence: Mapped[float] = mapped_column(Float)
    source: Mapped[str]
    valid_from: Mapped[Time]
    turns: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    message_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    extractor: Mapped[str]
    prompt_version: Mapped[str]
    model: Mapped[str]
    run_id: Mapped[str | None]
    redactions: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str]  # of the memory that it would be
    quarantine_reason: Mapped[str | None]
    embedding: Mapped[Any] = mapped_column(Vector(EMBEDDING_DIMENSIONS))
    embedding_model: Mapped[str]


class BackfillChange(Base):
    """What switching would change about one memory. The words before are the memory's own."""

    __tablename__ = "backfill_changes"
    __table_args__ = (
        tenant_reference("backfill_id", "backfills"),
        tenant_reference("session_id", "sessions"),
        tenant_reference("agent_id", "agents"),
        tenant_reference("user_id", "users"),
        tenant_reference("memory_id", "memories"),
        CheckConstraint(one_of("kind", "added", "gone", "changed"), name="kind"),
        CheckConstraint("(kind = 'added') = (memory_id IS NULL)", name="before"),
        Index("ix_backfill_changes_memory", "org_id", "memory_id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    backfill_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[UUID | None] = mapped_column(Uuid)
    kind: Mapped[str]
    # words | category | validity | status
    differs: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    memory_id: Mapped[UUID | None] = mapped_column(Uuid)  # as it is before; NULL: there is none
    session_id: Mapped[UUID | None] = mapped_column(Uuid)  # of the words afterwards
    # afterwards; NULL where it is gone
    content: Mapped[str | None]
    category: Mapped[str | None]
    status: Mapped[str | None]
    confidence: Mapped[float | None] = mapped_column(Float)
    valid_from: Mapped[datetime | None]
    valid_to: Mapped[datetime | None]
