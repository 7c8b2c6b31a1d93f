"""One HTTP/1.1 connection to a server: a request goes out, its answer comes as it arrives.

Written for one purpose, because it must do what general clients do not: give up at once, at any
moment, by closing the connection. llhttp parses (strictly, as it comes), asyncio and its TLS carry
the bytes. Message framing as in RFC 9112, section 6; what is odd there ends the connection.
"""

import asyncio
import re
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import httptools

Header = tuple[bytes, bytes]

_MOST_HELD: Final = 256 * 1024  # bytes read ahead of whoever takes them
# Bytes in a row that are no body: a head, trailers, chunk extensions. OpenAI's heads have 2 KB.
_MOST_OVERHEAD: Final = 64 * 1024
# A long silence must not look like an end to what stands in between.
_PROBED: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), 15)  # seconds
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL")
        if hasattr(socket, name)
    ),
]
_NO_BODY: Final = frozenset({204, 304})
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_FRAMING: Final = frozenset({b"transfer-encoding", b"content-length"})

_TARGET: Final = re.compile(r"[!-~]+")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t -~]*")


class WireError(Exception):
    """The connection was lost, or what came is no HTTP."""


class UnreachedError(WireError):
    """There was no connection, so nothing was sent."""


class SilenceError(WireError):
    """Nothing came for too long."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: list[Header]  # names in lower case


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Raises ValueError for what would not be one request line and these headers."""
    if not _TARGET.fullmatch(target):
        raise ValueError("The target is no part of an address.")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("A header cannot be sent.")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()


def is_value(text: str) -> bool:
    """Whether a header may have it."""
    return _VALUE.fullmatch(text) is not None


class Connection(asyncio.Protocol):
    """For one exchange at a time: `send`, then `read` until None; then `reusable` says whether
    there may be another. `abort` at any moment ends it, and whoever waits gets a WireError."""

    def __init__(self, idle_timeout: float, lost: Callable[["Connection"], None]) -> None:
        """`idle_timeout` seconds without a byte in either direction are silence. `lost` is called
        when the connection has ended."""
        self._loop = asyncio.get_running_loop()
        self._idle_timeout = idle_timeout
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._polled = select.poll()
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: WireError | None = None
        self._closed = False
        self._paused = False
        self._heard = 0.0
        self._unwritten = 0
        self._busy = False
        self._reset()

    def _reset(self) -> None:
        self._head: Head | None = None
        self._headers: list[Header] = []
        self._chunks: list[bytes] = []
        self._held = 0
        self._overhead = 0
        self._status = 0
        self._until_closed = False  # the body ends with the connection
        self._whole = False
        self._keeps = False

    # --- for its user ---

    @property
    def reusable(self) -> bool:
        """The answer was whole, the request too, and the server goes on."""
        return (
            self._whole
            and self._keeps
            and not self._chunks
            and not self._closed
            and not self.transport.is_closing()
            and self.transport.get_write_buffer_size() == 0
        )

    def stale(self) -> bool:
        """While nobody uses it: the server has hung up or said something, seen or not yet seen by
        the event loop."""
        return self._closed or self.transport.is_closing() or bool(self._polled.poll(0))

    async def send(self, head: bytes, body: bytes) -> Head:
        """The head of the answer. Raises WireError."""
        if self._closed or self.transport.is_closing():
            raise WireError("The server hung up.")
        self._reset()
        self._busy = True
        if len(body) > _MOST_HELD:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head + body)
        while self._head is None:
            await self._more()
        return self._head

    async def read(self) -> bytes | None:
        """What has arrived of the body, in one piece; None: that was all. Raises WireError."""
        while not self._chunks:
            if self._whole:
                return None
            await self._more()
        chunks, self._chunks, self._held = self._chunks, [], 0
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def rest(self) -> None:
        """Nobody uses it until the next `send`."""
        self._busy = False

    def close(self) -> None:
        """Politely, while nobody uses it."""
        self._stop_timer()
        self.transport.close()

    def abort(self) -> None:
        """At once: what was not sent yet is not sent."""
        self._fail(WireError("It was given up."))

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        waiter = self._waiter = self._loop.create_future()
        self._heard = self._loop.time()
        if self._timer is None:
            self._unwritten = self.transport.get_write_buffer_size()
            self._timer = self._loop.call_later(self._idle_timeout, self._look)
        try:
            await waiter
        finally:
            self._waiter = None

    # --- for the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        own = transport.get_extra_info("socket")
        for option in _PROBED:
            own.setsockopt(*option)
        self._polled.register(own.fileno(), select.POLLIN)  # looked at, never read

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        if not self._busy:
            self._fail(WireError("The server spoke without being asked."))
            return
        self._heard = self._loop.time()
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(WireError("What the server sent is no HTTP."))
            return
        if self._overhead > _MOST_OVERHEAD and not self._whole:
            self._fail(WireError("The server's headers have no end."))
        elif self._held > _MOST_HELD and not self._paused and not self._whole:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Half a connection is of no use: it is closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._stop_timer()
        if self._until_closed and exc is None and self._failure is None:
            self._whole = True
            self._wake()
        elif not self._whole:
            self._failed(WireError("The server hung up."))
        self._lost(self)

    # --- for the parser ---

    def on_message_begin(self) -> None:
        if self._whole:
            raise WireError("A second answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            if status == 101:
                raise WireError("Another protocol.")
            return
        if not 200 <= status < 600 or self._parser.get_http_version() not in _VERSIONS:
            raise WireError("No answer.")
        framing = {name: value for name, value in self._headers if name in _FRAMING}
        coding = framing.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise WireError("A transfer coding that was not asked for.")
        self._until_closed = not framing and status not in _NO_BODY
        self._head = Head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        self._chunks.append(data)
        self._held += len(data)

    def on_message_complete(self) -> None:
        if self._head is None:  # 1xx: the answer comes after it
            self._headers = []
            return
        self._whole = True
        self._keeps = self._parser.should_keep_alive()

    # --- inside ---

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (self._head is not None or self._failure):
            waiter.set_result(None)

    def _fail(self, failure: WireError) -> None:
        self._failed(failure)
        self._stop_timer()
        self.transport.abort()

    def _failed(self, failure: WireError) -> None:
        if self._failure is None:
            self._failure = failure
        if self._waiter is None or self._waiter.done():
            return
        if self._whole:  # what came after it is not the asker's trouble
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(self._failure)

    def _look(self) -> None:
        """Whether somebody has waited for too long."""
        self._timer = None
        if self._waiter is None:
            return
        unwritten = self.transport.get_write_buffer_size()
        if unwritten < self._unwritten:
            self._heard = self._loop.time()  # the server still takes the request
        self._unwritten = unwritten
        left = self._heard + self._idle_timeout - self._loop.time()
        if left <= 0:
            self._fail(SilenceError("The server fell silent."))
        else:
            self._timer = self._loop.call_later(left, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
