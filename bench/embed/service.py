"""The embedding service with an empty Redis, on free ports, for one benchmark."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from ibex.embedded import servers
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.errors import EmbeddedServerError
from ibex.settings import Settings

_LOOK = 0.02  # seconds


@dataclass(frozen=True)
class Running:
    start_s: float
    process: psutil.Process

    @property
    def rss_mib(self) -> float:
        memory: int = self.process.memory_info().rss
        return memory / 2**20


def small_settings(home: Path) -> Settings:
    return Settings(
        home=home,
        redis_port=_free_port(),
        embedder_port=_free_port(),
        redis_password=secrets.token_urlsafe(16),
    )


@asynccontextmanager
async def redis(settings: Settings) -> AsyncIterator[None]:
    async with _running(servers.redis(settings), settings.home):
        yield


@asynccontextmanager
async def embedder(settings: Settings, backend: str) -> AsyncIterator[Running]:
    spec = ProcessSpec(
        name=f"embedder-{backend}",
        title="Embedder",
        command=(sys.executable, "-m", "hotpath.embedder"),
        env={
            "IBEX_HOME": str(settings.home),
            "IBEX_REDIS_URL": settings.redis_dsn,
            "IBEX_EMBEDDER_PORT": str(settings.embedder_port),
            "IBEX_EMBEDDING_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        port=settings.embedder_port,
        ready=partial(http_ok, f"{settings.embedder_endpoint}/ready"),
        ready_timeout=300.0,
    )
    async with _running(spec, settings.home) as running:
        yield running


@asynccontextmanager
async def _running(spec: ProcessSpec, folder: Path) -> AsyncIterator[Running]:
    if spec.prepare:
        spec.prepare()
    started = time.monotonic()
    process = _spawn(spec, folder / f"{spec.name}.log")
    try:
        while not await spec.ready():
            if process.poll() is not None or time.monotonic() - started > spec.ready_timeout:
                raise EmbeddedServerError(f"{spec.name} did not start.")
            await asyncio.sleep(_LOOK)
        yield Running(time.monotonic() - started, psutil.Process(process.pid))
    finally:
        process.send_signal(spec.stop_signal)
        await asyncio.to_thread(process.wait, spec.stop_timeout)


def _spawn(spec: ProcessSpec, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            spec.command, env=spec.environment, stdout=output, stderr=subprocess.STDOUT, cwd="/"
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
