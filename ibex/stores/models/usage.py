"""What models cost: figures only, so that they outlive what they were spent on."""

from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Numeric, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from ibex.stores.models.base import (
    Base,
    Created,
    Id,
    OrgId,
    one_of,
    tenant_reference,
)
from ibex.stores.models.identity import organization_key


class ExtractionUsage(Base):
    """What one try of a session, or one look at an owner's undecided pairs, asked of a model."""

    __tablename__ = "extraction_usage"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        tenant_reference("session_id", "sessions", ondelete="SET NULL"),
        CheckConstraint(one_of("purpose", "facts", "conflicts", "backfill"), name="purpose"),
        Index("ix_extraction_usage_session", "org_id", "session_id"),
        Index("ix_extraction_usage_created", "org_id", "created_at"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    session_id: Mapped[UUID | None] = mapped_column(Uuid)
    purpose: Mapped[str]
    run_id: Mapped[str | None]
    prompt_version: Mapped[str]
    model: Mapped[str]  # as its server names it
    calls: Mapped[int]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))  # NULL: no price is set
    seconds: Mapped[float]  # that the calls took, waiting for their turn not counted
    succeeded: Mapped[bool]
    created_at: Mapped[Created]
