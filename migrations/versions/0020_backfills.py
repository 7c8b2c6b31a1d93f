"""Backfills of the extraction: what another prompt or model makes of the same sessions.

A backfill's facts wait in a table of their own, which no reader of memories knows. When it is
switched they change places with the statements of the same sessions, so the table always holds the
set that is not believed, and nothing is in both. No foreign key leads from a change or a fact to
what it would become; those that lead to memories, sessions, users and agents let erasure reach it.

Revision ID: 0020
Revises: 0019
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TENANT = "nullif(current_setting('app.org', true), '')::uuid"
TABLES = ("backfills", "backfill_sessions", "backfill_facts", "backfill_changes")
_PARENTS = {
    "backfills": ("agent",),
    "backfill_sessions": ("backfill", "session", "agent", "user"),
    "backfill_facts": ("backfill", "session", "agent", "user", "memory"),
    "backfill_changes": ("backfill", "session", "agent", "user", "memory"),
}
_PLURAL = {"memory": "memories"}


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ibex_core.backfills (
          org_id uuid NOT NULL,
          id uuid NOT NULL,
          status text NOT NULL DEFAULT 'waiting',
          agent_id uuid,
          since timestamptz NOT NULL,
          until timestamptz,
          prompt text NOT NULL,
          prompt_version text NOT NULL,
          model text NOT NULL,
          last_error text,
          worker text,
          worker_until timestamptz,
          unchanged integer NOT NULL DEFAULT 0,
          compared_at timestamptz,
          switched_at timestamptz,
          revert_until timestamptz,
          created_at timestamptz NOT NULL DEFAULT now(),
          updated_at timestamptz NOT NULL DEFAULT now(),
          CONSTRAINT pk_backfills PRIMARY KEY (org_id, id),
          CONSTRAINT ck_backfills_status CHECK (status IN ('waiting', 'running', 'paused', 'ready',
            'switching', 'switched', 'reverting', 'discarded')),
          CONSTRAINT ck_backfills_worker CHECK ((worker IS NULL) = (worker_until IS NULL))
        );
        CREATE INDEX ix_backfills_unfinished ON ibex_core.backfills (created_at)
          WHERE status IN ('waiting', 'running', 'switching', 'reverting');

        CREATE TABLE ibex_core.backfill_sessions (
          org_id uuid NOT NULL,
          backfill_id uuid NOT NULL,
          session_id uuid NOT NULL,
          agent_id uuid NOT NULL,
          user_id uuid,
          status text NOT NULL DEFAULT 'waiting',
          attempts integer NOT NULL DEFAULT 0,
          last_error text,
          through_turn integer NOT NULL DEFAULT 0,
          prompt_tokens integer NOT NULL DEFAULT 0,
          completion_tokens integer NOT NULL DEFAULT 0,
          cost_usd numeric(18, 9),
          seconds double precision NOT NULL DEFAULT 0,
          before jsonb NOT NULL DEFAULT '{}',
          after jsonb NOT NULL DEFAULT '{}',
          switched_at timestamptz,
          CONSTRAINT pk_backfill_sessions PRIMARY KEY (org_id, backfill_id, session_id),
          CONSTRAINT ck_backfill_sessions_status CHECK (status IN ('waiting', 'done', 'dead'))
        );
        CREATE INDEX ix_backfill_sessions_session
          ON ibex_core.backfill_sessions (org_id, session_id);

        CREATE TABLE ibex_core.backfill_facts (
          org_id uuid NOT NULL,
          backfill_id uuid NOT NULL,
          id uuid NOT NULL,
          session_id uuid NOT NULL,
          agent_id uuid NOT NULL,
          user_id uuid,
          memory_id uuid,
          category text NOT NULL,
          subject text NOT NULL,
          attribute text NOT NULL,
          content text NOT NULL,
          content_hash bytea NOT NULL,
          confidence double precision NOT NULL,
          source text NOT NULL,
          valid_from timestamptz NOT NULL,
          turns integer[] NOT NULL,
          message_ids text[] NOT NULL,
          extractor text NOT NULL,
          prompt_version text NOT NULL,
          model text NOT NULL,
          run_id text,
          redactions jsonb NOT NULL,
          status text NOT NULL,
          quarantine_reason text,
          embedding vector(384) NOT NULL,
          embedding_model text NOT NULL,
          CONSTRAINT pk_backfill_facts PRIMARY KEY (org_id, backfill_id, id)
        );
        CREATE INDEX ix_backfill_facts_session
          ON ibex_core.backfill_facts (org_id, backfill_id, session_id);
        CREATE INDEX ix_backfill_facts_memory ON ibex_core.backfill_facts (org_id, memory_id);

        CREATE TABLE ibex_core.backfill_changes (
          org_id uuid NOT NULL,
          backfill_id uuid NOT NULL,
          id uuid NOT NULL,
          agent_id uuid NOT NULL,
          user_id uuid,
          kind text NOT NULL,
          differs text[] NOT NULL DEFAULT '{}',
          memory_id uuid,
          session_id uuid,
          content text,
          category text,
          status text,
          confidence double precision,
          valid_from timestamptz,
          valid_to timestamptz,
          CONSTRAINT pk_backfill_changes PRIMARY KEY (org_id, backfill_id, id),
          CONSTRAINT ck_backfill_changes_kind CHECK (kind IN ('added', 'gone', 'changed')),
          CONSTRAINT ck_backfill_changes_before CHECK ((kind = 'added') = (memory_id IS NULL))
        );
        CREATE INDEX ix_backfill_changes_memory ON ibex_core.backfill_changes (org_id, memory_id);
    """)
    for table in TABLES:
        op.execute(
            f"ALTER TABLE ibex_core.{table} ADD CONSTRAINT fk_{table}_org_id "
            "FOREIGN KEY (org_id) REFERENCES ibex_core.organizations (id) ON DELETE CASCADE"
        )
        for parent in _PARENTS[table]:
            op.execute(
                f"ALTER TABLE ibex_core.{table} ADD CONSTRAINT fk_{table}_org_id_{parent}_id "
                f"FOREIGN KEY (org_id, {parent}_id) "
                f"REFERENCES ibex_core.{_PLURAL.get(parent, parent + 's')} (org_id, id) "
                "ON DELETE CASCADE"
            )
        op.execute(f"ALTER TABLE ibex_core.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE ibex_core.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON ibex_core.{table} "
            f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.{table} TO ibex_app")
    # Which backfills wait for a worker, and whose they are.
    op.execute(
        "CREATE POLICY system_reads ON ibex_core.backfills FOR SELECT TO ibex_system USING (true)"
    )
    op.execute(
        "GRANT SELECT (org_id, id, status, worker_until, switched_at, revert_until, created_at) "
        "ON ibex_core.backfills TO ibex_system"
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE ibex_core.{table}")
