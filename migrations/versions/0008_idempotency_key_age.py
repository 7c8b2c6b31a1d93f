"""Old idempotency keys are found by organization, as they are deleted.

Revision ID: 0008
Revises: 0004
"""

from alembic import op

revision = "0008"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace("org_id", "created_at")


def downgrade() -> None:
    _replace("created_at")


def _replace(*columns: str) -> None:
    name, table, schema = "ix_idempotency_keys_age", "idempotency_keys", "ibex_core"
    op.drop_index(name, table, schema=schema)
    op.create_index(name, table, list(columns), schema=schema)
