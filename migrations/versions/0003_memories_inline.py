"""Keep a memory's vector in its row, not out of line.

A row of about 2.3 kB is just above the threshold at which PostgreSQL moves the largest column, the
vector, to the TOAST table. An exact search reads every vector of an agent: out of line, 10,000 of
them cost 19 ms of CPU, in the row 10 ms.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The largest value there is; rows beyond it, of very long memories, still go out of line.
    op.execute("ALTER TABLE ibex_core.memories SET (toast_tuple_target = 8160)")


def downgrade() -> None:
    op.execute("ALTER TABLE ibex_core.memories RESET (toast_tuple_target)")
