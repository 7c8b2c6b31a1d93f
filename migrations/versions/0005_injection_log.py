"""What an injection is made of: its places, what was left out, and the session's log of decisions.

Revision ID: 0005
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

_LISTS = ("insertions", "dropped", "decisions")


def upgrade() -> None:
    for name in _LISTS:
        op.add_column(
            "context_injections",
            sa.Column(name, JSONB(), server_default=sa.text("'[]'"), nullable=False),
            schema="ibex_core",
        )
    op.add_column(
        "context_injections",
        sa.Column("degraded", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        schema="ibex_core",
    )


def downgrade() -> None:
    for name in (*_LISTS, "degraded"):
        op.drop_column("context_injections", name, schema="ibex_core")
