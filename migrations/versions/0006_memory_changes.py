"""Note which memories changed, so that an index outside the database can follow.

A row a changed memory and transaction. A reader keeps the oldest transaction that was still running
at its last look, and takes every row from there on: nothing that commits late is missed, and no
counter has to be locked. Triggers write it, so no writer can forget to; rows older than an hour go
when the same agent's memories change again. No foreign keys: the deletion of an agent is a change
of its memories too.

Revision ID: 0006
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0007"
branch_labels = None
depends_on = None

TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.create_table(
        "memory_changes",
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column(
            "xid",
            sa.BigInteger(),
            server_default=sa.text("((pg_current_xact_id())::text)::bigint"),
            nullable=False,
        ),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "org_id", "agent_id", "xid", "memory_id", name=op.f("pk_memory_changes")
        ),
        schema="ibex_core",
    )
    op.execute("ALTER TABLE ibex_core.memory_changes ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ibex_core.memory_changes FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON ibex_core.memory_changes "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    op.execute("GRANT SELECT, INSERT, DELETE ON ibex_core.memory_changes TO ibex_app")
    op.execute("""
        CREATE FUNCTION ibex_core.note_memory_changes() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
          agent record;
          tenant text := current_setting('app.org', true);
        BEGIN
          FOR agent IN SELECT DISTINCT org_id, agent_id FROM changed LOOP
            -- A cascade may come from outside every tenant; the rows tell whose they are.
            PERFORM set_config('app.org', agent.org_id::text, true);
            INSERT INTO ibex_core.memory_changes (org_id, agent_id, memory_id)
            SELECT org_id, agent_id, id FROM changed
            WHERE org_id = agent.org_id AND agent_id = agent.agent_id
            ON CONFLICT DO NOTHING;
            -- One of several writers is enough, and two would wait for each other.
            IF pg_try_advisory_xact_lock(hashtextextended(agent.agent_id::text, 6)) THEN
              DELETE FROM ibex_core.memory_changes c
              USING (
                SELECT xid, memory_id, changed_at
                FROM ibex_core.memory_changes
                WHERE org_id = agent.org_id AND agent_id = agent.agent_id
                ORDER BY xid LIMIT 1000
              ) oldest
              WHERE c.org_id = agent.org_id AND c.agent_id = agent.agent_id
                AND c.xid = oldest.xid AND c.memory_id = oldest.memory_id
                AND oldest.changed_at < now() - interval '1 hour';
            END IF;
          END LOOP;
          PERFORM set_config('app.org', coalesce(tenant, ''), true);
          RETURN NULL;
        END $$
    """)
    for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
        op.execute(
            f"CREATE TRIGGER note_{event.lower()} AFTER {event} ON ibex_core.memories "
            f"REFERENCING {rows} TABLE AS changed "
            "FOR EACH STATEMENT EXECUTE FUNCTION ibex_core.note_memory_changes()"
        )


def downgrade() -> None:
    for event in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER note_{event} ON ibex_core.memories")
    op.execute("DROP FUNCTION ibex_core.note_memory_changes()")
    op.drop_table("memory_changes", schema="ibex_core")
