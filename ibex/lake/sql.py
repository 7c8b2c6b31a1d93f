"""SQL over the lake: a DuckDB in this process that reads the live files of one organization.

    connection = ibex.lake.connect("acme")
    connection.sql("SELECT agent, count(*) FROM turns WHERE date >= '2026-01-01' GROUP BY 1")

There are no credentials inside. A view names each of its files by a URL that is signed for this
file and for a while, and apart from the addresses of the organization's own files, DuckDB may open
nothing: no other bucket, file, database or extension, and its configuration is locked. So whatever
is asked, other organizations' files are out of reach twice: their addresses are refused here, and
without a signature by the object store.

httpfs comes from its wheel, so nothing is downloaded.
"""

import asyncio
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from ibex.errors import InvalidRequestError, PermissionDeniedError
from ibex.lake.manifest import LakeFile, Manifest, TableStatus
from ibex.lake.schemas import TABLES, LakeTable
from ibex.settings import Settings, load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

#: How long the views of a connection can be read. They take what is live when they are made.
VALID_FOR: Final = timedelta(hours=12)
_SCOPES: Final = ("read", "content")  # a file cannot be shown without its words


def connect(
    org: str | None = None,
    *,
    token: str | None = None,
    settings: Settings | None = None,
    valid_for: timedelta = VALID_FOR,
) -> "DuckDBPyConnection":
    """A DuckDB connection with a view for each of `ibex.lake.schemas.TABLES`: those of the
    organization of this name, or of an access token's. For scripts and notebooks; works in a
    running event loop too.

    Raises InvalidRequestError unless it is one of the two, NotFoundError, AuthenticationError,
    PermissionDeniedError, DatabaseUnavailableError.
    """
    return open_lake(org, token=token, settings=settings, valid_for=valid_for).connection


def open_lake(
    org: str | None = None,
    *,
    token: str | None = None,
    settings: Settings | None = None,
    valid_for: timedelta = VALID_FOR,
) -> "LakeReader":
    """As `connect`, with what it takes to look again what is live."""
    lake = LakeReader(settings or load_settings(), valid_for)
    lake.open(org, token)
    return lake


class LakeReader:
    """One organization's lake as DuckDB sees it. `refresh` looks what is live by now."""

    def __init__(self, settings: Settings, valid_for: timedelta = VALID_FOR) -> None:
        self._settings = settings
        self._valid_for = valid_for
        self._org_id: UUID | None = None
        self._connection: DuckDBPyConnection | None = None

    @property
    def connection(self) -> "DuckDBPyConnection":
        if self._connection is None:
            raise AssertionError("open comes first")
        return self._connection

    def open(self, org: str | None, token: str | None) -> None:
        """Raises as `connect`."""
        _await(self._open(org, token))

    def refresh(self) -> None:
        """The views are of what is live now, and can be read for as long again."""
        _await(self._refresh())

    def close(self) -> None:
        self.connection.close()

    def status(self) -> list[TableStatus]:
        """What of each table is in the lake."""
        return _await(self._status())

    async def _open(self, org: str | None, token: str | None) -> None:
        database = await _database(self._settings)
        try:
            self._org_id = await readable(IdentityStore(database), org, token)
        finally:
            await database.close()
        folders = await self._signed([f"{name}/org={self._org_id}/x" for name in TABLES])
        self._connection = locked_connection(
            self._settings, [url.split("?")[0].removesuffix("x") for url in folders]
        )
        await self._refresh()

    async def _status(self) -> list[TableStatus]:
        async with self._manifest() as (manifest, org_id):
            return await manifest.status(org_id)

    @asynccontextmanager
    async def _manifest(self) -> AsyncIterator[tuple[Manifest, UUID]]:
        if self._org_id is None:
            raise AssertionError("open comes first")
        database = await _database(self._settings)
        try:
            yield Manifest(database), self._org_id
        finally:
            await database.close()

    async def _refresh(self) -> None:
        async with self._manifest() as (manifest, org_id):
            files = await manifest.live_files(org_id)
        known = [file for file in files if _is_known(file)]
        signed = await self._signed([file.key for file in known])
        urls: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for file, url in zip(known, signed, strict=True):
            urls[file.table][file.schema_version].append(url)
        for table in TABLES.values():
            self.connection.execute(view(table, urls[table.name]))

    async def _signed(self, keys: Sequence[str]) -> list[str]:
        objects = ObjectStore(self._settings)
        try:
            bucket = self._settings.lake_bucket
            return await objects.presign_all(bucket, keys, self._valid_for)
        finally:
            await objects.close()


