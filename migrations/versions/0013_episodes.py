"""Episodes have a place in their session, by which their neighbours are found.

Revision ID: 0013
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("memories", sa.Column("place", sa.Integer(), nullable=True), schema="ibex_core")


def downgrade() -> None:
    op.drop_column("memories", "place", schema="ibex_core")
