"""Every table of ibex_core, as ibex/stores/models describes them.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_audit_log")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_audit_log_time", "audit_log", ["org_id", "created_at"], unique=False, schema="ibex_core"
    )
    op.create_table(
        "erasure_requests",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column(
            "receipt",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'running', 'done', 'failed')",
            name=op.f("ck_erasure_requests_status"),
        ),
        sa.CheckConstraint(
            "subject_kind IN ('organization', 'agent', 'user', 'session', 'memory')",
            name=op.f("ck_erasure_requests_subject_kind"),
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_erasure_requests")),
        schema="ibex_core",
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "settings",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('active', 'suspended')", name=op.f("ck_organizations_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
        sa.UniqueConstraint("name", name=op.f("uq_organizations_name")),
        schema="ibex_core",
    )
    op.create_table(
        "tombstones",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "subject_kind IN ('organization', 'agent', 'user', 'session', 'memory')",
            name=op.f("ck_tombstones_subject_kind"),
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_tombstones")),
        schema="ibex_core",
    )
    op.create_table(
        "agents",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "policy",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("memory_token_budget", sa.Integer(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('active', 'suspended', 'archived')", name=op.f("ck_agents_status")
        ),
        sa.CheckConstraint("memory_token_budget >= 0", name=op.f("ck_agents_budget")),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_agents_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_agents")),
        sa.UniqueConstraint("org_id", "name", name=op.f("uq_agents_org_id_name")),
        schema="ibex_core",
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("response", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_idempotency_keys_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "key", name=op.f("pk_idempotency_keys")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_idempotency_keys_age",
        "idempotency_keys",
        ["created_at"],
        unique=False,
        schema="ibex_core",
    )
    op.create_table(
        "users",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_users_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_users")),
        sa.UniqueConstraint("org_id", "external_id", name=op.f("uq_users_org_id_external_id")),
        schema="ibex_core",
    )
    op.create_table(
        "api_tokens",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column(
            "scopes",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{chat}'"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_api_tokens_sha256")),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_api_tokens_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_api_tokens_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_api_tokens")),
        schema="ibex_core",
    )
    op.create_index("ix_api_tokens_id", "api_tokens", ["id"], unique=True, schema="ibex_core")
    op.create_table(
        "behavioral_fingerprints",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "features",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("sample_size", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "window_end > window_start", name=op.f("ck_behavioral_fingerprints_window")
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_behavioral_fingerprints_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_behavioral_fingerprints_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_behavioral_fingerprints")),
        schema="ibex_core",
    )
    op.create_table(
        "directives",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_directives_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_directives_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_directives")),
        sa.UniqueConstraint("org_id", "agent_id", name=op.f("uq_directives_org_id_agent_id")),
        schema="ibex_core",
    )
    op.create_table(
        "sessions",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("origin", sa.Text(), server_default="proxy", nullable=False),
        sa.Column("turn_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("message_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("chain_hash", sa.LargeBinary(), nullable=True),
        sa.Column("last_extracted_turn", sa.Integer(), server_default="0", nullable=False),
        sa.Column("archived_turn", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_turn_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('active', 'completed')", name=op.f("ck_sessions_status")),
        sa.CheckConstraint(
            "last_extracted_turn <= turn_count AND archived_turn <= turn_count",
            name=op.f("ck_sessions_watermarks"),
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_sessions_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "user_id"],
            ["ibex_core.users.org_id", "ibex_core.users.id"],
            name=op.f("fk_sessions_org_id_user_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_sessions_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_sessions")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_sessions_idle",
        "sessions",
        ["last_turn_at"],
        unique=False,
        schema="ibex_core",
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "ix_sessions_listed",
        "sessions",
        ["org_id", "agent_id", "started_at"],
        unique=False,
        schema="ibex_core",
    )
    op.create_index(
        "ix_sessions_unarchived",
        "sessions",
        ["completed_at"],
        unique=False,
        schema="ibex_core",
        postgresql_where=sa.text("status = 'completed' AND archived_turn < turn_count"),
    )
    op.create_index(
        "uq_sessions_external_id",
        "sessions",
        ["org_id", "agent_id", "user_id", "external_id"],
        unique=True,
        schema="ibex_core",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_table(
        "archive_files",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('session', 'lake', 'vectors')", name=op.f("ck_archive_files_kind")
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_archive_files_org_id_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_archive_files_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_archive_files")),
        sa.UniqueConstraint("bucket", "key", name=op.f("uq_archive_files_bucket_key")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_archive_files_session",
        "archive_files",
        ["org_id", "session_id"],
        unique=False,
        schema="ibex_core",
    )
    op.create_table(
        "context_injections",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("memories", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("directive_version", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_context_injections_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_context_injections_org_id_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_context_injections_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_context_injections")),
        sa.UniqueConstraint(
            "org_id", "request_id", name=op.f("uq_context_injections_org_id_request_id")
        ),
        schema="ibex_core",
    )
    op.create_index(
        "ix_context_injections_session",
        "context_injections",
        ["org_id", "session_id"],
        unique=False,
        schema="ibex_core",
    )
    op.create_table(
        "directive_versions",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("directive_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "directive_id"],
            ["ibex_core.directives.org_id", "ibex_core.directives.id"],
            name=op.f("fk_directive_versions_org_id_directive_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_directive_versions_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_directive_versions")),
        sa.UniqueConstraint(
            "org_id",
            "directive_id",
            "version",
            name=op.f("uq_directive_versions_org_id_directive_id_version"),
        ),
        schema="ibex_core",
    )
    op.create_table(
        "extraction_jobs",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "available_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'leased') = (lease_until IS NOT NULL)", name=op.f("ck_extraction_jobs_lease")
        ),
        sa.CheckConstraint(
            "status IN ('waiting', 'leased', 'done', 'dead')",
            name=op.f("ck_extraction_jobs_status"),
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_extraction_jobs_org_id_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_extraction_jobs_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_extraction_jobs")),
        sa.UniqueConstraint(
            "org_id", "session_id", name=op.f("uq_extraction_jobs_org_id_session_id")
        ),
        schema="ibex_core",
    )
    op.create_index(
        "ix_extraction_jobs_claimable",
        "extraction_jobs",
        ["available_at"],
        unique=False,
        schema="ibex_core",
        postgresql_where=sa.text("status IN ('waiting', 'leased')"),
    )
    op.create_table(
        "memories",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("attribute", sa.Text(), server_default="", nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("usefulness", sa.Float(), server_default="0.5", nullable=False),
        sa.Column("access_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_accessed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "valid_from",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("superseded_by", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column(
            "turns", postgresql.ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column(
            "message_ids",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column(
            "redactions",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("embedding", Vector(384), nullable=False),
        sa.Column("embedding_model", sa.Text(), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('english'::regconfig, content)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "category IN ('procedural', 'declarative', 'episodic')",
            name=op.f("ck_memories_category"),
        ),
        sa.CheckConstraint(
            "source IN ('user', 'assistant', 'tool', 'document', 'import', 'operator')",
            name=op.f("ck_memories_source"),
        ),
        sa.CheckConstraint("status IN ('active', 'quarantined')", name=op.f("ck_memories_status")),
        sa.CheckConstraint(
            "confidence BETWEEN 0 AND 1 AND usefulness BETWEEN 0 AND 1",
            name=op.f("ck_memories_unit"),
        ),
        sa.CheckConstraint(
            "octet_length(content_hash) = 32", name=op.f("ck_memories_content_hash")
        ),
        sa.CheckConstraint(
            "valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_memories_validity")
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_memories_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_memories_org_id_session_id"),
            ondelete="SET NULL (session_id)",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "user_id"],
            ["ibex_core.users.org_id", "ibex_core.users.id"],
            name=op.f("fk_memories_org_id_user_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memories_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_memories")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_memories_agent",
        "memories",
        ["org_id", "agent_id", "user_id", "status"],
        unique=False,
        schema="ibex_core",
    )
    op.create_index(
        "ix_memories_search",
        "memories",
        ["search"],
        unique=False,
        schema="ibex_core",
        postgresql_using="gin",
    )
    op.create_index(
        "ix_memories_session",
        "memories",
        ["org_id", "session_id"],
        unique=False,
        schema="ibex_core",
    )
    op.create_index(
        "uq_memories_content",
        "memories",
        ["org_id", "agent_id", "user_id", "content_hash"],
        unique=True,
        schema="ibex_core",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "session_turns",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column(
            "messages", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "response", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("chain_hash", sa.LargeBinary(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_session_turns_org_id_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_session_turns_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_session_turns")),
        sa.UniqueConstraint(
            "org_id", "request_id", name=op.f("uq_session_turns_org_id_request_id")
        ),
        sa.UniqueConstraint(
            "org_id", "session_id", "number", name=op.f("uq_session_turns_org_id_session_id_number")
        ),
        schema="ibex_core",
    )
    op.create_table(
        "memory_relationships",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("from_memory_id", sa.Uuid(), nullable=False),
        sa.Column("to_memory_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('supersedes', 'contradicts', 'supports', 'derived_from', 'related')",
            name=op.f("ck_memory_relationships_kind"),
        ),
        sa.CheckConstraint(
            "from_memory_id <> to_memory_id", name=op.f("ck_memory_relationships_not_self")
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "from_memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_memory_relationships_org_id_from_memory_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "to_memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_memory_relationships_org_id_to_memory_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memory_relationships_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_memory_relationships")),
        sa.UniqueConstraint(
            "org_id",
            "from_memory_id",
            "to_memory_id",
            "kind",
            name=op.f("uq_memory_relationships_org_id_from_memory_id_to_memory_id_kind"),
        ),
        schema="ibex_core",
    )
    op.create_index(
        "ix_memory_relationships_to",
        "memory_relationships",
        ["org_id", "to_memory_id"],
        unique=False,
        schema="ibex_core",
    )
    op.create_table(
        "memory_tags",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_memory_tags_org_id_memory_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memory_tags_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "memory_id", "tag", name=op.f("pk_memory_tags")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_memory_tags_tag", "memory_tags", ["org_id", "tag"], unique=False, schema="ibex_core"
    )
    op.create_table(
        "memory_versions",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_memory_versions_org_id_memory_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memory_versions_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_memory_versions")),
        sa.UniqueConstraint(
            "org_id",
            "memory_id",
            "version",
            name=op.f("uq_memory_versions_org_id_memory_id_version"),
        ),
        schema="ibex_core",
    )


def downgrade() -> None:
    op.drop_table("memory_versions", schema="ibex_core")
    op.drop_index("ix_memory_tags_tag", table_name="memory_tags", schema="ibex_core")
    op.drop_table("memory_tags", schema="ibex_core")
    op.drop_index(
        "ix_memory_relationships_to", table_name="memory_relationships", schema="ibex_core"
    )
    op.drop_table("memory_relationships", schema="ibex_core")
    op.drop_table("session_turns", schema="ibex_core")
    op.drop_index(
        "uq_memories_content",
        table_name="memories",
        schema="ibex_core",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.drop_index("ix_memories_session", table_name="memories", schema="ibex_core")
    op.drop_index(
        "ix_memories_search", table_name="memories", schema="ibex_core", postgresql_using="gin"
    )
    op.drop_index("ix_memories_agent", table_name="memories", schema="ibex_core")
    op.drop_table("memories", schema="ibex_core")
    op.drop_index(
        "ix_extraction_jobs_claimable",
        table_name="extraction_jobs",
        schema="ibex_core",
        postgresql_where=sa.text("status IN ('waiting', 'leased')"),
    )
    op.drop_table("extraction_jobs", schema="ibex_core")
    op.drop_table("directive_versions", schema="ibex_core")
    op.drop_index(
        "ix_context_injections_session", table_name="context_injections", schema="ibex_core"
    )
    op.drop_table("context_injections", schema="ibex_core")
    op.drop_index("ix_archive_files_session", table_name="archive_files", schema="ibex_core")
    op.drop_table("archive_files", schema="ibex_core")
    op.drop_index(
        "uq_sessions_external_id",
        table_name="sessions",
        schema="ibex_core",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_sessions_unarchived",
        table_name="sessions",
        schema="ibex_core",
        postgresql_where=sa.text("status = 'completed' AND archived_turn < turn_count"),
    )
    op.drop_index("ix_sessions_listed", table_name="sessions", schema="ibex_core")
    op.drop_index(
        "ix_sessions_idle",
        table_name="sessions",
        schema="ibex_core",
        postgresql_where=sa.text("status = 'active'"),
    )
    op.drop_table("sessions", schema="ibex_core")
    op.drop_table("directives", schema="ibex_core")
    op.drop_table("behavioral_fingerprints", schema="ibex_core")
    op.drop_index("ix_api_tokens_id", table_name="api_tokens", schema="ibex_core")
    op.drop_table("api_tokens", schema="ibex_core")
    op.drop_table("users", schema="ibex_core")
    op.drop_index("ix_idempotency_keys_age", table_name="idempotency_keys", schema="ibex_core")
    op.drop_table("idempotency_keys", schema="ibex_core")
    op.drop_table("agents", schema="ibex_core")
    op.drop_table("tombstones", schema="ibex_core")
    op.drop_table("organizations", schema="ibex_core")
    op.drop_table("erasure_requests", schema="ibex_core")
    op.drop_index("ix_audit_log_time", table_name="audit_log", schema="ibex_core")
    op.drop_table("audit_log", schema="ibex_core")
