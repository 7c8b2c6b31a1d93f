"""What was looked at: results of checks, and which sessions were given a memory."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Float, Index, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ibex.stores.models.base import Base, Id, Json, OrgId, Time, one_of, tenant_reference
from ibex.stores.models.identity import organization_key


class CheckResult(Base):
    """A time in which a check passed, or failed: a row from one change to the next."""

    __tablename__ = "check_results"
    __table_args__ = (
        CheckConstraint(one_of("severity", "warn", "error"), name="severity"),
        Index("ix_check_results_check", "org_id", "check_name", "id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    check_name: Mapped[str]
    passed: Mapped[bool]
    severity: Mapped[str]
    looked_at: Mapped[int]  # memories, lists, archives or sessions: the last time
    value: Mapped[float] = mapped_column(Float)  # a share, a count or seconds
    threshold: Mapped[float] = mapped_column(Float)
    found: Mapped[Json]  # {what: how many}
    examples: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))  # ids
    error: Mapped[str | None]  # the code of what kept it from looking
    run_id: Mapped[str | None]
    since: Mapped[Time]
    checked_at: Mapped[datetime]  # the last time


class SessionMemory(Base):
    """That a session was given a memory, by one of its requests or more. Written when its answers
    are observed, and read for lineage: `context_injections` has each request's."""

    __tablename__ = "session_memories"
    __table_args__ = (
        tenant_reference("memory_id", "memories"),
        tenant_reference("session_id", "sessions"),
        Index("ix_session_memories_session", "org_id", "session_id"),
    )

    org_id: Mapped[OrgId]
    memory_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
