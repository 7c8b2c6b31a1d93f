"""What must be provable: erasure, audit, idempotency. Fingerprints are drafted for later."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ibex.stores.models.base import Base, Bytes, Created, Id, Json, OrgId, one_of, tenant_reference
from ibex.stores.models.identity import organization_key

_SUBJECTS = ("organization", "agent", "user", "session", "memory")


class ErasureRequest(Base):
    """A wish to be forgotten and its receipt. Outlives what it erased."""

    __tablename__ = "erasure_requests"
    __table_args__ = (
        CheckConstraint(one_of("subject_kind", *_SUBJECTS), name="subject_kind"),
        CheckConstraint(one_of("status", "waiting", "running", "done", "failed"), name="status"),
    )

    org_id: Mapped[OrgId]
    id: Mapped[Id]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID] = mapped_column(Uuid)
    status: Mapped[str] = mapped_column(server_default="waiting")
    # {store: {"before": n, "after": n}} and the outcome of the verification
    receipt: Mapped[Json]
    requested_by: Mapped[UUID | None] = mapped_column(Uuid)
    created_at: Mapped[Created]
    completed_at: Mapped[datetime | None]


class Tombstone(Base):
    """An id that must never come back, whatever job or archive still knows it."""

    __tablename__ = "tombstones"
    __table_args__ = (CheckConstraint(one_of("subject_kind", *_SUBJECTS), name="subject_kind"),)

    org_id: Mapped[OrgId]
    id: Mapped[Id]  # of what was erased
    subject_kind: Mapped[str]
    created_at: Mapped[Created]


class AuditLog(Base):
    """Who did what to which object; append-only (a trigger refuses the rest). No content."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_time", "org_id", "created_at"),)

    org_id: Mapped[OrgId]
    id: Mapped[Id]
    actor_kind: Mapped[str]  # token | cli | pipeline
    actor_id: Mapped[str]
    action: Mapped[str]  # e.g. token.create
    object_kind: Mapped[str]
    object_id: Mapped[str]
    details: Mapped[Json]
    created_at: Mapped[Created]


class IdempotencyKey(Base):
    """The first answer to a request with an Idempotency-Key, for the retries; `try:…` is another
    try of a turn that was recorded. Kept for IBEX_IDEMPOTENCY_DAYS."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_age", "org_id", "created_at"),)

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[Bytes]
    status: Mapped[int | None]
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[Created]


class BehavioralFingerprint(Base):
    """Drafted for a later phase: how an agent behaves over a window of time."""

    __tablename__ = "behavioral_fingerprints"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        CheckConstraint("window_end > window_start", name="window"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    features: Mapped[Json]
    sample_size: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[Created]
