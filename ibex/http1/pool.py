"""Connections to one address of a server, kept while they are of use.

A request goes out once. A connection that the server has closed meanwhile is passed over before
anything is written; one that is lost afterwards is an error, because the server may have begun to
work, and to charge. Who stops waiting, at whatever moment, closes the connection.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import certifi

from ibex.http1.egress import Egress
from ibex.http1.wire import (
    Connection,
    Head,
    Header,
    UnreachedError,
    WireError,
    request_head,
)

# Less than the 60 s after which common load balancers close: the fewer meet in the middle.
_KEPT: Final = 50.0


@dataclass(frozen=True)
class Origin:
    """A server by its URL."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """As the host header has it."""
        host = self.host if self.host.isascii() else self.host.encode("idna").decode()
        host = f"[{host}]" if ":" in host else host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@cache
def tls_context() -> ssl.SSLContext:
    """Verifies against the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, else against the
    system's, and where it has none against certifi's."""
    context = ssl.create_default_context()
    named = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    folder = ssl.get_default_verify_paths().capath
    filled = bool(context.get_ca_certs()) or bool(folder and any(Path(folder).iterdir()))
    if not named and not filled:
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


class Response:
    """Whoever gets it closes it."""

    def __init__(self, pool: "Pool", connection: Connection, head: Head) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self.status = head.status
        self.headers: list[Header] = head.headers  # names in lower case

    async def read(self) -> bytes | None:
        """What has arrived of the body; None: that was all. Raises WireError."""
        if self._connection is None:
            return None
        return await self._connection.read()

    def close(self) -> None:
        """Hangs up, unless all was read and the connection can be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.put(connection)


class Pool:
    def __init__(
        self,
        origin: Origin,
        *,
        address: str | None = None,
        egress: Egress | None = None,
        connect_timeout: float,
        idle_timeout: float,
    ) -> None:
        """`address` is connected to instead of resolving the origin's host; TLS verifies the host
        all the same. Times in seconds; `idle_timeout` limits silence, never the whole."""
        self._origin = origin
        self._egress = egress
        self._to = (address or origin.host, origin.port)
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._idle: dict[Connection, float] = {}  # since when; the latest last
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._prefix = ""
        self._own = {"host": origin.authority}
        if egress is not None and origin.tls is None:
            self._to = (egress.host, egress.port)
            self._prefix = f"http://{origin.authority}"
            if egress.authorization:
                self._own["proxy-authorization"] = egress.authorization

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        """Raises UnreachedError when nothing was sent, WireError when it may have been."""
        framing = {} if body is None else {"content-length": str(len(body))}
        head = request_head(method, self._prefix + target, {**self._own, **headers, **framing})
        connection = self._take() or await self._connect()
        try:
            return Response(self, connection, await connection.send(head, body or b""))
        except BaseException:
            connection.abort()
            raise

    def put(self, connection: Connection) -> None:
        """Give it back: it is kept, or closed at once when its answer was not read to the end."""
        if self._closed or not connection.reusable:
            connection.abort()
            return
        connection.rest()
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if self._sweep is None:
            self._sweep = loop.call_later(_KEPT, self._close_old)

    async def close(self) -> None:
        """Those in use are closed when they are given back."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        idle, self._idle = self._idle, {}
        for connection in idle:
            connection.abort()
        await asyncio.sleep(0)

    def _take(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            if not connection.stale():
                return connection
            connection.abort()
        return None

    def _lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        for connection, since in list(self._idle.items()):
            left = since + _KEPT - loop.time()
            if left > 0:
                self._sweep = loop.call_later(left, self._close_old)
                break
            del self._idle[connection]
            connection.close()

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self._egress is not None and self._origin.tls is not None:
                    return await self._tunnel(self._egress, self._origin.tls)
                tls = self._origin.tls
                _, connection = await asyncio.get_running_loop().create_connection(
                    self._new,
                    *self._to,
                    ssl=tls,
                    server_hostname=self._origin.host if tls else None,
                )
                return connection
        except WireError as error:
            raise UnreachedError(str(error)) from None
        except (OSError, UnicodeError) as error:  # with time-outs and everything of TLS
            raise UnreachedError(type(error).__name__) from None

    async def _tunnel(self, egress: Egress, tls: ssl.SSLContext) -> Connection:
        loop = asyncio.get_running_loop()
        _, plain = await loop.create_connection(self._new, egress.host, egress.port)
        try:
            await self._ask_for_tunnel(plain, egress)
            connection = self._new()
            transport = await loop.start_tls(
                plain.transport, connection, tls, server_hostname=self._origin.host
            )
        except BaseException:
            plain.abort()
            raise
        if transport is None:
            raise WireError("The tunnel was closed.")
        connection.connection_made(transport)
        return connection

    async def _ask_for_tunnel(self, plain: Connection, egress: Egress) -> None:
        origin = self._origin
        target = f"{origin.authority}:443" if origin.port == 443 else origin.authority
        headers = {"host": target}
        if egress.authorization:
            headers["proxy-authorization"] = egress.authorization
        answer = await plain.send(request_head("CONNECT", target, headers), b"")
        if not 200 <= answer.status < 300:
            raise WireError(f"The egress proxy answered with {answer.status}.")

    def _new(self) -> Connection:
        return Connection(self._idle_timeout, self._lost)
