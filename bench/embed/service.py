"""The embedding service with an empty Redis, on free ports, for one benchmark."""

import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from bench.processes import Running, running
from bench.stack import free_ports
from ibex.embedded import servers
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings


def small_settings(home: Path) -> Settings:
    redis_port, embedder_port, frames_port = free_ports(3)
    return Settings(
        home=home,
        redis_port=redis_port,
        embedder_port=embedder_port,
        embedder_frames_port=frames_port,
        redis_password=secrets.token_urlsafe(16),
    )


@asynccontextmanager
async def redis(settings: Settings) -> AsyncIterator[None]:
    async with running(servers.redis(settings), settings.home):
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
            "IBEX_EMBEDDER_FRAMES_PORT": str(settings.embedder_frames_port),
            "IBEX_EMBEDDING_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        port=settings.embedder_port,
        ready=partial(http_ok, f"{settings.embedder_endpoint}/ready"),
        ready_timeout=300.0,
    )
    async with running(spec, settings.home) as process:
        yield process
