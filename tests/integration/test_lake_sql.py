"""`ibex.lake.connect` on real objects: what it reads, and what it refuses to."""

import asyncio
import fcntl
import http.client
import json
import os
import pty
import select
import sys
import termios
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import duckdb
import pyarrow.parquet as pq
import pytest

import ibex.lake
from ibex.errors import (
    AuthenticationError,
    InvalidRequestError,
    LakeQueryError,
    NotFoundError,
    PermissionDeniedError,
)
from ibex.ids import new_id
from ibex.lake.asking import ask
from ibex.lake.schemas import TABLES
from ibex.lake.sql import open_lake
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from tests.command_line import ibex as command
from tests.command_line import shown
from tests.conftest import service_env
from tests.lake_rows import add_rows

pytestmark = pytest.mark.usefixtures("s3_server")
DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def turn(day: date, agent: str, said: str = "Hello") -> dict[str, object]:
    return {
        "date": day,
        "turn_id": str(new_id()),
        "agent": agent,
        "prompt_tokens": 10,
        "said": said,
        "messages": [{"role": "user", "name": None, "text": said}],
        "started_at": NOON,
    }


@pytest.fixture
async def shop(identity: IdentityStore, database: Database, settings: Settings) -> UUID:
    """An organization with turns of two days in two files, and one that is not its business."""
    org_id = await identity.create_organization("shop")
    for day in (DAY, DAY + timedelta(days=1)):
        rows = [turn(day, agent) for agent in ("clerk", "clerk", "cook")]
        await add_rows(settings, database, org_id, "turns", rows)
    return org_id


async def test_live_files_are_tables_and_those_without_a_file_are_empty(
    shop: UUID, settings: Settings, database: Database
) -> None:
    lake = await asyncio.to_thread(open_lake, "shop", settings=settings)
    answer = lake.connection.execute(
        "SELECT agent, count(*), sum(prompt_tokens) FROM turns WHERE date > $1 GROUP BY 1 "
        "ORDER BY 1",
        [DAY],
    )
    assert answer.fetchall() == [("clerk", 2, 20), ("cook", 1, 10)]
    assert lake.connection.sql("SELECT min(started_at) FROM turns").fetchall() == [(NOON,)]
    for table in TABLES.values():
        found = lake.connection.sql(f"DESCRIBE {table.name}").fetchall()
        assert [(row[0], row[1].replace('"', "")) for row in found] == [
            (name, kind.value.replace('"', "")) for name, kind in table.columns().items()
        ]
    assert lake.connection.sql("SELECT * FROM usage").fetchall() == []

    await add_rows(settings, database, shop, "turns", [turn(DAY + timedelta(days=5), "new")])
    await asyncio.to_thread(lake.refresh)
    assert lake.connection.sql("SELECT count(*) FROM turns").fetchall() == [(7,)]


