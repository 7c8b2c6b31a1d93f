"""A server of bytes: it says what a test tells it, and knows when it was hung up on."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from ibex.http1.pool import Origin, Pool, Response

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
Script = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One connection, as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.requests: list[bytes] = []  # whole ones, head and body
        self.gone = asyncio.Event()  # the client has closed

    async def request(self) -> bytes:
        """The next one. Raises IncompleteReadError when there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.requests.append(head + await self.reader.readexactly(length))
        return self.requests[-1]

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_gone(self) -> None:
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.gone.set()


class Peer:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self.visits: list[Visit] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> list[bytes]:
        return [one for visit in self.visits for one in visit.requests]

    @asynccontextmanager
    async def serving(
        self, tls: ssl.SSLContext | None = None, *, buffer: int | None = None
    ) -> AsyncIterator["Peer"]:
        """`buffer` bytes are what the system takes while nobody reads."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        if buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.port = listening.getsockname()[1]
        server = await asyncio.start_server(self._visited, sock=listening, ssl=tls, backlog=4096)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(Visit(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, visit: Visit) -> None:
        self.visits.append(visit)
        try:
            await self.script(visit)
        except (asyncio.IncompleteReadError, ConnectionError):
            visit.gone.set()
        finally:
            visit.writer.transport.abort()


async def takes_nothing(visit: Visit) -> None:
    """Not even the request."""
    cast("asyncio.Transport", visit.writer.transport).pause_reading()
    try:
        while True:  # only who writes hears that nobody is there
            await visit.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.01)
    except ConnectionError:
        visit.gone.set()


def says(data: bytes) -> Script:
    """And then nothing more."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(data)
        await visit.until_gone()

    return script


def answers(*data: bytes) -> Script:
    """Each request on a connection with the next of these, the last for all that follow."""

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(data[min(len(visit.requests), len(data)) - 1])

    return script


def says_and_closes(data: bytes) -> Script:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(data)
        visit.writer.close()

    return script


@asynccontextmanager
async def pool_to(
    port: int,
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    idle_timeout: float = 20.0,
    connect_timeout: float = 20.0,
) -> AsyncIterator[Pool]:
    pool = Pool(
        Origin(host, port, tls),
        address="127.0.0.1",
        connect_timeout=connect_timeout,
        idle_timeout=idle_timeout,
    )
    try:
        yield pool
    finally:
        await pool.close()


async def post(pool: Pool, body: bytes = b"{}") -> Response:
    return await pool.request("POST", "/v1/x", {"accept": "*/*"}, body)


async def body_of(response: Response) -> bytes:
    """And give the connection back."""
    try:
        parts = []
        while (part := await response.read()) is not None:
            parts.append(part)
        return b"".join(parts)
    finally:
        response.close()


async def ask(pool: Pool, body: bytes = b"{}") -> tuple[int, bytes]:
    response = await post(pool, body)
    return response.status, await body_of(response)