async def readable(identity: IdentityStore, org: str | None, token: str | None) -> UUID:
    """The organization whose lake may be read: the token's, or for whoever has the deployment's
    own settings the one of that name."""
    if (org is None) is (token is None):
        raise InvalidRequestError("Either an organization or an access token says whose lake.")
    if org is not None:
        return await identity.organization(org)
    grant = await identity.verify_token(token or "")
    if missing := [scope for scope in _SCOPES if scope not in grant.scopes]:
        raise PermissionDeniedError(f"The access token lacks the scope '{missing[0]}'.")
    if grant.agent_id is not None:
        raise PermissionDeniedError(
            "The access token is bound to one agent.",
            hint="Use a token of the whole organization.",
        )
    return grant.org_id


def locked_connection(settings: Settings, prefixes: Iterable[str]) -> "DuckDBPyConnection":
    """A DuckDB in memory that may read what lies under `prefixes`, and a folder of its own for what
    does not fit into its memory."""
    import duckdb  # noqa: PLC0415 — a library of 40 MB, for those who ask

    connection = duckdb.connect(":memory:")
    folder = Path(tempfile.mkdtemp(prefix="ibex-sql-"))
    weakref.finalize(connection, shutil.rmtree, folder, ignore_errors=True)
    connection.execute(f"LOAD {literal(str(httpfs()))}")
    for name, value in {
        "TimeZone": "'UTC'",
        "memory_limit": f"'{settings.sql_memory_mb}MB'",
        "temp_directory": literal(str(folder)),
        "http_timeout": str(settings.sql_http_timeout),
        "http_retries": "2",
        "parquet_metadata_cache": "true",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        "allowed_directories": _list(prefixes),
        "enable_external_access": "false",
        "lock_configuration": "true",
    }.items():
        connection.execute(f"SET {name} = {value}")
    return connection


def view(table: LakeTable, urls: Mapping[int, Sequence[str]]) -> str:
    """The statement that makes the table's view over its files, by their schema version. What a
    version does not have is null; without any file the columns are there all the same."""
    parts = [
        f"SELECT {_columns(table, version)} FROM read_parquet({_list(found)}, "  # noqa: S608
        "hive_partitioning = false)"
        for version, found in sorted(urls.items())
    ] or [f"SELECT {_columns(table, None)} LIMIT 0"]
    body = "\nUNION ALL\n".join(parts)
    return f'CREATE OR REPLACE VIEW "{table.name}" AS\n{body}'


def httpfs() -> Path:
    """The extension as its wheel brings it: one file for this version of DuckDB."""
    import duckdb_extension_httpfs  # noqa: PLC0415

    return next(Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension"))


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns(table: LakeTable, version: int | None) -> str:
    there = table.columns(version) if version is not None else {}
    return ", ".join(
        f'"{name}"' if name in there else f'NULL::{kind.value} AS "{name}"'
        for name, kind in table.columns().items()
    )


def _is_known(file: LakeFile) -> bool:
    """Not of a newer IBEX that shares the lake."""
    table = TABLES.get(file.table)
    return table is not None and 1 <= file.schema_version <= table.version


def _list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"


async def _database(settings: Settings) -> Database:
    return await Database.connect(settings.app_dsn, name="sql", max_size=1)


def _await(work: Coroutine[Any, Any, T]) -> T:
    """In a loop of its own: the caller may be in one already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work)).result()
