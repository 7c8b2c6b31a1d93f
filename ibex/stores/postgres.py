"""The connection pool, and the only ways to a transaction: as one tenant, or as the system.

    async with database.tenant(org_id) as connection: ...   # row-level security: this org's rows
    async with database.system() as connection: ...         # ids and states across organizations
    async with database.rehearsal(org_id) as connection: …  # a tenant's, taken back in the end
    await database.call(sql, org_id, …)                     # a function that sets its tenant itself

All settings last for the transaction only, so a pooled connection never keeps the last tenant.
Nothing but SQL happens inside one: an OSError or a time-out there is taken for the database's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy
from pgvector.asyncpg import register_vector

from ibex.errors import DatabaseUnavailableError

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # class 57: it stops, starts, or gave the statement up
    asyncpg.InsufficientResourcesError,  # class 53: no connection, disk or memory left
    asyncpg.ReadOnlySQLTransactionError,  # a standby that has not taken over yet
)


class Database:
    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", acquire_timeout: float) -> None:
        self._pool = pool
        self._acquire_timeout = acquire_timeout

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        name: str,
        min_size: int = 1,
        max_size: int = 10,
        command_timeout: float = 10.0,
        acquire_timeout: float = 5.0,
    ) -> "Database":
        """`name` is shown in pg_stat_activity. Times in seconds.

        Raises DatabaseUnavailableError when the server does not answer.
        """
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=min_size,
                max_size=max_size,
                timeout=acquire_timeout,
                command_timeout=command_timeout,
                init=_prepare_connection,
                reset=_keep_as_it_is,
                server_settings={"application_name": f"ibex-{name}"},
            )
        except (*_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise DatabaseUnavailableError(
                f"PostgreSQL does not accept connections ({type(error).__name__})."
            ) from error
        return cls(pool, acquire_timeout)

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def tenant(self, org_id: UUID) -> AsyncIterator[Connection]:
        """A transaction that sees and writes rows of `org_id` only."""
        async with self._transaction(f"SET LOCAL app.org = '{org_id}'") as connection:
            yield connection

    @asynccontextmanager
    async def rehearsal(self, org_id: UUID) -> AsyncIterator[Connection]:
        """As `tenant`, and what it wrote is taken back in the end: nobody ever saw it."""
        scope = f"SET LOCAL app.org = '{org_id}'"
        async with self._transaction(scope, end="ROLLBACK") as connection:
            yield connection

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Connection]:
        """A transaction across organizations, over tables that hold no content."""
        async with self._transaction("SET LOCAL ROLE ibex_system") as connection:
            yield connection

    async def call(self, sql: str, org_id: UUID, *arguments: Any) -> "asyncpg.Record | None":
        """The first row of one statement that is its own transaction: a call of a function whose
        first argument is the tenant. Anything else sees no tenant's rows."""
        try:
            async with self._pool.acquire(timeout=self._acquire_timeout) as connection:
                return await connection.fetchrow(sql, org_id, *arguments)
        except _UNAVAILABLE as error:
            raise _unavailable(error) from error

    async def answers(self) -> bool:
        try:
            return await self._pool.fetchval("SELECT true", timeout=2) is True
        except (*_UNAVAILABLE, asyncpg.PostgresError):
            return False

    @asynccontextmanager
    async def _transaction(self, scope: str, *, end: str = "COMMIT") -> AsyncIterator[Connection]:
        try:
            async with self._pool.acquire(timeout=self._acquire_timeout) as connection:
                try:
                    # One round trip: the simple protocol takes several statements.
                    await connection.execute(f"BEGIN; {scope}")
                    yield connection
                    await connection.execute(end)
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("ROLLBACK")
                    raise
        except _UNAVAILABLE as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"PostgreSQL does not answer ({type(error).__name__}).")


async def _prepare_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
        schema="pg_catalog",
        format="binary",
    )
    await register_vector(connection)


async def _keep_as_it_is(_connection: Any) -> None:
    """Between two uses a connection needs no round trip: what a transaction sets ends with it, and
    nothing here sets more. (asyncpg still rolls back what is open.)"""
