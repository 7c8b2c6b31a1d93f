"""The schema against PostgreSQL's own catalogue: what a migration forgets is seen here."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
from asyncpg.exceptions import InsufficientPrivilegeError, RestrictViolationError

from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.migrate import check, downgrade, migrate
from ibex.stores.models import SCHEMA, TENANT_TABLES
from ibex.stores.postgres import Database

_TABLES = """
SELECT c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
  pg_get_userbyid(c.relowner) AS owner,
  EXISTS (
    SELECT FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped
  ) AS tenant,
  ARRAY(SELECT polname::text FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname <> 'alembic_version'
"""


@pytest.fixture
async def tables(settings: Settings) -> list[asyncpg.Record]:
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        return await admin.fetch(_TABLES, SCHEMA)
    finally:
        await admin.close()


async def test_every_tenant_table_is_protected_from_everybody(
    tables: list[asyncpg.Record],
) -> None:
    assert {table["name"] for table in tables if table["tenant"]} == set(TENANT_TABLES)
    for table in tables:
        assert table["enabled"], table["name"]
        assert table["forced"], table["name"]
        assert "tenant" in table["policies"], table["name"]
        assert table["owner"] == "ibex_owner", table["name"]


async def test_the_application_is_neither_owner_nor_above_the_policies(
    settings: Settings, database: Database
) -> None:
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        roles = await admin.fetch(
            "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'ibex%'"
        )
        inherits = await admin.fetchval(
            "SELECT pg_has_role('ibex_app', 'ibex_system', 'USAGE')"  # would apply its policies
        )
    finally:
        await admin.close()
    assert {role["rolname"] for role in roles} == {"ibex_owner", "ibex_app", "ibex_system"}
    assert not any(role["rolsuper"] or role["rolbypassrls"] for role in roles)
    assert not inherits


async def test_without_a_tenant_nothing_is_seen(
    database: Database, org_id: UUID, agent_id: UUID
) -> None:
    async with database.tenant(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ibex_core.agents") == 1
        await connection.execute("SET LOCAL app.org = ''")
        for table in (*TENANT_TABLES, "organizations"):
            count = await connection.fetchval(f"SELECT count(*) FROM ibex_core.{table}")  # noqa: S608
            assert count == 0, table


async def test_a_connection_forgets_its_tenant(
    settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    one = await Database.connect(settings.app_dsn, name="test", min_size=1, max_size=1)
    try:
        async with one.tenant(org_id) as connection:
            assert await connection.fetch("SELECT 1 FROM ibex_core.agents")
        async with one.system() as connection:
            tenant = await connection.fetchval("SELECT current_setting('app.org', true)")
            assert not tenant
        async with one.tenant(new_id()) as connection:
            assert await connection.fetchval("SELECT current_user") == "ibex_app"
            assert not await connection.fetch("SELECT 1 FROM ibex_core.agents")
    finally:
        await one.close()


async def test_history_cannot_be_rewritten(
    database: Database, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    await identity.set_directive(org_id, agent_id, "Be brief.")
    with pytest.raises((InsufficientPrivilegeError, RestrictViolationError)):
        async with database.tenant(org_id) as connection:
            await connection.execute("UPDATE ibex_core.directive_versions SET content = 'x'")
    with pytest.raises(InsufficientPrivilegeError):
        async with database.tenant(org_id) as connection:
            await connection.execute("DELETE FROM ibex_core.directive_versions")


async def test_the_models_and_the_migrations_agree(settings: Settings) -> None:
    await asyncio.to_thread(check, settings)


async def test_migrations_go_down_to_nothing_and_up_again(settings: Settings) -> None:
    await asyncio.to_thread(downgrade, settings, "base")
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        left = await admin.fetch(_TABLES, SCHEMA)
    finally:
        await admin.close()
    assert left == []
    await migrate(settings)
    await asyncio.to_thread(check, settings)
