"""The whole stack: which processes there are, what each needs first, how each is started."""

import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import asyncpg

import ibex
from ibex.embedded import servers
from ibex.embedded.clickhouse import clickhouse
from ibex.embedded.probes import grpc_serving, http_ok
from ibex.embedded.process import ProcessSpec, private_folder
from ibex.errors import ConfigurationError
from ibex.settings import Settings

_PROJECT = Path(ibex.__file__).parents[1]
_BIN = Path(sys.executable).parent
_HEARTBEAT = 90.0  # seconds; Dagster's daemons write one every 30 s
# A service is ready when what it needs is ready too, and an embedder that has to use PyTorch takes
# up to a minute on a busy machine. One that ends is noticed at once, whatever this says.
_PATIENCE = 300.0  # seconds


def processes(settings: Settings) -> list[ProcessSpec]:
    """In order of start. A part with a URL of its own is not in it."""
    specs = [*_servers(settings), _migrate(settings), *_services(settings), *_dagster(settings)]
    specs.append(_dashboard(settings))
    present = {spec.name for spec in specs}
    return [
        replace(spec, after=tuple(name for name in spec.after if name in present)) for spec in specs
    ]


def _servers(settings: Settings) -> list[ProcessSpec]:
    specs = []
    if settings.database_url is None:
        specs.append(servers.postgres(settings))
    elif settings.dagster_database_url is None:
        raise ConfigurationError(
            "IBEX_DATABASE_URL is set, but not IBEX_DAGSTER_DATABASE_URL.",
            hint="Dagster keeps its runs in a database of its own; it may be on the same server.",
        )
    if settings.redis_url is None:
        specs.append(servers.redis(settings))
    if settings.s3_url is None:
        specs.append(servers.s3(settings))
    if settings.clickhouse_url is None:
        specs.append(clickhouse(settings))
    return specs


def _migrate(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="migrate",
        title="Migrations and buckets",
        command=_module("ibex.embedded.prepare"),
        env=_own(settings),
        port=None,
        ready=_never,
        once=True,
        after=("postgres", "s3", "clickhouse"),
        ready_timeout=150.0,
    )


# --- our own services ---


def _services(settings: Settings) -> list[ProcessSpec]:
    specs = []
    if settings.uses_sandbox:
        specs.append(
            _http(settings, "sandbox", "Sandbox model", "ibex.sandbox", settings.sandbox_port)
        )
    if settings.embedder_url is None:
        embedder = _http(
            settings, "embedder", "Embedder", "hotpath.embedder", settings.embedder_port
        )
        specs.append(replace(embedder, after=("redis",)))
    if settings.assembler_address is None:
        specs.append(
            ProcessSpec(
                name="assembler",
                title="Assembler",
                command=_module("hotpath.assembler"),
                env=_own(settings),
                port=settings.assembler_port,
                ready=partial(grpc_serving, f"127.0.0.1:{settings.assembler_port}"),
                after=("migrate", "redis"),
                ready_timeout=_PATIENCE,
                address=f"127.0.0.1:{settings.assembler_port}",
            )
        )
    proxy = _http(settings, "proxy", "Proxy", "hotpath.proxy", settings.proxy_port)
    api = _http(settings, "api", "Management API", "api", settings.api_port)
    specs.append(
        replace(proxy, after=("migrate", "redis"), address=f"{settings.proxy_endpoint}/v1")
    )
    if settings.api_url is None:
        specs.append(replace(api, after=("migrate", "redis")))
    return specs


def _http(settings: Settings, name: str, title: str, module: str, port: int) -> ProcessSpec:
    address = f"http://127.0.0.1:{port}"
    return ProcessSpec(
        name=name,
        title=title,
        command=_module(module),
        env=_own(settings),
        port=port,
        ready=partial(http_ok, f"{address}/ready"),
        ready_timeout=_PATIENCE,
        address=address,
    )


