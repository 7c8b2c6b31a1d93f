"""`GET /health`, `GET /ready` and `GET /metrics` of the assembler, over HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from hotpath.assembler.readiness import Readiness
from ibex.asgi import Receive, Scope, Send, Service, send_json
from ibex.errors import ConfigurationError
from ibex.metrics import handler
from ibex.serving import http_server
from ibex.settings import Settings


class Operations(Service):
    def __init__(self, readiness: Readiness, settings: Settings) -> None:
        super().__init__("assembler")
        self._readiness = readiness
        self.handlers = {
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
            "/metrics": {"GET": handler(settings.metrics_token)},
        }

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"status": "ok"})

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        checks = self._readiness.checks
        ready = bool(checks) and all(checks.values())
        await send_json(send, 200 if ready else 503, {"ready": ready, "checks": checks})


class _Guest(uvicorn.Server):
    """In a process that handles its signals itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving_operations(readiness: Readiness, settings: Settings) -> AsyncIterator[None]:
    """Raises ConfigurationError when the port is taken."""
    port = settings.assembler_metrics_port
    server = _Guest(http_server(Operations(readiness, settings), settings, port).config)
    listener = _listen(settings.host, port)
    task = asyncio.create_task(server.serve([listener]), name="operations")
    try:
        while not (server.started or task.done()):  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise ConfigurationError(
            f"Nothing can listen on {host}:{port}.",
            hint="Another process has the port; set IBEX_ASSEMBLER_METRICS_PORT.",
        ) from None
    return listener
