"""Around every request: its id, a limit of its body, one log line, and no error that escapes."""

import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response
from api.metrics import count
from ibex.errors import IbexError, RequestTooLargeError
from ibex.ids import new_id

_log = logging.getLogger("ibex.api")
_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_MAX_BODY = 2**20  # bytes; the largest body here is a directive
_FRAMES = 5

_Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestContext:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._handler(headers)(scope, _limited(receive), send_with_id)
        except Exception as error:  # noqa: BLE001 — the last resort, logged without its text
            _log_unexpected(error, request_id)
            if status == 0:
                await error_response(IbexError(), request_id)(scope, receive, send_with_id)
        route = getattr(scope.get("route"), "path", "-")
        spent = time.perf_counter() - started
        count(scope["method"], route, status, spent)
        _log.log(
            logging.DEBUG if route in {"/health", "/ready", "/metrics"} else logging.INFO,
            "%s %s %d %.1f ms request_id=%s",
            scope["method"],
            route,
            status,
            spent * 1000,
            request_id,
        )

    def _handler(self, headers: dict[bytes, bytes]) -> _Handler:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) <= _MAX_BODY:
            return self._app
        return _refuse_body


async def _refuse_body(scope: Scope, receive: Receive, send: Send) -> None:
    error = RequestTooLargeError(hint=f"A body here has at most {_MAX_BODY} bytes.")
    await error_response(error, scope["state"]["request_id"])(scope, receive, send)


def _limited(receive: Receive) -> Receive:
    """Stops a body of unknown length; FastAPI answers that with 400."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > _MAX_BODY:
            raise RequestTooLargeError
        return message

    return limited


def _request_id(offered: bytes) -> str:
    """The caller's own id when it is a plain one, so that it can follow a request through."""
    if _ACCEPTED_ID.fullmatch(offered):
        return offered.decode()
    return str(new_id())


def _log_unexpected(error: Exception, request_id: str) -> None:
    """Where, and of which type. The message may quote what somebody wrote, so it stays out."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    _log.error("unexpected %s at %s request_id=%s", type(error).__name__, places, request_id)