async def test_nothing_else_can_be_opened(
    shop: UUID,
    settings: Settings,
    database: Database,
    identity: IdentityStore,
    tmp_path: Path,
) -> None:
    other = await identity.create_organization("other")
    file = await add_rows(settings, database, other, "turns", [turn(DAY, "spy", "A secret.")])
    objects = ObjectStore(settings)
    signed = await objects.presign(file.bucket, file.key)
    await objects.close()
    (tmp_path / "mine.csv").write_text("a\n1\n")

    connection = await asyncio.to_thread(ibex.lake.connect, "shop", settings=settings)
    inside = f"{settings.s3_endpoint}/{settings.lake_bucket}/turns/org={shop}/"
    refused = (
        f"FROM read_parquet('{signed}')",
        f"FROM read_parquet('{signed.replace('%3D', '=')}')",
        f"FROM read_parquet('{inside}../org={other}/{file.key.split('/', 2)[2]}')",
        f"FROM read_parquet('{settings.s3_endpoint}/{file.bucket}/{file.key}')",
        f"FROM read_parquet('s3://{file.bucket}/{file.key}')",
        f"FROM read_parquet('s3://{file.bucket}/**/*.parquet')",
        f"FROM read_blob('{inside}date={DAY}/x.parquet')",
        f"FROM read_csv('{tmp_path}/mine.csv')",
        f"FROM '{tmp_path}/mine.csv'",
        "FROM read_text('/etc/passwd')",
        "FROM glob('/etc/*')",
        f"ATTACH '{tmp_path}/x.db'",
        f"ATTACH '{settings.s3_endpoint}/x.db'",
        f"COPY turns TO '{tmp_path}/stolen.csv'",
        f"COPY turns TO '{inside}stolen.csv'",
        f"EXPORT DATABASE '{tmp_path}/all'",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "RESET allowed_directories",
        "SET lock_configuration = false",
        "SET temp_directory = '/'",
        "SET memory_limit = '100GB'",
        "INSTALL spatial",
        "INSTALL spatial FROM community",
        "LOAD postgres",
        f"LOAD '{tmp_path}/evil.duckdb_extension'",
        "CREATE PERSISTENT SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "CALL load_aws_credentials()",
    )
    for query in refused:
        with pytest.raises(duckdb.Error):
            connection.execute(query).fetchall()
    assert not list(tmp_path.glob("[!m]*"))
    everything = "\n".join(
        str(connection.execute(query).fetchall())
        for query in ("FROM duckdb_settings()", "FROM duckdb_secrets()", "FROM duckdb_views()")
    )
    assert settings.s3_secret_key.get_secret_value() not in everything
    assert str(other) not in everything
    # Unsigned, its own files are refused as well: an address is no key.
    with pytest.raises(duckdb.HTTPException):
        connection.execute(f"FROM read_parquet('{inside}date={DAY}/part-1.parquet')")


async def test_a_token_says_whose_lake(
    shop: UUID, settings: Settings, identity: IdentityStore
) -> None:
    async def count(org: str | None, token: str | None) -> object:
        lake = await asyncio.to_thread(open_lake, org, token=token, settings=settings)
        return lake.connection.sql("SELECT count(*) FROM turns").fetchall()

    whole = await identity.create_token(shop, "all", scopes=["read", "content"])
    assert await count(None, whole.text) == [(6,)]
    agent_id = await identity.create_agent(shop, "clerk")
    bound = await identity.create_token(shop, "b", agent_id=agent_id, scopes=["read", "content"])
    blind = await identity.create_token(shop, "c", scopes=["read"])
    for token in (bound, blind):
        with pytest.raises(PermissionDeniedError):
            await count(None, token.text)
    await identity.revoke_token(shop, whole.id)
    for token_text in (whole.text, "ibex_pat_nonsense"):
        with pytest.raises(AuthenticationError):
            await count(None, token_text)
    with pytest.raises(NotFoundError):
        await count("nobody", None)
    with pytest.raises(InvalidRequestError):
        await count("shop", whole.text)


async def test_a_query_that_takes_too_long_is_stopped(shop: UUID, settings: Settings) -> None:
    connection = await asyncio.to_thread(ibex.lake.connect, "shop", settings=settings)
    endless = "SELECT sum(a.range * b.range % 7) FROM range(1000000000) a, range(1000000) b"
    with pytest.raises(LakeQueryError, match=r"longer than 0\.1 s"):
        await asyncio.to_thread(ask, connection, endless, lambda rows: rows.read_all(), 0.1)
    with pytest.raises(LakeQueryError, match="no_such"):
        await asyncio.to_thread(ask, connection, "FROM no_such", lambda rows: rows.read_all(), 60)


