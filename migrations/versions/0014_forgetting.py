"""When a memory ends by itself, and the ways to those that are to be forgotten.

Revision ID: 0014
Revises: 0011
"""

from alembic import op

revision = "0014"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE ibex_core.memories ADD expires_at timestamptz")
    op.execute(
        "CREATE INDEX ix_memories_expiry ON ibex_core.memories (org_id, expires_at) "
        "WHERE expires_at IS NOT NULL"
    )
    op.execute(
        "CREATE INDEX ix_memories_age ON ibex_core.memories "
        "(org_id, agent_id, category, created_at)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ibex_core.ix_memories_age")
    op.execute("ALTER TABLE ibex_core.memories DROP expires_at")
