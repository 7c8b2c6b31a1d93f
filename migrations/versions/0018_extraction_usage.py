"""What extraction asked of models, and tries that do not count while a part is away.

Revision ID: 0018
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0023"
branch_labels = None
depends_on = None

SCHEMA = "ibex_core"
TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.add_column(
        "extraction_jobs",
        sa.Column("deferrals", sa.Integer(), server_default="0", nullable=False),
        schema=SCHEMA,
    )
    op.add_column(
        "extraction_jobs",
        sa.Column("deferred_since", sa.DateTime(timezone=True), nullable=True),
        schema=SCHEMA,
    )
    op.create_table(
        "extraction_usage",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(18, 9), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "purpose IN ('facts', 'conflicts', 'backfill')",
            name=op.f("ck_extraction_usage_purpose"),
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_extraction_usage_org_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "agent_id"],
            ["ibex_core.agents.org_id", "ibex_core.agents.id"],
            name=op.f("fk_extraction_usage_org_id_agent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_extraction_usage_org_id_session_id"),
            ondelete="SET NULL (session_id)",
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_extraction_usage")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_extraction_usage_session", "extraction_usage", ["org_id", "session_id"], schema=SCHEMA
    )
    op.create_index(
        "ix_extraction_usage_created", "extraction_usage", ["org_id", "created_at"], schema=SCHEMA
    )
    op.execute(f"ALTER TABLE {SCHEMA}.extraction_usage ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {SCHEMA}.extraction_usage FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {SCHEMA}.extraction_usage "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.extraction_usage TO ibex_app")


def downgrade() -> None:
    op.drop_table("extraction_usage", schema=SCHEMA)
    op.drop_column("extraction_jobs", "deferred_since", schema=SCHEMA)
    op.drop_column("extraction_jobs", "deferrals", schema=SCHEMA)
