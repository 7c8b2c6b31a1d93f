"""By what a request without a session's name finds its session, and a request sent again its turn.

Revision ID: 0004
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = ("dialogue_hash", "tail_hash", "request_hash", "request_key")


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column(
            "sessions", sa.Column(column, sa.LargeBinary(), nullable=True), schema="ibex_core"
        )
    op.create_index(
        "ix_sessions_tail",
        "sessions",
        ["org_id", "agent_id", "user_id", "tail_hash", "last_turn_at"],
        schema="ibex_core",
        postgresql_where=sa.text("tail_hash IS NOT NULL"),
    )
    op.create_index(
        "ix_sessions_request",
        "sessions",
        ["org_id", "agent_id", "request_hash", "last_turn_at"],
        schema="ibex_core",
        postgresql_where=sa.text("request_hash IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_request", "sessions", schema="ibex_core")
    op.drop_index("ix_sessions_tail", "sessions", schema="ibex_core")
    for column in reversed(_COLUMNS):
        op.drop_column("sessions", column, schema="ibex_core")