@pytest.mark.usefixtures("environment")
async def test_the_command_prints_and_writes(shop: UUID, tmp_path: Path) -> None:
    query = "SELECT agent, count(*) AS turns, list(DISTINCT said) AS said FROM turns GROUP BY 1"
    words = ("sql", f"{query} ORDER BY 1", "--org", "shop")
    found = [
        {"agent": "clerk", "turns": 4, "said": ["Hello"]},
        {"agent": "cook", "turns": 2, "said": ["Hello"]},
    ]
    assert await command(*words) == found
    assert (await shown(*words, "--format", "csv")).splitlines() == [
        "agent,turns,said",
        'clerk,4,"[""Hello""]"',
        'cook,2,"[""Hello""]"',
    ]
    assert "clerk" in await shown(*words)
    assert json.loads((await shown(*words, "--format", "jsonl")).splitlines()[1]) == found[1]
    await shown(*words, "-o", str(tmp_path / "out.parquet"))
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == found
    assert [one.name for one in tmp_path.iterdir()] == ["out.parquet"]
    with pytest.raises(InvalidRequestError):
        await shown(*words, "--token", "ibex_pat_x")
    with pytest.raises(LakeQueryError):
        await shown("sql", "SELECT * FROM nothing", "--org", "shop", "-o", str(tmp_path / "x.csv"))
    assert [one.name for one in tmp_path.iterdir()] == ["out.parquet"]


async def test_the_shell_asks_stops_and_leaves(shop: UUID, settings: Settings) -> None:
    assert shop
    ours, theirs = pty.openpty()
    environment = {**os.environ, **service_env(settings), "TERM": "dumb", "COLUMNS": "200"}
    del environment["IBEX_CONTEXT_WINDOWS"]
    shell = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ibex.cli",
        "sql",
        "--org",
        "shop",
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    said = ""

    async def until(words: str) -> None:
        nonlocal said
        while words not in said:
            if select.select([ours], [], [], 0)[0]:
                said += os.read(ours, 65_536).decode(errors="replace")
            await asyncio.sleep(0.02)
        said = said.split(words, 1)[1]

    try:
        async with asyncio.timeout(40):
            await until("ibex> ")
            os.write(ours, b".tables\n")
            await until("memory_versions")
            os.write(ours, b"select agent, count(*) + 1000\nfrom turns group by 1 order by 1;\n")
            await until("1004")
            await until("ibex> ")
            os.write(ours, b"select 1 from nothing;\n")
            await until("Catalog Error")
            await until("ibex> ")
            os.write(
                ours, b"select sum(a.range % b.range) from range(1000000000) a, range(9999) b;\n"
            )
            await until("b;")
            await asyncio.sleep(0.5)
            os.write(ours, b"\x03")
            await until("stopped")
            await until("ibex> ")
            os.write(ours, b"\x04")
            await shell.wait()
            assert (shell.returncode, os.read(ours, 65_536)) == (0, b"\r\n")
    finally:
        if shell.returncode is None:
            shell.kill()
            await shell.wait()
    os.close(ours)
    assert "from turns" in (settings.home / "sql_history").read_text()


class _SignedForGet(BaseHTTPRequestHandler):
    """An object store as MinIO and AWS are: what is signed for GET is no HEAD."""

    store = ""
    heads = 0

    def do_HEAD(self) -> None:
        type(self).heads += 1
        self.send_response(403)
        self.end_headers()

    def do_GET(self) -> None:
        there = http.client.HTTPConnection(self.store)
        there.putrequest("GET", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            there.putheader(name, value)
        there.endheaders()
        answer = there.getresponse()
        body = answer.read()
        there.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"date", "server", "connection"}:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


async def test_a_store_that_refuses_head_is_read_too(shop: UUID, settings: Settings) -> None:
    assert shop
    _SignedForGet.store = settings.s3_endpoint.removeprefix("http://")
    with ThreadingHTTPServer(("127.0.0.1", 0), _SignedForGet) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            strict = settings.model_copy(
                update={"s3_url": f"http://127.0.0.1:{server.server_port}"}
            )
            lake = await asyncio.to_thread(open_lake, "shop", settings=strict)
            query = "SELECT count(*) FROM turns WHERE agent = 'cook'"
            found = await asyncio.to_thread(lake.connection.execute, query)
            assert found.fetchall() == [(2,)]
            lake.close()
        finally:
            server.shutdown()
            serving.join()
    assert _SignedForGet.heads > 0
