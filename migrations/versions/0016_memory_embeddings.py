"""Vectors of other embedding models, beside the one in a memory's row.

The row holds one model's vector, and says which. Another model's lie here, so that a second model
can be tried and served without a moment in which neither is there. When a memory says something
else, what lies here is of other words: a trigger deletes it, so no writer can forget to.

Revision ID: 0016
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector

revision = "0016"
down_revision = "0010"
branch_labels = None
depends_on = None

TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.create_table(
        "memory_embeddings",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("embedding", Vector(384), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "memory_id"],
            ["ibex_core.memories.org_id", "ibex_core.memories.id"],
            name=op.f("fk_memory_embeddings_org_id_memory_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org_id"],
            ["ibex_core.organizations.id"],
            name=op.f("fk_memory_embeddings_org_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_id", "memory_id", "model", name=op.f("pk_memory_embeddings")),
        schema="ibex_core",
    )
    op.create_index(
        "ix_memory_embeddings_model", "memory_embeddings", ["org_id", "model"], schema="ibex_core"
    )
    op.execute("ALTER TABLE ibex_core.memory_embeddings ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ibex_core.memory_embeddings FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON ibex_core.memory_embeddings "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.memory_embeddings TO ibex_app")
    op.execute("""
        CREATE FUNCTION ibex_core.embedding_beside(p_org uuid, p_memory uuid, p_model text)
        RETURNS vector LANGUAGE sql STABLE PARALLEL SAFE AS $$
          SELECT embedding FROM ibex_core.memory_embeddings
          WHERE org_id = p_org AND memory_id = p_memory AND model = p_model
        $$
    """)
    # The planner writes this one out where it is called, so a row's own vector costs no call.
    op.execute("""
        CREATE FUNCTION ibex_core.vector_of(
          p_org uuid, p_memory uuid, p_own_model text, p_own vector, p_model text
        ) RETURNS vector LANGUAGE sql STABLE PARALLEL SAFE AS $$
          SELECT CASE WHEN p_own_model = p_model THEN p_own
            ELSE ibex_core.embedding_beside(p_org, p_memory, p_model) END
        $$
    """)
    op.execute("""
        CREATE FUNCTION ibex_core.forget_embeddings() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          DELETE FROM ibex_core.memory_embeddings
          WHERE org_id = NEW.org_id AND memory_id = NEW.id;
          RETURN NULL;
        END $$
    """)
    op.execute(
        "CREATE TRIGGER forget_embeddings AFTER UPDATE OF content ON ibex_core.memories "
        "FOR EACH ROW WHEN (OLD.content IS DISTINCT FROM NEW.content) "
        "EXECUTE FUNCTION ibex_core.forget_embeddings()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER forget_embeddings ON ibex_core.memories")
    op.execute("DROP FUNCTION ibex_core.forget_embeddings()")
    op.execute("DROP FUNCTION ibex_core.vector_of")
    op.execute("DROP FUNCTION ibex_core.embedding_beside")
    op.drop_table("memory_embeddings", schema="ibex_core")
