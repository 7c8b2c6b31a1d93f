"""What checks found, and which sessions were given a memory.

Revision ID: 0021
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0018"
branch_labels = None
depends_on = None

SCHEMA = "ibex_core"
TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.create_table(
        "check_results",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("check_name", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("found", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("examples", JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_check_results")),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_check_results_org_id"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("severity IN ('warn', 'error')", name=op.f("ck_check_results_severity")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_check_results_check", "check_results", ["org_id", "check_name", "id"], schema=SCHEMA
    )
    op.create_table(
        "session_memories",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint(
            "org_id", "memory_id", "session_id", name=op.f("pk_session_memories")
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_session_memories_org_id_memory_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"],
            ["ibex_core.sessions.org_id", "ibex_core.sessions.id"],
            name=op.f("fk_session_memories_org_id_session_id"),
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_session_memories_session", "session_memories", ["org_id", "session_id"], schema=SCHEMA
    )
    op.execute("""
        INSERT INTO ibex_core.session_memories (org_id, memory_id, session_id)
        SELECT DISTINCT i.org_id, m.id, i.session_id
        FROM ibex_core.context_injections i
        CROSS JOIN LATERAL jsonb_to_recordset(i.memories) AS given (memory_id uuid)
        JOIN ibex_core.memories m ON m.org_id = i.org_id AND m.id = given.memory_id
        WHERE i.observed_at IS NOT NULL
    """)
    for table in ("check_results", "session_memories"):
        op.execute(f"ALTER TABLE ibex_core.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE ibex_core.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON ibex_core.{table} "
            f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.{table} TO ibex_app")
    op.execute(
        "CREATE POLICY system_reads ON ibex_core.check_results "
        "FOR SELECT TO ibex_system USING (true)"
    )
    op.execute(
        "GRANT SELECT (org_id, check_name, checked_at) ON ibex_core.check_results TO ibex_system"
    )


def downgrade() -> None:
    op.drop_table("session_memories", schema=SCHEMA)
    op.drop_table("check_results", schema=SCHEMA)
