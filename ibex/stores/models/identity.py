"""Who: organizations, users, agents, tokens, and the directives operators give agents."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from ibex.stores.models.base import (
    SCHEMA,
    Base,
    Bytes,
    Created,
    Id,
    Json,
    OrgId,
    one_of,
    tenant_reference,
)


def organization_key() -> ForeignKey:
    return ForeignKey(f"{SCHEMA}.organizations.id", ondelete="CASCADE")


class Organization(Base):
    """The tenant. The only table whose id stands alone."""

    __tablename__ = "organizations"
    __table_args__ = (CheckConstraint(one_of("status", "active", "suspended"), name="status"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="active")
    settings: Mapped[Json]  # {"limits": {"requests": int, "tokens": int}}
    created_at: Mapped[Created]


class User(Base):
    """An end user of the organization's applications, by the application's own opaque id."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("org_id", "external_id"),)

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    external_id: Mapped[str]
    created_at: Mapped[Created]


class Agent(Base):
    """An AI application: has a directive, a model policy and memories."""

    __tablename__ = "agents"
    __table_args__ = (
        UniqueConstraint("org_id", "name"),
        CheckConstraint(one_of("status", "active", "suspended", "archived"), name="status"),
        CheckConstraint("memory_token_budget >= 0", name="budget"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    status: Mapped[str] = mapped_column(server_default="active")
    # What ibex.policy reads; an empty policy allows every model
    # {"limits": {"requests": int, "tokens": int}} a minute
    policy: Mapped[Json]
    memory_token_budget: Mapped[int | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class ApiToken(Base):
    """A personal access token; the token itself is not stored, only its SHA-256."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        Index("ix_api_tokens_id", "id", unique=True),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    name: Mapped[str]
    sha256: Mapped[Bytes]
    agent_id: Mapped[UUID | None] = mapped_column(Uuid)
    # chat: use the proxy; read, write: use the management API; content: see memories and turns
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{chat}'"))
    # {"requests": int, "tokens": int} a minute; what is not there is the deployment's
    limits: Mapped[Json]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[Created]


class Directive(Base):
    """The operator's system text for one agent; its text lives in its versions."""

    __tablename__ = "directives"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        UniqueConstraint("org_id", "agent_id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    current_version: Mapped[int]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class DirectiveVersion(Base):
    """One text a directive had; append-only."""

    __tablename__ = "directive_versions"
    __table_args__ = (
        tenant_reference("directive_id", "directives"),
        UniqueConstraint("org_id", "directive_id", "version"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    directive_id: Mapped[UUID] = mapped_column(Uuid)
    version: Mapped[int]
    content: Mapped[str]
    created_by: Mapped[UUID | None] = mapped_column(Uuid)
    created_at: Mapped[Created]
