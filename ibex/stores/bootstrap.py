"""Makes a database ready for the migrations: the database, the vector extension, the roles.

ibex_owner   owns the schema, cannot log in; row-level security is forced on it too
ibex_app     what every service logs in as; neither owner nor BYPASSRLS
ibex_system  what ibex_app may become for one transaction to see rows without content across
             organizations: tokens to verify, jobs to claim, sessions to complete
dagster      owns Dagster's own database (embedded servers only)
"""

import asyncpg
from sqlalchemy.engine import make_url

from ibex.errors import ConfigurationError, DatabaseUnavailableError
from ibex.settings import Settings

_ROLES = """
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ibex_owner') THEN
    CREATE ROLE ibex_owner NOLOGIN NOSUPERUSER NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ibex_system') THEN
    CREATE ROLE ibex_system NOLOGIN NOSUPERUSER NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ibex_app') THEN
    CREATE ROLE ibex_app LOGIN NOSUPERUSER NOBYPASSRLS;
  END IF;
END $$;
GRANT ibex_system TO ibex_app WITH INHERIT FALSE, SET TRUE;
GRANT ibex_owner TO CURRENT_USER WITH SET TRUE;
"""


async def prepare_database(settings: Settings) -> None:
    """Create what is missing; doing it again changes nothing.

    Raises ConfigurationError when the URLs do not fit, DatabaseUnavailableError when the server
    does not answer.
    """
    app = make_url(settings.app_dsn)
    if app.username != "ibex_app":
        raise ConfigurationError(
            "IBEX_DATABASE_URL must log in as the role ibex_app.",
            hint="postgresql://ibex_app:PASSWORD@host/database; 'ibex db migrate' makes the role.",
        )
    if settings.database_url is None:
        await _create_databases(settings)
    connection = await _connect(settings.admin_dsn)
    try:
        await connection.execute(_ROLES)
        if app.password:
            await _set_password(connection, "ibex_app", str(app.password))
        database = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(
            "CREATE EXTENSION IF NOT EXISTS vector;"
            "CREATE SCHEMA IF NOT EXISTS ibex_core AUTHORIZATION ibex_owner;"
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;"
            f"GRANT CONNECT ON DATABASE {database} TO ibex_app;"
        )
    finally:
        await connection.close()


async def _create_databases(settings: Settings) -> None:
    server = make_url(settings.admin_dsn).set(database="postgres")
    connection = await _connect(server.render_as_string(hide_password=False))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'dagster'"):
            await connection.execute("CREATE ROLE dagster LOGIN NOSUPERUSER")
        await _set_password(
            connection, "dagster", settings.postgres_dagster_password.get_secret_value()
        )
        existing = {row["datname"] for row in await connection.fetch("TABLE pg_database")}
        for name, owner in ((make_url(settings.admin_dsn).database, None), ("dagster", "dagster")):
            if name not in existing:
                suffix = f" OWNER {owner}" if owner else ""
                await connection.execute(f'CREATE DATABASE "{name}"{suffix}')
    finally:
        await connection.close()


async def _set_password(connection: asyncpg.Connection, role: str, password: str) -> None:
    if password:
        # ALTER ROLE takes no parameters; the server quotes the literal itself.
        statement = await connection.fetchval(
            "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password
        )
        await connection.execute(statement)


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise DatabaseUnavailableError(
            f"PostgreSQL does not accept the administrator's connection ({type(error).__name__}).",
            hint="Is it running ('ibex status'), and is IBEX_DATABASE_ADMIN_URL right?",
        ) from error
