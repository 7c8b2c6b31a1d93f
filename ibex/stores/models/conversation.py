"""What was said: sessions, their turns, what was injected, and the work that follows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from ibex.stores.models.base import (
    Base,
    Bytes,
    Created,
    Day,
    Id,
    OrgId,
    one_of,
    tenant_reference,
)
from ibex.stores.models.identity import organization_key


class Session(Base):
    """A conversation. `active` until it is completed; a later turn makes it active again."""

    __tablename__ = "sessions"
    __table_args__ = (
        tenant_reference("agent_id", "agents"),
        tenant_reference("user_id", "users"),
        CheckConstraint(one_of("status", "active", "completed"), name="status"),
        CheckConstraint(
            "last_extracted_turn <= turn_count AND archived_turn <= turn_count", name="watermarks"
        ),
        CheckConstraint("dropped_turn <= turn_count", name="dropped"),
        # A session belongs to one user: the same external id of another user is another session.
        Index(
            "uq_sessions_external_id",
            "org_id",
            "agent_id",
            "user_id",
            "external_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("external_id IS NOT NULL"),
        ),
        Index("ix_sessions_idle", "last_turn_at", postgresql_where=text("status = 'active'")),
        Index(
            "ix_sessions_unarchived",
            "completed_at",
            postgresql_where=text("status = 'completed' AND archived_turn < turn_count"),
        ),
        Index(
            "ix_sessions_droppable",
            "last_turn_at",
            "id",
            postgresql_where=text(
                "status = 'completed' AND archived_turn = turn_count"
                " AND last_extracted_turn = turn_count AND dropped_turn < turn_count"
            ),
        ),
        Index("ix_sessions_listed", "org_id", "agent_id", "started_at"),
        Index(
            "ix_sessions_tail",
            "org_id",
            "agent_id",
            "user_id",
            "tail_hash",
            "last_turn_at",
            postgresql_where=text("tail_hash IS NOT NULL"),
        ),
        Index(
            "ix_sessions_request",
            "org_id",
            "agent_id",
            "request_hash",
            "last_turn_at",
            postgresql_where=text("request_hash IS NOT NULL"),
        ),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    agent_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[UUID | None] = mapped_column(Uuid)
    # the application's own id of the session, when X-IBEX-Session-ID or an import named one
    external_id: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="active")
    origin: Mapped[str] = mapped_column(server_default="proxy")  # proxy | import
    turn_count: Mapped[int] = mapped_column(server_default="0")
    # SHA-256 chain over the first `message_count` messages: see ibex/conversation.py
    message_count: Mapped[int] = mapped_column(server_default="0")
    chain_hash: Mapped[Bytes | None]
    # of the dialogue, by which a request without a session's name finds it: see ibex/sessions.py
    dialogue_hash: Mapped[Bytes | None]
    tail_hash: Mapped[Bytes | None]
    request_hash: Mapped[Bytes | None]
    request_key: Mapped[Bytes | None]
    last_extracted_turn: Mapped[int] = mapped_column(server_default="0")
    archived_turn: Mapped[int] = mapped_column(server_default="0")
    # the content of the turns through this one is in the archive only
    dropped_turn: Mapped[int] = mapped_column(server_default="0")
    archived_at: Mapped[datetime | None]  # when the archive was written last
    started_at: Mapped[Created]
    last_turn_at: Mapped[Created]
    completed_at: Mapped[datetime | None]


class SessionTurn(Base):
    """One request and its response: only the messages that are new, as the client sent them."""

    __tablename__ = "session_turns"
    __table_args__ = (
        tenant_reference("session_id", "sessions"),
        UniqueConstraint("org_id", "session_id", "number"),
        UniqueConstraint("org_id", "request_id"),
    )

    org_id: Mapped[OrgId]  # the session's
    id: Mapped[Id]
    session_id: Mapped[UUID] = mapped_column(Uuid)
    number: Mapped[int]  # from 1
    request_id: Mapped[str]
    # [{role, content, …}] as received; NULL: in the archive only
    messages: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    # the assistant's message; NULL also when the provider failed before it said anything
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    message_count: Mapped[int]  # of the session, after this turn
    chain_hash: Mapped[Bytes]  # of the session, after this turn
    model: Mapped[str]
    finish_reason: Mapped[str | None]
    complete: Mapped[bool] = mapped_column(server_default=text("true"))
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    started_at: Mapped[Created]
    created_at: Mapped[Created]


class ContextInjection(Base):
    """What was put into one request: ids and figures, never content."""

    __tablename__ = "context_injections"
    __table_args__ = (
        tenant_reference("session_id", "sessions"),
        UniqueConstraint("org_id", "request_id"),
        Index("ix_context_injections_session", "org_id", "session_id"),
        Index(
            "ix_context_injections_unobserved",
            "org_id",
            "created_at",
            postgresql_where=text("observed_at IS NULL AND memories <> '[]'"),
        ),
    )

    org_id: Mapped[OrgId]  # the session's
    id: Mapped[Id]
    request_id: Mapped[str]
    agent_id: Mapped[UUID] = mapped_column(Uuid)  # the session's
    session_id: Mapped[UUID] = mapped_column(Uuid)
    # [{memory_id, version, category, score, parts: […], tokens, origin, insertion}]
    memories: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    directive_version: Mapped[int | None]
    position: Mapped[int]  # of the first insertion
    tokens: Mapped[int]
    sha256: Mapped[Bytes]  # of the injected contents in order, joined by a NUL
    # [{position, pinned, tokens, sha256}]
    insertions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    # [{memory_id, version, reason, category, score, parts, tokens, origin}], the best 20
    dropped: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    # [{place, anchor, memories: [[id, version, digest]]}]: what this request added to the
    # session's log, see ibex/memory/pinning.py
    decisions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    # what did not arrive in time
    degraded: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    # when it was found out which memories the answer rests on; NULL: not yet
    observed_at: Mapped[datetime | None]
    # [{memory_id, support, weight}], see ibex/memory/usefulness.py
    observations: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    created_at: Mapped[Created]


class ExtractionJob(Base):
    """The state of one session's extraction; holds no content, so the pipeline may see all."""

    __tablename__ = "extraction_jobs"
    __table_args__ = (
        tenant_reference("session_id", "sessions"),
        UniqueConstraint("org_id", "session_id"),
        CheckConstraint(one_of("status", "waiting", "leased", "done", "dead"), name="status"),
        CheckConstraint("(status = 'leased') = (lease_until IS NOT NULL)", name="lease"),
        Index(
            "ix_extraction_jobs_claimable",
            "available_at",
            postgresql_where=text("status IN ('waiting', 'leased')"),
        ),
        Index(
            "ix_extraction_jobs_claimed",
            "org_id",
            "claimed_at",
            postgresql_where=text("claimed_at IS NOT NULL"),
        ),
        Index("ix_extraction_jobs_dead", "org_id", "id", postgresql_where=text("status = 'dead'")),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    session_id: Mapped[UUID] = mapped_column(Uuid)
    status: Mapped[str] = mapped_column(server_default="waiting")
    attempts: Mapped[int] = mapped_column(server_default="0")
    available_at: Mapped[Created]
    lease_until: Mapped[datetime | None]
    lease_owner: Mapped[str | None]  # the Dagster run id
    # Times in a row that a part was away, and since when; such tries are not in `attempts`.
    deferrals: Mapped[int] = mapped_column(server_default="0")
    deferred_since: Mapped[datetime | None]
    last_error: Mapped[str | None]  # an error code, never a message
    queued_at: Mapped[Created]  # when there was something to extract, however often it was tried
    # of the last claim; NULL: nobody has claimed what is to be extracted
    claimed_at: Mapped[datetime | None]
    claimed_turn: Mapped[int | None]  # the session's last turn then
    run_id: Mapped[str | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class ArchiveUpload(Base):
    """An archive that is being written, or could not be; gone once the manifest says what it is."""

    __tablename__ = "archive_uploads"
    __table_args__ = (tenant_reference("session_id", "sessions"),)

    org_id: Mapped[OrgId]  # the session's
    session_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    upload_id: Mapped[UUID] = mapped_column(Uuid)  # of the last try
    # what the object holds when the upload was done; NULL: none has begun
    sha256: Mapped[Bytes | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(server_default="1")
    lease_until: Mapped[datetime | None]  # NULL: nobody is at it
    available_at: Mapped[Created]  # when it is tried again
    last_error: Mapped[str | None]  # an error code, never a message


class ArchiveFile(Base):
    """The manifest of every object that holds conversations or memories."""

    __tablename__ = "archive_files"
    __table_args__ = (
        tenant_reference("session_id", "sessions"),
        CheckConstraint(one_of("kind", "session", "lake", "vectors"), name="kind"),
        CheckConstraint(one_of("state", "live", "retired"), name="state"),
        CheckConstraint("(state = 'retired') = (retired_at IS NOT NULL)", name="retired"),
        CheckConstraint(
            "kind <> 'lake' OR (lake_table IS NOT NULL AND date IS NOT NULL AND date_to >= date)",
            name="lake",
        ),
        UniqueConstraint("bucket", "key"),
        Index("ix_archive_files_session", "org_id", "session_id"),
        Index(
            "ix_archive_files_lake",
            "org_id",
            "lake_table",
            "date",
            postgresql_where=text("kind = 'lake' AND state = 'live'"),
        ),
        Index(
            "ix_archive_files_retired",
            "org_id",
            "retired_at",
            postgresql_where=text("state = 'retired'"),
        ),
    )

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    id: Mapped[Id]
    kind: Mapped[str]
    bucket: Mapped[str]
    key: Mapped[str]
    session_id: Mapped[UUID | None] = mapped_column(Uuid)
    lake_table: Mapped[str | None]  # of the lake's own: a name of ibex.lake.schemas.TABLES
    date: Mapped[Day | None]  # the first and the last UTC day that rows are of
    date_to: Mapped[Day | None]
    min_time: Mapped[datetime | None]
    max_time: Mapped[datetime | None]
    rows: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[Bytes]
    schema_version: Mapped[int]
    state: Mapped[str] = mapped_column(server_default="live")
    retired_at: Mapped[datetime | None]  # from then on no new reader takes it; deleted later
    created_at: Mapped[Created]


class LakeDay(Base):
    """What of a day was written into the lake last."""

    __tablename__ = "lake_days"

    org_id: Mapped[OrgId] = mapped_column(organization_key())
    lake_table: Mapped[str] = mapped_column(primary_key=True)
    date: Mapped[Day] = mapped_column(primary_key=True)
    fingerprint: Mapped[int] = mapped_column(BigInteger)  # of the rows that were written
    rows: Mapped[int]
    written_at: Mapped[Created]
