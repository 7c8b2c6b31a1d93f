"""A proxy in the test's own loop, an upstream that does what the test says, and a client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from pyreqwest.client import Client, ClientBuilder

from hotpath.proxy.app import Proxy
from ibex.ids import new_id
from ibex.serving import http_server
from ibex.settings import Settings
from ibex.stores.sessions import Session, SessionStore, StoredTurn
from tests.conftest import free_port

Script = Callable[["Arrived", asyncio.StreamWriter], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Arrived:
    """A request as the upstream got it."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.raw)
        return value

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages


def completion(text: str = "Yes.", finish: str = "stop") -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": finish,
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return orjson.dumps(
        {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}
    )


def events(*texts: str, finish: str | None = "stop", done: bool = True) -> list[bytes]:
    """One SSE event a text, then the finish reason and [DONE]."""
    chunks: list[dict[str, Any]] = [
        {"delta": {"content": text}, "finish_reason": None} for text in texts
    ]
    if finish:
        chunks.append({"delta": {}, "finish_reason": finish})
    lines = [
        b"data: " + orjson.dumps({"choices": [chunk | {"index": 0}]}) + b"\n\n" for chunk in chunks
    ]
    return [*lines, b"data: [DONE]\n\n"] if done else lines


def head(status: int = 200, **headers: str | int) -> bytes:
    # The scripted server closes after each answer, and says so: nobody sends into that.
    lines = [f"HTTP/1.1 {status} X", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(body: bytes, status: int = 200, **headers: str | int) -> Script:
    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(
            head(status, content_type="application/json", content_length=len(body), **headers)
            + body
        )

    return script


def sends(data: bytes) -> Script:
    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


STREAM_HEAD = head(200, content_type="text/event-stream", transfer_encoding="chunked")


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def streamed(chunks: Sequence[bytes]) -> Script:
    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for data in chunks:
            writer.write(chunk(data))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    return script


class ScriptedUpstream:
    """HTTP/1.1 by hand, so that it can be as wrong as servers are."""

    def __init__(self) -> None:
        self.port = free_port()
        self.arrived: list[Arrived] = []
        self.script: Script = whole(completion())
        self.hung_up = asyncio.Event()  # the proxy closed the connection before the end
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedUpstream"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.split(": ", 1) for line in lines[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            raw = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Arrived(lines[0].split()[1], headers, raw)
            self.arrived.append(request)
            scripted = asyncio.create_task(self.script(request, writer))
            gone = asyncio.create_task(reader.read(1))
            await asyncio.wait({scripted, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not scripted.done():
                self.hung_up.set()
            gone.cancel()
            scripted.cancel()
            await asyncio.gather(scripted, gone, return_exceptions=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error in OpenAI's envelope, which every error must be in."""
        envelope = self.json
        assert envelope["request_id"] == self.headers["x-request-id"]
        error = envelope["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        code: str = error["code"]
        return code


class ProxyClient:
    def __init__(self, base: str, http: Client, token: str) -> None:
        self.base = base
        self.http = http
        self.token = token

    async def chat(
        self,
        *messages: Mapping[str, Any] | str,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Reply:
        said = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
        body = orjson.dumps({"model": "m", "messages": said} | fields)
        return await self.post("/v1/chat/completions", body, headers=headers)

    async def complete(self, session: str, **headers: str) -> Reply:
        return await self.post(f"/v1/sessions/{session}/complete", b"", headers=headers)

    async def post(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self.call("POST", path, body, headers=headers)

    async def call(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        request = (
            self.http.request(method, self.base + path)
            .headers({"authorization": f"Bearer {self.token}", **(headers or {})})
            .body_bytes(body)
            .build()
        )
        response = await request.send()
        return Reply(response.status, dict(response.headers.items()), bytes(await response.bytes()))


@asynccontextmanager
async def running_proxy(settings: Settings) -> AsyncIterator[str]:
    """Its base address. The proxy's own port: two may run in one test."""
    port = free_port()
    server = http_server(Proxy(settings), settings, port)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def proxy_client(base: str, token: str) -> AsyncIterator[ProxyClient]:
    async with ClientBuilder().no_proxy().build() as http:
        yield ProxyClient(base, http, token)


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Ask again and again, for what nobody tells."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)


def session_name() -> str:
    return f"s-{new_id().hex[-8:]}"


class Recorded:
    """What the proxy stored for the agent."""

    def __init__(self, store: SessionStore, org_id: UUID, agent_id: UUID) -> None:
        self.store = store
        self.org_id = org_id
        self.agent_id = agent_id

    async def session(self, name: str) -> Session:
        found = await self.store.find_session(self.org_id, self.agent_id, None, name)
        assert found is not None
        return found

    async def turns(self, name: str) -> list[StoredTurn]:
        found = await self.store.find_session(self.org_id, self.agent_id, None, name)
        return await self.store.turns(self.org_id, found.id) if found else []

    async def turn_within(self, name: str, seconds: float = 10) -> StoredTurn:
        """For a turn that is stored after the client has gone."""
        found: list[StoredTurn] = []

        async def stored() -> bool:
            found[:] = await self.turns(name)
            return bool(found)

        await until(stored, seconds)
        return found[0]


async def connect(
    proxy: ProxyClient, session: str, said: str = "x"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request for a stream on a connection of its own."""
    host, _, port = proxy.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = orjson.dumps({"messages": [{"role": "user", "content": said}], "stream": True})
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        "connection: close",
        f"authorization: Bearer {proxy.token}",
        f"x-ibex-session-id: {session}",
        f"content-length: {len(body)}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    return reader, writer


async def read_raw(proxy: ProxyClient, session: str) -> bytes:
    reader, writer = await connect(proxy, session)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
