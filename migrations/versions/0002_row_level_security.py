"""Row-level security, enabled and forced on every table that has a tenant; the roles' rights.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Spelled out and not imported: a migration must mean the same in ten years.
TENANT_TABLES = (
    "users", "agents", "api_tokens", "directives", "directive_versions", "sessions",
    "session_turns", "extraction_jobs", "context_injections", "archive_files", "memories",
    "memory_versions", "memory_relationships", "memory_tags", "erasure_requests", "tombstones",
    "audit_log", "idempotency_keys", "behavioral_fingerprints",
)  # fmt: skip
APPEND_ONLY = ("directive_versions", "memory_versions", "audit_log", "tombstones")
# What ibex_system sees across organizations: states and ids, never content.
SYSTEM_READS = ("api_tokens", "agents", "sessions", "archive_files")
TENANT = "nullif(current_setting('app.org', true), '')::uuid"


def upgrade() -> None:
    op.execute("GRANT USAGE ON SCHEMA ibex_core TO ibex_app, ibex_system")
    for table in (*TENANT_TABLES, "organizations"):
        column = "id" if table == "organizations" else "org_id"
        op.execute(f"ALTER TABLE ibex_core.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE ibex_core.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON ibex_core.{table} "
            f"USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})"
        )
        rights = "SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        op.execute(f"GRANT {rights} ON ibex_core.{table} TO ibex_app")

    for table in SYSTEM_READS:
        op.execute(
            f"CREATE POLICY system_reads ON ibex_core.{table} "
            "FOR SELECT TO ibex_system USING (true)"
        )
        op.execute(f"GRANT SELECT ON ibex_core.{table} TO ibex_system")
    for table, rights in (
        ("extraction_jobs", "SELECT, UPDATE"),
        ("organizations", "SELECT, INSERT"),
    ):
        op.execute(
            f"CREATE POLICY system ON ibex_core.{table} TO ibex_system "
            "USING (true) WITH CHECK (true)"
        )
        op.execute(f"GRANT {rights} ON ibex_core.{table} TO ibex_system")

    op.execute("""
        CREATE FUNCTION ibex_core.refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE ON ibex_core.{table} "
            "FOR EACH ROW EXECUTE FUNCTION ibex_core.refuse_update()"
        )


def downgrade() -> None:
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON ibex_core.{table}")
    op.execute("DROP FUNCTION ibex_core.refuse_update()")
    for table in ("extraction_jobs", "organizations"):
        op.execute(f"DROP POLICY system ON ibex_core.{table}")
        op.execute(f"REVOKE ALL ON ibex_core.{table} FROM ibex_system")
    for table in SYSTEM_READS:
        op.execute(f"DROP POLICY system_reads ON ibex_core.{table}")
        op.execute(f"REVOKE ALL ON ibex_core.{table} FROM ibex_system")
    for table in (*TENANT_TABLES, "organizations"):
        op.execute(f"REVOKE ALL ON ibex_core.{table} FROM ibex_app")
        op.execute(f"DROP POLICY tenant ON ibex_core.{table}")
        op.execute(f"ALTER TABLE ibex_core.{table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE ibex_core.{table} DISABLE ROW LEVEL SECURITY")
    op.execute("REVOKE USAGE ON SCHEMA ibex_core FROM ibex_app, ibex_system")
