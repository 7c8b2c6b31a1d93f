"""Since when a session's work waits, and which run had it last.

Revision ID: 0019
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0021"
branch_labels = None
depends_on = None

_SCHEMA = "ibex_core"
_TABLE = "extraction_jobs"


def upgrade() -> None:
    op.add_column(
        _TABLE,
        sa.Column(
            "queued_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        schema=_SCHEMA,
    )
    op.add_column(_TABLE, sa.Column("claimed_at", sa.DateTime(timezone=True)), schema=_SCHEMA)
    op.add_column(_TABLE, sa.Column("claimed_turn", sa.Integer()), schema=_SCHEMA)
    op.add_column(_TABLE, sa.Column("run_id", sa.Text()), schema=_SCHEMA)
    op.execute(
        "UPDATE ibex_core.extraction_jobs "
        "SET queued_at = CASE WHEN status = 'waiting' AND attempts = 0 THEN updated_at "
        "ELSE created_at END, run_id = lease_owner"
    )
    op.create_index(
        "ix_extraction_jobs_claimed",
        _TABLE,
        ["org_id", "claimed_at"],
        schema=_SCHEMA,
        postgresql_where=sa.text("claimed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_extraction_jobs_dead",
        _TABLE,
        ["org_id", "id"],
        schema=_SCHEMA,
        postgresql_where=sa.text("status = 'dead'"),
    )


def downgrade() -> None:
    op.drop_index("ix_extraction_jobs_dead", _TABLE, schema=_SCHEMA)
    op.drop_index("ix_extraction_jobs_claimed", _TABLE, schema=_SCHEMA)
    for column in ("run_id", "claimed_turn", "claimed_at", "queued_at"):
        op.drop_column(_TABLE, column, schema=_SCHEMA)
