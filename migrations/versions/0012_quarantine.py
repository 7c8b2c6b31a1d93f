"""Why a memory is quarantined, a third state for the rejected ones, and the way to those that wait.

A rejected memory stays, in force as far as the uniqueness of its words goes, so that the same words
are not extracted, quarantined and shown for review again.

Revision ID: 0012
Revises: 0016
"""

from alembic import op

revision = "0012"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE ibex_core.memories ADD quarantine_reason text")
    op.execute("ALTER TABLE ibex_core.memories DROP CONSTRAINT ck_memories_status")
    op.execute(
        "ALTER TABLE ibex_core.memories ADD CONSTRAINT ck_memories_status "
        "CHECK (status IN ('active', 'quarantined', 'rejected'))"
    )
    op.execute(
        "ALTER TABLE ibex_core.memories ADD CONSTRAINT ck_memories_quarantine_reason "
        "CHECK (status <> 'active' OR quarantine_reason IS NULL)"
    )
    op.execute(
        "CREATE INDEX ix_memories_quarantined ON ibex_core.memories (org_id, id) "
        "WHERE status = 'quarantined' AND valid_to IS NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ibex_core.ix_memories_quarantined")
    # There is no such state then; what was taken out stays out. Of all organizations, which the
    # owner sees only while the policies are not forced on it.
    op.execute("ALTER TABLE ibex_core.memories NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE ibex_core.memories SET status = 'quarantined' WHERE status = 'rejected'")
    op.execute("ALTER TABLE ibex_core.memories FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ibex_core.memories DROP CONSTRAINT ck_memories_quarantine_reason")
    op.execute("ALTER TABLE ibex_core.memories DROP CONSTRAINT ck_memories_status")
    op.execute(
        "ALTER TABLE ibex_core.memories ADD CONSTRAINT ck_memories_status "
        "CHECK (status IN ('active', 'quarantined'))"
    )
    op.execute("ALTER TABLE ibex_core.memories DROP quarantine_reason")
