"""`python -m ibex.embedded.clickhouse_server`: ClickHouse's HTTP interface over one chDB engine.

`clickhouse_connect.get_client(host=…, port=…, username="ibex", password=…, compress=False)` works
against it as against a ClickHouse server, and so does any client that sends no compression. It is
for one machine: statements run one after another in one thread, results are held in memory, and
there is one user, who may do everything.
"""

import asyncio
import hmac
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import uvicorn

from ibex.embedded.clickhouse_engine import ENGINE_ERRORS, Engine
from ibex.embedded.clickhouse_protocol import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    ProtocolError,
    credentials,
    error_code,
    error_text,
    status_of,
    understand,
)
from ibex.errors import ConfigurationError, IbexError
from ibex.ids import new_id
from ibex.logs import configure_logging
from ibex.resources import give_way
from ibex.settings import Settings, load_settings

USER = "ibex"
_MAX_BODY = 256 * 2**20  # bytes
_log = logging.getLogger("ibex.clickhouse")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClickHouseApp:
    """The ASGI application. `worker` is the only thread that touches `engine`."""

    def __init__(self, engine: Engine, worker: ThreadPoolExecutor, password: str) -> None:
        self._engine = engine
        self._worker = worker
        self._password = password.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"unexpected scope {scope['type']}")
        path, query_string = scope["path"], scope["query_string"]
        if path in {"/ping", "/health"} or (path == "/" and _is_greeting(scope)):
            await _answer(send, 200, b"Ok.\n")
        elif path == "/ready":
            ready = await self._answers()
            body = orjson.dumps({"ready": ready, "checks": {"engine": ready}})
            await _answer(send, 200 if ready else 503, body, {"content-type": "application/json"})
        elif path != "/" or scope["method"] not in {"GET", "POST"}:
            await _answer(send, 404, b"There is no such address here.\n")
        else:
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            try:
                self._authenticate(query_string, headers)
                await self._query(query_string, headers, await _read(receive), send)
            except ProtocolError as error:
                await self._fail(send, str(error))

    def _authenticate(self, query_string: bytes, headers: Mapping[str, str]) -> None:
        user, password = credentials(query_string, headers) or ("default", "")
        known = user == USER and hmac.compare_digest(password.encode(), self._password)
        if not known:
            raise ProtocolError(
                AUTHENTICATION_FAILED,
                "Authentication failed: password is incorrect, or there is no user with such "
                "name. (AUTHENTICATION_FAILED)",
            )

    async def _query(
        self, query_string: bytes, headers: Mapping[str, str], body: bytes, send: Send
    ) -> None:
        query = understand(query_string, headers, body)
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._worker, self._engine.execute, query)
        except ENGINE_ERRORS as error:
            await self._fail(send, str(error))
            return
        summary = {
            "read_rows": result.read_rows,
            "read_bytes": result.read_bytes,
            "written_rows": result.written_rows,
            "written_bytes": result.written_bytes,
            "elapsed_ns": result.elapsed_ns,
        }
        answer = {
            "content-type": "application/octet-stream",
            "x-clickhouse-query-id": _header_text(query.query_id or str(new_id())),
            "x-clickhouse-timezone": "UTC",
            "x-clickhouse-summary": orjson.dumps({k: str(v) for k, v in summary.items()}).decode(),
        }
        if query.data is None and (result.body or query.returns_rows):
            answer["x-clickhouse-format"] = query.format
        await _answer(send, 200, result.body, answer)

    async def _fail(self, send: Send, message: str) -> None:
        code = error_code(message)
        text = error_text(message, self._engine.version)
        _log.info("a query failed code=%d", code)
        headers = {"x-clickhouse-exception-code": str(code)}
        await _answer(send, status_of(code), text.encode(), headers)

    async def _answers(self) -> bool:
        query = understand(b"", {}, b"SELECT 1")
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._worker, self._engine.execute, query)
        except ENGINE_ERRORS:
            return False
        return True


def _is_greeting(scope: Scope) -> bool:
    return scope["method"] == "GET" and b"query=" not in scope["query_string"]


def _header_text(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable())


async def _read(receive: Receive) -> bytes:
    """The whole body. Raises ProtocolError above the limit."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProtocolError(NOT_IMPLEMENTED, "The client went away.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > _MAX_BODY:
            raise ProtocolError(QUERY_IS_TOO_LARGE, "Query is too large. (QUERY_IS_TOO_LARGE)")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _answer(
    send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    fields = {
        "content-type": "text/plain; charset=UTF-8",
        "content-length": str(len(body)),
        "x-clickhouse-server-display-name": "ibex",
        **(headers or {}),
    }
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in fields.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def serve(settings: Settings) -> None:
    """Own the folder and serve until SIGTERM. Raises EmbeddedServerError when it is taken."""
    folder = settings.home / "data" / "clickhouse"
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chdb")
    engine = worker.submit(Engine, folder).result()
    app = ClickHouseApp(engine, worker, settings.clickhouse_password.get_secret_value())
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=settings.clickhouse_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
    )
    try:
        uvicorn.Server(config).run()
    finally:
        worker.submit(engine.close).result()
        worker.shutdown()


def main() -> None:
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        give_way()
        serve(settings)
    except IbexError as error:
        print(f"ibex: {error.message} {error.advice}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


if __name__ == "__main__":
    main()