def _dashboard(settings: Settings) -> ProcessSpec:
    port = settings.dashboard_port
    address = f"http://127.0.0.1:{port}"
    return ProcessSpec(
        name="dashboard",
        title="Dashboard",
        command=(
            str(_BIN / "streamlit"),
            *("run", str(_PROJECT / "dashboard" / "app.py")),
            *("--server.port", str(port), "--server.address", settings.host),
            *("--server.headless", "true", "--server.fileWatcherType", "none"),
            *("--browser.gatherUsageStats", "false"),
        ),
        env={**_own(settings), "IBEX_API_URL": settings.api_endpoint},
        port=port,
        ready=partial(http_ok, f"{address}/_stcore/health"),
        after=("migrate",),
        ready_timeout=_PATIENCE,
        address=address,
    )


# --- Dagster ---


def _dagster(settings: Settings) -> list[ProcessSpec]:
    home = settings.home / "dagster"
    workspace = str(_PROJECT / "workspace.yaml")
    port, code_port = settings.dagster_port, settings.dagster_code_port
    dsn = settings.dagster_dsn.partition("://")[2]
    env = {
        **_own(settings),
        "DAGSTER_HOME": str(home),
        "IBEX_DAGSTER_CODE_PORT": str(code_port),
        "IBEX_DAGSTER_DATABASE_URL": f"postgresql+psycopg2://{dsn}",
    }
    prepare = partial(_write_instance, home)
    daemon = _Daemon(settings.dagster_dsn, home)
    return [
        ProcessSpec(
            name="dagster-code",
            title="Dagster code server",
            command=(
                # One process; `dagster code-server start` is a proxy and a child that it reloads.
                *_giving_way("orchestration.code_server"),
                *("-h", "127.0.0.1", "-p", str(code_port)),
            ),
            env=env,
            port=code_port,
            ready=partial(grpc_serving, f"127.0.0.1:{code_port}"),
            prepare=prepare,
            after=("migrate",),
            ready_timeout=_PATIENCE,
            address=f"127.0.0.1:{code_port}",
        ),
        ProcessSpec(
            name="dagster-daemon",
            title="Dagster daemon",
            command=(*_giving_way("dagster._daemon"), "run", "-w", workspace),
            env=env,
            port=None,
            ready=daemon.beats,
            prepare=daemon.prepare,
            after=("dagster-code",),
            ready_timeout=_PATIENCE,
        ),
        ProcessSpec(
            name="dagster-webserver",
            title="Dagster UI",
            command=(
                *_giving_way("dagster_webserver"),
                *("-h", settings.host, "-p", str(port), "-w", workspace),
            ),
            env=env,
            port=port,
            ready=partial(http_ok, f"http://127.0.0.1:{port}/server_info"),
            prepare=prepare,
            after=("dagster-code",),
            ready_timeout=_PATIENCE,
            address=f"http://127.0.0.1:{port}",
        ),
    ]


def _giving_way(module: str) -> tuple[str, ...]:
    """What Dagster does is for later: requests go first. Its runs inherit that."""
    return (sys.executable, "-m", "ibex.embedded.giving_way", module)


def _write_instance(home: Path) -> None:
    private_folder(home)
    shutil.copyfile(_PROJECT / "orchestration" / "dagster.yaml", home / "dagster.yaml")


@dataclass
class _Daemon:
    """Ready once the sensor daemon has written a heartbeat since its last start."""

    dsn: str
    home: Path
    started: float = field(default_factory=lambda: time.time() - _HEARTBEAT)  # when not ours

    def prepare(self) -> None:
        _write_instance(self.home)
        self.started = time.time()

    async def beats(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn, timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        try:
            found = await connection.fetchval(
                "SELECT max(timestamp) > to_timestamp($1) AT TIME ZONE 'UTC' "
                "FROM daemon_heartbeats WHERE daemon_type = 'SENSOR'",
                self.started,
                timeout=2,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        finally:
            await connection.close(timeout=2)
        return bool(found)


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


def _own(settings: Settings) -> dict[str, str]:
    return {"IBEX_HOME": str(settings.home)}


async def _never() -> bool:
    return False
