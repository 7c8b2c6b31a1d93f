"""The proxy on bad days: whatever dies, requests are answered and nothing acknowledged is lost."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from hotpath.assembler.server import running
from ibex.access_tokens import AccessToken
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.traces import open_clickhouse
from tests.conftest import free_port, service_env
from tests.proxying import (
    STREAM_HEAD,
    Arrived,
    ProxyClient,
    Recorded,
    ScriptedUpstream,
    chunk,
    connect,
    events,
    proxy_client,
    read_raw,
    running_proxy,
    session_name,
    until,
)


@pytest.fixture
def proxy_changes(proxy_changes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**proxy_changes, "assembly_timeout_ms": 300.0, "retrieval_deadline_ms": 40.0}


@asynccontextmanager
async def child(module: str, settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m module`, killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env={**os.environ, **service_env(settings)}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


async def test_a_frozen_or_dead_assembler_costs_the_memories_and_not_the_request(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    identity: IdentityStore,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    await identity.set_directive(recorded.org_id, recorded.agent_id, "Be brief.")
    settings = proxy_settings
    async with (
        child("hotpath.assembler", settings) as assembler,
        running_proxy(settings) as base,
        proxy_client(base, token.text) as proxy,
    ):

        async def assembles() -> bool:
            reply = await proxy.chat("x")
            assert reply.status == 200
            return reply.headers["x-ibex-context-fallback"] == "false"

        await until(assembles, 60)
        for blow, reason in ((signal.SIGSTOP, "timeout"), (signal.SIGKILL, "unavailable")):
            assembler.send_signal(blow)
            if blow == signal.SIGKILL:
                await assembler.wait()

            async def falls_back(reason: str = reason) -> bool:
                reply = await proxy.chat("x")
                assert reply.status == 200
                assert upstream.arrived[-1].messages[0]["content"] == "Be brief."
                assert len(await recorded.turns(reply.headers["x-ibex-session-id"])) == 1
                return reply.headers.get("x-ibex-context-fallback-reason") == reason

            await until(falls_back)
        # Whoever the proxy does not know yet is asked for in PostgreSQL.
        proxy.token = (await identity.create_token(recorded.org_id, "new")).text
        reply = await proxy.chat("x", headers={"x-ibex-agent-id": "assistant"})
        assert reply.status == 200
        reply = await proxy.chat("x", headers={"x-ibex-agent-id": "nobody"})
        assert (reply.status, reply.code) == (404, "agent_not_found")
        proxy.token = token.text[:-1]
        assert (await proxy.chat("x")).status == 401
        proxy.token = token.text
        async with child("hotpath.assembler", settings):
            await until(assembles, 60)


class Cable:
    """The connection to PostgreSQL, which can be cut."""

    def __init__(self, settings: Settings) -> None:
        url = make_url(settings.app_dsn)
        self._host, self._port = url.host or "", url.port or 0
        self.port = free_port()
        self.dsn = url.set(port=self.port).render_as_string(hide_password=False)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._pump(reader, to_server[1]), self._pump(to_server[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            return
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def cabled(settings: Settings, token: str) -> AsyncIterator[tuple[Cable, ProxyClient]]:
    cable = Cable(settings)
    await cable.plug()
    own = settings.model_copy(update={"database_url": cable.dsn})
    try:
        async with (
            running(settings),  # the assembler has a connection of its own
            running_proxy(own) as base,
            proxy_client(base, token) as proxy,
        ):
            yield cable, proxy
            await cable.cut()
    finally:
        await cable.cut()


async def test_without_postgresql_and_room_nothing_is_sent_that_could_not_be_kept(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    folder = proxy_settings.spool_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    async with cabled(proxy_settings, token.text) as (cable, proxy):
        assert (await proxy.chat("x")).status == 200
        folder.write_text("in the way")  # a disk that takes nothing
        await cable.cut()

        async def refused() -> bool:
            reply = await proxy.chat("x")
            return (reply.status, reply.code) == (503, "spool_full")

        await until(refused)
        asked = len(upstream.arrived)
        for headers in ({}, {"x-ibex-session-id": "s-1"}, {"x-ibex-user-id": "u-1"}):
            reply = await proxy.chat("x", headers=headers)
            assert (reply.status, reply.code) == (503, "spool_full")
            assert reply.headers["retry-after"] == "1"
        assert len(upstream.arrived) == asked
        ready = await proxy.call("GET", "/ready")
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert (ready.json["checks"]["postgres"], ready.json["checks"]["spool"]) == (False, False)
        # Who wants nothing recorded needs no PostgreSQL.
        assert (await proxy.chat("x", headers={"x-ibex-memory": "off"})).status == 200

        await cable.plug()

        async def served() -> bool:
            return (await proxy.chat("x")).status == 200

        await until(served)
        reply = await proxy.chat("x")
        assert len(await recorded.turns(reply.headers["x-ibex-session-id"])) == 1
    folder.unlink()


async def test_the_end_is_withheld_when_the_turn_cannot_be_kept(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    go_on = asyncio.Event()
    first, *rest = events("one", "two")

    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(first))
        await go_on.wait()
        writer.write(b"".join(map(chunk, rest)) + b"0\r\n\r\n")

    upstream.script = script
    folder = proxy_settings.spool_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    async with cabled(proxy_settings, token.text) as (cable, proxy):
        name = session_name()
        reading = asyncio.create_task(read_raw(proxy, name))

        async def arrived() -> bool:
            return bool(upstream.arrived)

        await until(arrived)
        folder.write_text("in the way")
        await cable.cut()
        go_on.set()
        got = await reading
        assert b"two" in got
        assert b"[DONE]" not in got
        assert not got.endswith(b"0\r\n\r\n")
        assert await recorded.turns(name) == []

        # With room on the disk, a break in the middle of the commit loses nothing.
        folder.unlink()
        await cable.plug()
        name = session_name()
        go_on.clear()
        asked = len(upstream.arrived)

        async def begun() -> bool:
            ready = await proxy.call("GET", "/ready")
            return bool(ready.json["checks"]["postgres"] and ready.json["checks"]["spool"])

        await until(begun)
        reading = asyncio.create_task(read_raw(proxy, name))

        async def arrived_again() -> bool:
            return len(upstream.arrived) > asked

        await until(arrived_again)
        await cable.cut()
        go_on.set()
        assert b"[DONE]" in await reading
        assert await recorded.turns(name) == []
        await cable.plug()
        assert (await recorded.turn_within(name)).complete
        assert len(await recorded.turns(name)) == 1


async def test_a_proxy_that_is_stopped_finishes_what_it_has_begun(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    clickhouse_server: ProcessSpec,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    go_on = asyncio.Event()
    text = events("one", "two")

    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(text[0]))
        await go_on.wait()
        writer.write(b"".join(map(chunk, text[1:])) + b"0\r\n\r\n")

    upstream.script = script
    settings = proxy_settings.model_copy(update={"proxy_workers": 2})
    base = f"http://127.0.0.1:{settings.proxy_port}"
    async with child("hotpath.proxy", settings) as process, proxy_client(base, token.text) as proxy:

        async def alive() -> bool:
            return await http_ok(f"{base}/health")

        await until(alive, 60)
        name = session_name()
        reader, writer = await connect(proxy, name)
        await reader.readuntil(b"one")
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        go_on.set()
        got = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert b"[DONE]" in got
        assert got.endswith(b"0\r\n\r\n")
        assert await asyncio.wait_for(process.wait(), 30) == 0
    (turn,) = await recorded.turns(name)
    assert turn.complete

    def traced() -> list[object]:
        client = open_clickhouse(settings)
        try:
            answer = client.query(
                "SELECT status, stream, complete, model, fallback_reason, token_id, session_id,"
                " total_ms >= ttfb_ms FROM ibex.traces WHERE request_id = {id:String}",
                parameters={"id": turn.request_id},
            )
            return list(answer.result_rows[0])
        finally:
            client.close()

    session = await recorded.session(name)
    assert await asyncio.to_thread(traced) == [
        200,
        True,
        True,
        "gpt-4o-mini",
        "unavailable",
        token.id,
        session.id,
        True,
    ]
