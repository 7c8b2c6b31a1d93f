"""The lake's part of the manifest: tables, ranges of days and times, and files that count no more.

A file that is replaced stays for a while, for whoever reads it at this moment: it is `retired`.
`lake_days` says what of a day was written last, so that the next export knows what has changed.

Revision ID: 0023
Revises: 0014
"""

from alembic import op

revision = "0023"
down_revision = "0014"
branch_labels = None
depends_on = None

TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE ibex_core.archive_files
          ADD lake_table text,
          ADD date_to date,
          ADD min_time timestamptz,
          ADD max_time timestamptz,
          ADD state text NOT NULL DEFAULT 'live',
          ADD retired_at timestamptz,
          ADD CONSTRAINT ck_archive_files_state CHECK (state IN ('live', 'retired')),
          ADD CONSTRAINT ck_archive_files_retired
            CHECK ((state = 'retired') = (retired_at IS NOT NULL)),
          ADD CONSTRAINT ck_archive_files_lake CHECK (
            kind <> 'lake'
            OR (lake_table IS NOT NULL AND date IS NOT NULL AND date_to >= date)
          )
        """
    )
    op.execute(
        "CREATE INDEX ix_archive_files_lake ON ibex_core.archive_files (org_id, lake_table, date) "
        "WHERE kind = 'lake' AND state = 'live'"
    )
    op.execute(
        "CREATE INDEX ix_archive_files_retired ON ibex_core.archive_files (org_id, retired_at) "
        "WHERE state = 'retired'"
    )
    op.execute(
        """
        CREATE TABLE ibex_core.lake_days (
          org_id uuid NOT NULL
            CONSTRAINT fk_lake_days_org_id
            REFERENCES ibex_core.organizations (id) ON DELETE CASCADE,
          lake_table text NOT NULL,
          date date NOT NULL,
          fingerprint bigint NOT NULL,
          rows integer NOT NULL,
          written_at timestamptz NOT NULL DEFAULT now(),
          CONSTRAINT pk_lake_days PRIMARY KEY (org_id, lake_table, date)
        )
        """
    )
    op.execute("ALTER TABLE ibex_core.lake_days ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ibex_core.lake_days FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON ibex_core.lake_days "
        f"USING (org_id = {TENANT}) WITH CHECK (org_id = {TENANT})"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ibex_core.lake_days TO ibex_app")


def downgrade() -> None:
    op.execute("DROP TABLE ibex_core.lake_days")
    op.execute("DROP INDEX ibex_core.ix_archive_files_retired")
    op.execute("DROP INDEX ibex_core.ix_archive_files_lake")
    op.execute("DELETE FROM ibex_core.archive_files WHERE kind = 'lake'")
    op.execute(
        """
        ALTER TABLE ibex_core.archive_files
          DROP lake_table, DROP date_to, DROP min_time, DROP max_time, DROP state, DROP retired_at
        """
    )
