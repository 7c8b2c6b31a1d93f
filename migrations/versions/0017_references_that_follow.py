"""A turn and an injection refer to their session, and by it to its agent and organization.

Each reference is looked up and its row locked for every turn that is recorded, and the row of an
organization or an agent is the same one for all of them. A session cannot be without either, so a
turn or an injection of a session cannot.

Revision ID: 0017
Revises: 0013
"""

from alembic import op

revision = "0017"
down_revision = "0013"
branch_labels = None
depends_on = None

_SCHEMA = "ibex_core"
_IMPLIED = (
    ("session_turns", "fk_session_turns_org_id", ["org_id"], "organizations", ["id"]),
    ("context_injections", "fk_context_injections_org_id", ["org_id"], "organizations", ["id"]),
    (
        "context_injections",
        "fk_context_injections_org_id_agent_id",
        ["org_id", "agent_id"],
        "agents",
        ["org_id", "id"],
    ),
)


def upgrade() -> None:
    for table, name, *_ in _IMPLIED:
        op.drop_constraint(name, table, schema=_SCHEMA, type_="foreignkey")


def downgrade() -> None:
    for table, name, columns, referred, keys in _IMPLIED:
        op.create_foreign_key(
            name,
            table,
            referred,
            columns,
            keys,
            source_schema=_SCHEMA,
            referent_schema=_SCHEMA,
            ondelete="CASCADE",
        )
