"""What every plain ASGI service shares: read a body, send JSON, send an error, tell lifespan.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import logging
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing
from typing import Any

import orjson

from ibex.errors import (
    IbexError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RequestTooLargeError,
)
from ibex.ids import new_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = b"application/json"


class ClientDisconnectedError(Exception):
    """The client hung up before its request was whole; nobody is left to answer."""


def header(scope: Scope, name: bytes) -> str:
    """The first header of that lower-case name, or an empty text."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


async def body_chunks(scope: Scope, receive: Receive, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives. Raises RequestTooLargeError above `limit` bytes, declared or sent."""
    declared = header(scope, b"content-length")
    too_large = f"The request body is larger than {limit} bytes."
    if declared.isdecimal() and int(declared) > limit:
        raise RequestTooLargeError(too_large)
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RequestTooLargeError(too_large)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises RequestTooLargeError above `limit` bytes, declared or sent."""
    async with aclosing(body_chunks(scope, receive, limit)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read_object(scope: Scope, receive: Receive, limit: int) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidRequestError."""
    body = await read_body(scope, receive, limit)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequestError("The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequestError("The request body is not a JSON object.")
    return value


async def send_bytes(
    send: Send, status: int, body: bytes, content_type: bytes, headers: Headers = ()
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, value: object, headers: Headers = ()) -> None:
    """`value` may hold NumPy arrays."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    await send_bytes(send, status, body, JSON, headers)


async def send_error(
    send: Send, error: IbexError, request_id: str | None, headers: Headers = ()
) -> None:
    await send_json(send, error.status, error.envelope(request_id), headers)


class Service:
    """An ASGI application with a table of handlers, lifespan, and one way to answer errors.

    A handler raises an IbexError before it has sent anything; any other exception is logged by
    its type and place and answered with 500.
    """

    def __init__(self, name: str) -> None:
        self.handlers: dict[str, dict[str, Handler]] = {}  # path → method → handler
        self._log = logging.getLogger(f"ibex.{name}")

    async def start(self) -> None:
        """Runs before the first request is taken."""

    async def stop(self) -> None:
        """Runs after the last request was answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = header(scope, b"x-request-id")[:64] or str(new_id())
        headers: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id.encode("latin-1"))]
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            handler = self._handler(scope, headers)
            await handler(scope, receive, send_with_id)
        except ClientDisconnectedError:
            return
        except IbexError as error:
            if started:
                raise
            await send_error(send_with_id, error, request_id, _retry_after(error))
        except Exception as error:
            # No message and no traceback: they may hold what a client sent.
            place = traceback.extract_tb(error.__traceback__)[-1]
            name = type(error).__name__
            self._log.error("%s failed: %s, %s:%s", request_id, name, place.name, place.lineno)
            if started:
                raise
            await send_error(send_with_id, IbexError(), request_id)

    def _handler(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> Handler:
        methods = self.handlers.get(scope["path"])
        if methods is None:
            raise NotFoundError("There is nothing at this address.", hint="Check the path.")
        handler = methods.get(scope["method"])
        if handler is None:
            headers.append((b"allow", ", ".join(methods).encode()))
            raise MethodNotAllowedError
        return handler

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _retry_after(error: IbexError) -> Headers:
    return [(b"retry-after", b"1")] if error.status in (429, 503) else []
