"""Old changes are found once and deleted by their place in the table.

As a join, PostgreSQL went through the oldest thousand changes again for each change of the agent,
as long as it took the table for empty. So until its first ANALYZE each memory cost more than the
one before: 256 took 40 ms at the beginning and a second after eleven thousand.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BY_PLACE = """
              DELETE FROM ibex_core.memory_changes WHERE ctid = ANY (ARRAY(
                SELECT oldest.ctid FROM (
                  SELECT ctid, changed_at
                  FROM ibex_core.memory_changes
                  WHERE org_id = agent.org_id AND agent_id = agent.agent_id
                  ORDER BY xid LIMIT 1000
                ) oldest
                WHERE oldest.changed_at < now() - interval '1 hour'
              ));
"""
_BY_KEY = """
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
"""


def upgrade() -> None:
    _replace(_BY_PLACE)


def downgrade() -> None:
    _replace(_BY_KEY)


def _replace(deletion: str) -> None:
    op.execute(f"""
        CREATE OR REPLACE FUNCTION ibex_core.note_memory_changes() RETURNS trigger
        LANGUAGE plpgsql AS $$
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
              {deletion}
            END IF;
          END LOOP;
          PERFORM set_config('app.org', coalesce(tenant, ''), true);
          RETURN NULL;
        END $$
    """)  # noqa: S608 — made of constants
