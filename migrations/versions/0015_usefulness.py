"""What answers and people say about memories: observations of answers, votes, and their average.

An injection is observed once, some time after its answer; until then it stands in a partial index
by which the pipeline finds it. ibex_system sees that answers wait, of which organization, and the
ids and figures of what was injected.

Revision ID: 0015
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None

SCHEMA = "ibex_core"
TENANT = "nullif(current_setting('app.org', true), '')::uuid"
UNOBSERVED = "observed_at IS NULL AND memories <> '[]'"


def upgrade() -> None:
    op.add_column(
        "memories",
        sa.Column("observed_usefulness", sa.Float(), server_default="0.5", nullable=False),
        schema=SCHEMA,
    )
    op.create_check_constraint(
        op.f("ck_memories_observed_unit"),
        "memories",
        "observed_usefulness BETWEEN 0 AND 1",
        schema=SCHEMA,
    )
    op.add_column(
        "context_injections",
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        schema=SCHEMA,
    )
    op.add_column(
        "context_injections",
        sa.Column("observations", JSONB(), server_default=sa.text("'[]'"), nullable=False),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_context_injections_unobserved",
        "context_injections",
        ["org_id", "created_at"],
        schema=SCHEMA,
        postgresql_where=sa.text(UNOBSERVED),
    )
    op.execute(
        "CREATE POLICY system_reads ON ibex_core.context_injections "
        "FOR SELECT TO ibex_system USING (true)"
    )
    op.execute(
        "GRANT SELECT (org_id, created_at, observed_at, memories) "
        "ON ibex_core.context_injections TO ibex_system"
    )

    op.create_table(
        "memory_feedback",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("helpful", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_memory_feedback")),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memory_feedback_org_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_memory_feedback_org_id_memory_id"),
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_memory_feedback_request",
        "memory_feedback",
        ["org_id", "memory_id", "request_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("request_id IS NOT NULL"),
    )
    op.create_index(
        "uq_memory_feedback_token",
        "memory_feedback",
        ["org_id", "memory_id", "token_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("request_id IS NULL"),
    )
    op.create_index(
        "ix_memory_feedback_request", "memory_feedback", ["org_id", "request_id"], schema=SCHEMA
    )
    op.execute("ALTER TABLE ibex_core.memory_feedback ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ibex_core.memory_feedback FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON ibex_core.memory_feedback "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.memory_feedback TO ibex_app")


def downgrade() -> None:
    op.drop_table("memory_feedback", schema=SCHEMA)
    op.execute("DROP POLICY system_reads ON ibex_core.context_injections")
    op.execute(
        "REVOKE SELECT (org_id, created_at, observed_at, memories) "
        "ON ibex_core.context_injections FROM ibex_system"
    )
    op.drop_index("ix_context_injections_unobserved", "context_injections", schema=SCHEMA)
    op.drop_column("context_injections", "observations", schema=SCHEMA)
    op.drop_column("context_injections", "observed_at", schema=SCHEMA)
    op.drop_constraint(op.f("ck_memories_observed_unit"), "memories", schema=SCHEMA)
    op.drop_column("memories", "observed_usefulness", schema=SCHEMA)
