"""What a memory rests on: each time that somebody said it.

A fact that is said again, in the same words or in others, becomes a statement of the memory that it
agrees with. So the memory's provenance is whole, a statement written twice is known as the same
one, and when an older statement arrives late that ends a memory's validity, what was said
afterwards can be taken out of it again.

Revision ID: 0011
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0011"
down_revision = "0017"
branch_labels = None
depends_on = None

TENANT = "nullif(current_setting('app.org', true), '')::uuid"
_KINDS = ("supersedes", "contradicts", "supports", "derived_from", "related")


def upgrade() -> None:
    _statements()
    op.execute("""
        ALTER TABLE ibex_core.memory_statements ENABLE ROW LEVEL SECURITY;
        ALTER TABLE ibex_core.memory_statements FORCE ROW LEVEL SECURITY;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.memory_statements TO ibex_app;
    """)
    op.execute(
        "CREATE POLICY tenant ON ibex_core.memory_statements "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    # Every memory was said once. Without FORCE the owner sees all tenants, in this transaction.
    op.execute("""
        ALTER TABLE ibex_core.memories NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE ibex_core.memory_statements NO FORCE ROW LEVEL SECURITY;
        INSERT INTO ibex_core.memory_statements (
          org_id, id, agent_id, user_id, memory_id, category, subject, attribute, content_hash,
          confidence, source, valid_from, session_id, turns, message_ids, extractor,
          prompt_version, model, run_id, redactions, embedding_model, created_at
        )
        SELECT
          org_id, id, agent_id, user_id, id, category, subject, attribute, content_hash,
          confidence, source, valid_from, session_id, turns, message_ids, extractor,
          prompt_version, model, run_id, redactions, embedding_model, created_at
        FROM ibex_core.memories;
        ALTER TABLE ibex_core.memories FORCE ROW LEVEL SECURITY;
        ALTER TABLE ibex_core.memory_statements FORCE ROW LEVEL SECURITY;
    """)
    _kinds((*_KINDS, "undecided"))


def downgrade() -> None:
    op.execute("""
        ALTER TABLE ibex_core.memory_relationships NO FORCE ROW LEVEL SECURITY;
        DELETE FROM ibex_core.memory_relationships WHERE kind = 'undecided';
        ALTER TABLE ibex_core.memory_relationships FORCE ROW LEVEL SECURITY;
    """)
    _kinds(_KINDS)
    op.drop_table("memory_statements", schema="ibex_core")


def _statements() -> None:
    op.create_table(
        "memory_statements",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("attribute", sa.Text(), server_default="", nullable=False),
        sa.Column("content", sa.Text()),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("session_id", sa.Uuid()),
        sa.Column("turns", ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("message_ids", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("redactions", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("embedding", Vector(384)),
        sa.Column("embedding_model", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "octet_length(content_hash) = 32", name=op.f("ck_memory_statements_content_hash")
        ),
        sa.CheckConstraint(
            "(content IS NULL) = (embedding IS NULL)", name=op.f("ck_memory_statements_words")
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memory_statements_org_id"),
            ondelete="CASCADE",
        ),
        *(
            sa.ForeignKeyConstraint(
                ["org_id", column],
                [f"ibex_core.{table}.org_id", f"ibex_core.{table}.id"],
                name=op.f(f"fk_memory_statements_org_id_{column}"),
                ondelete=ondelete,
            )
            for column, table, ondelete in (
                ("agent_id", "agents", "CASCADE"),
                ("user_id", "users", "CASCADE"),
                ("memory_id", "memories", "CASCADE"),
                ("session_id", "sessions", "CASCADE"),
            )
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name=op.f("pk_memory_statements")),
        schema="ibex_core",
        postgresql_with={"toast_tuple_target": "8160"},
    )
    op.create_index(
        "uq_memory_statements_said",
        "memory_statements",
        ["org_id", "memory_id", "content_hash", "valid_from", "session_id"],
        unique=True,
        schema="ibex_core",
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "ix_memory_statements_session",
        "memory_statements",
        ["org_id", "session_id"],
        schema="ibex_core",
    )
    op.create_index(
        "ix_memory_statements_words",
        "memory_statements",
        ["org_id", "agent_id", "user_id"],
        schema="ibex_core",
        postgresql_where=sa.text("embedding IS NOT NULL"),
    )


def _kinds(kinds: tuple[str, ...]) -> None:
    name = "ck_memory_relationships_kind"
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f(name), "memory_relationships", schema="ibex_core")
    op.create_check_constraint(
        op.f(name), "memory_relationships", f"kind IN ({listed})", schema="ibex_core"
    )
