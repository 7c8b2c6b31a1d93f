"""What was learned: memories, their history, their edges and tags."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Float,
    Index,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
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

EMBEDDING_DIMENSIONS = 384
_SOURCES = ("user", "assistant", "tool", "document", "import", "operator")


class Memory(Base):
    """One redacted statement with a category, confidence, validity window and provenance."""

    __tablename__ = "memories"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        tenant_reference("user_id", "users"),
        tenant_reference("session_id", "sessions", ondelete="SET NULL"),
        CheckConstraint(
            one_of("category", "procedural", "declarative", "episodic"), name="category"
        ),
        CheckConstraint(one_of("status", "active", "quarantined", "rejected"), name="status"),
        CheckConstraint(
            "status <> 'active' OR quarantine_reason IS NULL", name="quarantine_reason"
        ),
        CheckConstraint(one_of("source", *_SOURCES), name="source"),
        CheckConstraint("confidence BETWEEN 0 AND 1 AND usefulness BETWEEN 0 AND 1", name="unit"),
        CheckConstraint("observed_usefulness BETWEEN 0 AND 1", name="observed_unit"),
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="validity"),
        CheckConstraint("octet_length(content_hash) = 32", name="content_hash"),
        # Exact duplicates: the same words, for the same agent and user, believed at this time.
        Index(
            "uq_memories_content",
            "org_id",
            "agent_id",
            "user_id",
            "content_hash",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("valid_to IS NULL"),
        ),
        Index("ix_memories_agent", "org_id", "agent_id", "user_id", "status"),
        Index(
            "ix_memories_quarantined",
            "org_id",
            "id",
            postgresql_where=text("status = 'quarantined' AND valid_to IS NULL"),
        ),
        Index("ix_memories_session", "org_id", "session_id"),
        Index(
            "ix_memories_expiry",
            "org_id",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL"),
        ),
        Index("ix_memories_age", "org_id", "agent_id", "category", "created_at"),
        Index("ix_memories_search", "search", postgresql_using="gin"),
        # An exact search reads every vector of an agent: they stay in their rows.
        {"postgresql_with": {"toast_tuple_target": "8160"}},
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[UUID | None] = mapped_column(Uuid)  # NULL: the agent's own
    category: Mapped[str]
    subject: Mapped[str] = mapped_column(server_default="")
    attribute: Mapped[str] = mapped_column(server_default="")
    content: Mapped[str]
    content_hash: Mapped[Bytes]
    confidence: Mapped[float] = mapped_column(Float)
    # what recall goes by: the average over the answers and the votes of memory_feedback
    usefulness: Mapped[float] = mapped_column(Float, server_default="0.5")
    observed_usefulness: Mapped[float] = mapped_column(Float, server_default="0.5")
    access_count: Mapped[int] = mapped_column(server_default="0")
    last_accessed_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(server_default="active")
    quarantine_reason: Mapped[str | None]  # ibex.memory.trust.Reason; a rejected one keeps it
    source: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="1")
    valid_from: Mapped[Created]
    valid_to: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]  # from then on not recalled, and soon deleted
    superseded_by: Mapped[UUID | None] = mapped_column(Uuid)
    # provenance
    session_id: Mapped[UUID | None] = mapped_column(Uuid)
    turns: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{}'"))
    message_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    place: Mapped[int | None]  # of an episode among those of its session; its neighbours count
    extractor: Mapped[str]
    prompt_version: Mapped[str]
    model: Mapped[str]
    run_id: Mapped[str | None]
    # counts by kind, e.g. {"EMAIL": 1}
    redactions: Mapped[Json]
    embedding: Mapped[Any] = mapped_column(Vector(EMBEDDING_DIMENSIONS))
    embedding_model: Mapped[str]
    search: Mapped[Any] = mapped_column(
        TSVECTOR, Computed("to_tsvector('english'::regconfig, content)", persisted=True)
    )
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class MemoryStatement(Base):
    """One time that somebody said what a memory says; a memory rests on one or more of them."""

    __tablename__ = "memory_statements"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        tenant_reference("user_id", "users"),
        tenant_reference("memory_id", "memories"),
        tenant_reference("session_id", "sessions"),
        CheckConstraint("octet_length(content_hash) = 32", name="content_hash"),
        CheckConstraint("(content IS NULL) = (embedding IS NULL)", name="words"),
        # A statement that is written again is the same one.
        Index(
            "uq_memory_statements_said",
            "org_id",
            "memory_id",
            "content_hash",
            "valid_from",
            "session_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_memory_statements_session", "org_id", "session_id"),
        # Those in words of their own, which newer statements are compared with as well.
        Index(
            "ix_memory_statements_words",
            "org_id",
            "agent_id",
            "user_id",
            postgresql_where=text("embedding IS NOT NULL"),
        ),
        {"postgresql_with": {"toast_tuple_target": "8160"}},
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[UUID | None] = mapped_column(Uuid)
    memory_id: Mapped[UUID] = mapped_column(Uuid)
    category: Mapped[str]
    subject: Mapped[str] = mapped_column(server_default="")
    attribute: Mapped[str] = mapped_column(server_default="")
    content: Mapped[str | None]  # NULL: the memory's own words, and its embedding
    content_hash: Mapped[Bytes]
    confidence: Mapped[float] = mapped_column(Float)
    source: Mapped[str]
    valid_from: Mapped[Time]
    session_id: Mapped[UUID | None] = mapped_column(Uuid)
    turns: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{}'"))
    message_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    extractor: Mapped[str]
    prompt_version: Mapped[str]
    model: Mapped[str]
    run_id: Mapped[str | None]
    redactions: Mapped[Json]
    embedding: Mapped[Any | None] = mapped_column(Vector(EMBEDDING_DIMENSIONS))
    embedding_model: Mapped[str]
    created_at: Mapped[Created]


class MemoryChange(Base):
    """That a memory changed in a transaction; written by triggers, kept for an hour."""

    __tablename__ = "memory_changes"

    org_id: Mapped[OrgId]
    agent_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    xid: Mapped[int] = mapped_column(
        BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=text("((pg_current_xact_id())::text)::bigint"),
    )
    memory_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    changed_at: Mapped[Created]


class MemoryEmbedding(Base):
    """A memory's vector of a model other than the one its row has; a trigger deletes it when the
    memory says something else."""

    __tablename__ = "memory_embeddings"
    __table_args__ = (
        tenant_reference("memory_id", "memories"),
        Index("ix_memory_embeddings_model", "org_id", "model"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    memory_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    embedding: Mapped[Any] = mapped_column(Vector(EMBEDDING_DIMENSIONS))
    created_at: Mapped[Created]


class MemoryVersion(Base):
    """What a memory was, each time it changed; append-only (a trigger refuses the rest)."""

    __tablename__ = "memory_versions"
    __table_args__ = (
        tenant_reference("memory_id", "memories"),
        UniqueConstraint("org_id", "memory_id", "version"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    memory_id: Mapped[UUID] = mapped_column(Uuid)
    version: Mapped[int]
    # created | superseded | merged | edited | approved | rejected | vouched | promoted |
    # set_aside | reextracted
    change: Mapped[str]
    content: Mapped[str]
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB)  # the other columns, without vectors
    run_id: Mapped[str | None]
    created_at: Mapped[Created]


class MemoryRelationship(Base):
    """A typed edge between two memories."""

    __tablename__ = "memory_relationships"
    __table_args__ = (
        tenant_reference("from_memory_id", "memories"),
        tenant_reference("to_memory_id", "memories"),
        CheckConstraint(
            one_of(
                "kind",
                "supersedes",
                "contradicts",
                "undecided",  # a model may judge
                "supports",
                "derived_from",
                "related",
            ),
            name="kind",
        ),
        CheckConstraint("from_memory_id <> to_memory_id", name="not_self"),
        UniqueConstraint("org_id", "from_memory_id", "to_memory_id", "kind"),
        Index("ix_memory_relationships_to", "org_id", "to_memory_id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    from_memory_id: Mapped[UUID] = mapped_column(Uuid)
    to_memory_id: Mapped[UUID] = mapped_column(Uuid)
    kind: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[Created]


class MemoryTag(Base):
    __tablename__ = "memory_tags"
    __table_args__ = (
        tenant_reference("memory_id", "memories"),
        Index("ix_memory_tags_tag", "org_id", "tag"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    memory_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Created]


class MemoryFeedback(Base):
    """Somebody's word on whether a memory helped: one for a request, whoever gives it, and one of
    each token for the memory as such (`request_id` NULL)."""

    __tablename__ = "memory_feedback"
    __table_args__ = (
        tenant_reference("memory_id", "memories"),
        Index(
            "uq_memory_feedback_request",
            "org_id",
            "memory_id",
            "request_id",
            unique=True,
            postgresql_where=text("request_id IS NOT NULL"),
        ),
        Index(
            "uq_memory_feedback_token",
            "org_id",
            "memory_id",
            "token_id",
            unique=True,
            postgresql_where=text("request_id IS NULL"),
        ),
        Index("ix_memory_feedback_request", "org_id", "request_id"),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    memory_id: Mapped[UUID] = mapped_column(Uuid)
    request_id: Mapped[str | None]
    token_id: Mapped[UUID] = mapped_column(Uuid)
    helpful: Mapped[bool]
    created_at: Mapped[Created]
