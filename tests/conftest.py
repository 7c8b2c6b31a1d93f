"""Real servers for every test that wants one: started once a session, from the wheels.

A database costs a copy of a migrated template; Redis and S3 are shared, and tests keep apart by
their organizations' ids (`flushed_redis` for those that need it empty).
"""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import redis.asyncio
import uvicorn
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from api.app import create_app
from hotpath.assembler.server import running
from ibex.embedded import servers
from ibex.embedded.clickhouse import clickhouse
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.migrate import migrate
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database

pytest_plugins = ["tests.command_line", "tests.proxy_fixtures", "tests.rereading"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def base_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose every port is free and every secret is random."""
    for name in list(os.environ):
        if name.startswith("IBEX_") or name == "OPENAI_API_KEY":
            del os.environ[name]
    ports = {name: free_port() for name in Settings.model_fields if name.endswith("_port")}
    passwords = {
        name: secrets.token_urlsafe(16)
        for name, field in Settings.model_fields.items()
        if "password" in name or name == "s3_secret_key"
    }
    return Settings(home=tmp_path_factory.mktemp("ibex"), **ports, **passwords)  # type: ignore[arg-type]


def run_server(spec: ProcessSpec, folder: Path) -> Iterator[ProcessSpec]:
    """Start a server, wait until it answers, stop it afterwards."""
    if spec.prepare:
        spec.prepare()
    log = folder / f"{spec.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            spec.command, env=spec.environment, stdout=output, stderr=subprocess.STDOUT, cwd="/"
        )
    try:
        deadline = time.monotonic() + spec.ready_timeout
        while not asyncio.run(spec.ready()):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{spec.name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield spec
    finally:
        process.send_signal(spec.stop_signal)
        process.wait(spec.stop_timeout)


def service_env(settings: Settings) -> dict[str, str]:
    """Every setting as the environment of a child process, secrets included."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return {
        f"IBEX_{name.upper()}": value.get_secret_value()
        if isinstance(value, SecretStr)
        else str(value)
        for name, value in values.items()
        if value is not None
    }


def http_service(module: str, port: int, settings: Settings) -> ProcessSpec:
    """`python -m module` with these settings, ready when its /ready says so."""
    return ProcessSpec(
        name=module,
        title=module,
        command=(sys.executable, "-m", module),
        env=service_env(settings),
        port=port,
        ready=partial(http_ok, f"http://127.0.0.1:{port}/ready"),
    )


@pytest.fixture(scope="session")
def postgres_server(base_settings: Settings) -> Iterator[ProcessSpec]:
    yield from run_server(servers.postgres(base_settings, durable=False), base_settings.home)


@pytest.fixture(scope="session")
def redis_server(base_settings: Settings) -> Iterator[ProcessSpec]:
    yield from run_server(servers.redis(base_settings), base_settings.home)


@pytest.fixture(scope="session")
def s3_server(base_settings: Settings) -> Iterator[ProcessSpec]:
    yield from run_server(servers.s3(base_settings), base_settings.home)


@pytest.fixture(scope="session")
def clickhouse_server(base_settings: Settings) -> Iterator[ProcessSpec]:
    yield from run_server(clickhouse(base_settings), base_settings.home)


@pytest.fixture(scope="session")
def embedder_server(base_settings: Settings, redis_server: ProcessSpec) -> Iterator[ProcessSpec]:
    """The embedding service with the real model, at `settings.embedder_endpoint`."""
    spec = http_service("hotpath.embedder", base_settings.embedder_port, base_settings)
    yield from run_server(spec, base_settings.home)


@pytest.fixture(scope="session")
def sandbox_server(base_settings: Settings) -> Iterator[ProcessSpec]:
    """The sandbox model server, at `settings.provider_url`."""
    spec = http_service("ibex.sandbox", base_settings.sandbox_port, base_settings)
    yield from run_server(spec, base_settings.home)


@pytest.fixture(scope="session")
def template_database(base_settings: Settings, postgres_server: ProcessSpec) -> str:
    """The name of a database with every migration applied."""
    asyncio.run(migrate(base_settings))
    name = make_url(base_settings.admin_dsn).database
    assert name is not None
    return name


@pytest.fixture
async def settings(base_settings: Settings, template_database: str) -> AsyncIterator[Settings]:
    """Settings with a database of this test's own, migrated and empty, and with its own buckets."""
    own = secrets.token_hex(6)
    name = f"test_{own}"
    server = make_url(base_settings.admin_dsn)
    admin = await asyncpg.connect(
        server.set(database="postgres").render_as_string(hide_password=False)
    )
    await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    await admin.execute(f'GRANT CONNECT ON DATABASE "{name}" TO ibex_app')
    try:
        yield base_settings.model_copy(
            update={
                "spool_dir": base_settings.home / f"spool-{name}",
                "sessions_bucket": f"sessions-{own}",
                "lake_bucket": f"lake-{own}",
                "database_url": make_url(base_settings.app_dsn)
                .set(database=name)
                .render_as_string(hide_password=False),
                "database_admin_url": server.set(database=name).render_as_string(
                    hide_password=False
                ),
            }
        )
    finally:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = await Database.connect(settings.app_dsn, name="test")
    yield database
    await database.close()


@pytest.fixture
async def objects(settings: Settings, s3_server: ProcessSpec) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(settings)
    yield store
    await store.close()


@pytest.fixture
def archive(database: Database, objects: ObjectStore, settings: Settings) -> SessionArchive:
    return SessionArchive(database, objects, settings)


@pytest.fixture
async def identity(database: Database) -> IdentityStore:
    return IdentityStore(database)


@pytest.fixture
async def org_id(identity: IdentityStore) -> UUID:
    return await identity.create_organization(f"org-{new_id()}")


@pytest.fixture
async def agent_id(identity: IdentityStore, org_id: UUID) -> UUID:
    return await identity.create_agent(org_id, "assistant")


@pytest.fixture
async def redis_client(
    settings: Settings, redis_server: ProcessSpec
) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(settings.redis_dsn)
    yield client
    await client.aclose()


@pytest.fixture
async def assembler_server(
    request: pytest.FixtureRequest, settings: Settings, redis_server: ProcessSpec
) -> AsyncIterator[Settings]:
    """The assembler in the test's own loop, on `settings.assembler_target`.

    Context is found by words only unless the test asks for `embedder_server` as well, whether or
    not an earlier test has started it. The deadline is long: how busy the machine is must not
    decide what a test sees.
    """
    changes: dict[str, object] = {"retrieval_deadline_ms": 5000.0}
    if "embedder_server" not in request.fixturenames:
        changes["embedder_url"] = f"http://127.0.0.1:{free_port()}"
    patient = settings.model_copy(update=changes)
    async with running(patient):
        yield patient


@pytest.fixture
async def api_server(assembler_server: Settings) -> AsyncIterator[Settings]:
    """The management API in the test's own loop, at `settings.api_endpoint`."""
    settings = assembler_server
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            await serving
            pytest.fail("the API did not start")
        await asyncio.sleep(0.01)
    yield settings
    server.should_exit = True
    await serving
