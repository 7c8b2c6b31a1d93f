"""Archives that are being written, and content that PostgreSQL has no longer.

An upload says what an object is about to hold before it does, and who is at it, so a crash between
the object and the manifest loses nothing, and two never write one archive. `dropped_turn`: the
content of the turns through this one is in the archive only.

Revision ID: 0022
Revises: 0020
"""

from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None

TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE ibex_core.sessions
          ADD dropped_turn integer NOT NULL DEFAULT 0,
          ADD archived_at timestamptz,
          ADD CONSTRAINT ck_sessions_dropped CHECK (dropped_turn <= turn_count)
        """
    )
    op.execute(
        """
        CREATE INDEX ix_sessions_droppable ON ibex_core.sessions (last_turn_at, id)
        WHERE status = 'completed' AND archived_turn = turn_count
          AND last_extracted_turn = turn_count AND dropped_turn < turn_count
        """
    )
    op.execute(
        """
        CREATE TABLE ibex_core.archive_uploads (
          org_id uuid NOT NULL,
          session_id uuid NOT NULL,
          upload_id uuid NOT NULL,
          sha256 bytea,
          bytes bigint,
          attempts integer NOT NULL DEFAULT 1,
          lease_until timestamptz,
          available_at timestamptz NOT NULL DEFAULT now(),
          last_error text,
          CONSTRAINT pk_archive_uploads PRIMARY KEY (org_id, session_id),
          CONSTRAINT fk_archive_uploads_org_id_session_id FOREIGN KEY (org_id, session_id)
            REFERENCES ibex_core.sessions (org_id, id) ON DELETE CASCADE
        )
        """
    )
    op.execute("ALTER TABLE ibex_core.archive_uploads ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ibex_core.archive_uploads FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON ibex_core.archive_uploads "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.archive_uploads TO ibex_app")
    op.execute(
        "CREATE POLICY system_reads ON ibex_core.archive_uploads "
        "FOR SELECT TO ibex_system USING (true)"
    )
    op.execute("GRANT SELECT ON ibex_core.archive_uploads TO ibex_system")


def downgrade() -> None:
    op.execute("DROP TABLE ibex_core.archive_uploads")
    op.execute("DROP INDEX ibex_core.ix_sessions_droppable")
    op.execute("ALTER TABLE ibex_core.sessions DROP dropped_turn, DROP archived_at")
