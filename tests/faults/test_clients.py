"""Clients that send too much, send nonsense, go away, or never go."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from hotpath.assembler.server import running
from ibex.access_tokens import AccessToken
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.postgres import Database
from tests.conftest import service_env
from tests.faults.relay import Relay
from tests.peer import Peer, Script, says, takes_nothing
from tests.proxying import (
    STREAM_HEAD,
    Arrived,
    ProxyClient,
    Recorded,
    ScriptedUpstream,
    chunk,
    completion,
    connect,
    events,
    proxy_client,
    running_proxy,
    session_name,
    until,
    whole,
)

CROWD = 1_100
AT_ONCE = 5.0  # seconds, against never: a provider would go on for minutes
OF_REQUESTS = ("RequestResponseCycle.", "ChatCompletions.", "Recorder.", "_disconnected")


@pytest.fixture
async def proxy(
    proxy_settings: Settings, redis_server: ProcessSpec, relay: Relay, token: AccessToken
) -> AsyncIterator[ProxyClient]:
    """With an assembler that `relay` can hold up."""
    settings = proxy_settings.model_copy(update={"assembler_address": relay.address})
    async with (
        running(proxy_settings),
        running_proxy(settings) as base,
        proxy_client(base, token.text) as proxy,
    ):
        yield proxy


async def count_turns(database: Database, org_id: UUID) -> int:
    async with database.tenant(org_id) as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM ibex_core.session_turns WHERE org_id = $1", org_id
        )
    return count


# --- too much, or nonsense ---


async def test_ten_megabytes_pass_and_are_recorded(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    text = "A long letter about the harbour. " * (10 * 2**20 // 33)
    reply = await proxy.chat(text)
    assert reply.status == 200
    assert upstream.arrived[-1].messages[-1]["content"] == text
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert turn.messages == ({"role": "user", "content": text},)


async def test_nonsense_is_refused_and_goes_nowhere(
    proxy: ProxyClient,
    upstream: ScriptedUpstream,
    database: Database,
    recorded: Recorded,
) -> None:
    said = b'{"messages": [{"role": "user", "content": %s}]}'
    for content in (
        b"[" * 100_000 + b"]" * 100_000,  # deeper than any reader goes
        b"[" * 500 + b"]" * 500,  # deeper than the writer goes
        b'"\xff\xfe"',  # not UTF-8
        b'"\xed\xa0\x80"',  # a half pair
        b'"\\ud800"',  # the same, escaped
        b"NaN",
        b'"no end',
    ):
        reply = await proxy.post("/v1/chat/completions", said % content)
        assert (reply.status, reply.code) == (400, "invalid_request"), content[:20]
    assert upstream.arrived == []
    assert (await proxy.chat("x")).status == 200
    assert await count_turns(database, recorded.org_id) == 1


# --- those who go away ---


async def test_who_leaves_in_the_middle_of_the_body_is_nobody(
    proxy: ProxyClient, upstream: ScriptedUpstream, database: Database, recorded: Recorded
) -> None:
    host, _, port = proxy.base.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        f"authorization: Bearer {proxy.token}",
        "content-length: 1000",
    ]
    writer.write("\r\n".join([*lines, "", '{"messages"']).encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await proxy.chat("x")).status == 200
    assert len(upstream.arrived) == 1
    assert await count_turns(database, recorded.org_id) == 1


async def test_who_leaves_before_the_context_has_come_is_not_asked_for(
    proxy: ProxyClient,
    relay: Relay,
    upstream: ScriptedUpstream,
    database: Database,
    recorded: Recorded,
) -> None:
    assert (await proxy.chat("first")).status == 200  # the proxy knows the caller now
    relay.hold()
    before = relay.arrived
    _, writer = await connect(proxy, session_name())

    async def asked() -> bool:
        return relay.arrived > before

    await until(asked)
    writer.close()
    await writer.wait_closed()
    last = asyncio.create_task(proxy.chat("last"))
    relay.release()
    assert (await last).status == 200
    said = [one.messages[-1]["content"] for one in upstream.arrived]
    assert said == ["first", "last"]
    assert await count_turns(database, recorded.org_id) == 2


async def test_who_leaves_while_the_turn_is_stored_has_it_stored(
    proxy: ProxyClient, upstream: ScriptedUpstream, database: Database, recorded: Recorded
) -> None:
    name = session_name()
    answered = asyncio.Event()

    async def script(arrived: Arrived, writer: asyncio.StreamWriter) -> None:
        await whole(completion("Kept."))(arrived, writer)
        answered.set()

    upstream.script = script
    async with database.tenant(recorded.org_id) as connection:
        # Reading goes on, writing waits.
        await connection.execute("LOCK TABLE ibex_core.session_turns IN SHARE MODE")
        _, writer = await connect(proxy, name)
        await answered.wait()

        async def waits() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted"
                    " AND relation = 'ibex_core.session_turns'::regclass"
                )
            )

        await until(waits)
        writer.close()
        await writer.wait_closed()
    turn = await recorded.turn_within(name)
    assert turn.response is not None
    assert turn.response["content"] == "Kept."
    assert turn.complete


PART = events("Half an", finish=None, done=False)[0]
LEAVING: dict[str, tuple[Script, str, str | None]] = {
    "while the provider takes the request": (takes_nothing, "x" * 10 * 2**20, None),
    "before the provider's head": (says(b""), "x", None),
    "in the head": (says(b"HTTP/1.1 200 OK\r\nx: "), "x", None),
    "between head and first event": (says(STREAM_HEAD), "x", None),
    "in the middle of an event": (says(STREAM_HEAD + chunk(PART[:9])), "x", None),
    "in the middle of the stream": (says(STREAM_HEAD + chunk(PART)), "x", "Half an"),
}


@pytest.mark.parametrize("phase", LEAVING)
async def test_who_leaves_takes_the_provider_along(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    token: AccessToken,
    recorded: Recorded,
    phase: str,
) -> None:
    script, said, heard = LEAVING[phase]
    async with Peer(script).serving(buffer=4096) as peer:
        settings = proxy_settings.model_copy(
            update={"provider_base_url": f"http://127.0.0.1:{peer.port}/v1"}
        )
        async with (
            running(settings),
            running_proxy(settings) as base,
            proxy_client(base, token.text) as proxy,
        ):
            before = working()
            name = session_name()
            reader, writer = await connect(proxy, name, said)

            async def asked() -> bool:
                return bool(peer.visits and (peer.requests or script is takes_nothing))

            await until(asked, 30)
            (visit,) = peer.visits
            await asyncio.sleep(0.05)  # what the provider said has come to the proxy
            if heard:
                await reader.readuntil(heard.encode())
            assert not visit.gone.is_set()
            writer.close()
            await asyncio.wait_for(visit.gone.wait(), AT_ONCE)
            turn = await recorded.turn_within(name)
            assert turn.messages == ({"role": "user", "content": said},)
            assert turn.response == (heard and {"role": "assistant", "content": heard})
            assert not turn.complete

            async def quiet() -> bool:
                return working() <= before

            await until(quiet)
            assert len(peer.visits) == 1


def working() -> set[str]:
    """What runs in this loop for requests: the proxy's own, and its server's."""
    return {
        name
        for task in asyncio.all_tasks()
        if (name := getattr(task.get_coro(), "__qualname__", "")).startswith(OF_REQUESTS)
    }


# --- those who never go ---


@asynccontextmanager
async def proxy_process(settings: Settings) -> AsyncIterator[str]:
    """A proxy as a shell starts it: with 1,024 open files at most, unless it asks for more."""
    base = f"http://127.0.0.1:{settings.proxy_port}"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"ulimit -Sn 1024; exec {sys.executable} -m hotpath.proxy"),
        env=service_env(settings),
    )
    try:

        async def alive() -> bool:
            return await http_ok(f"{base}/health")

        await until(alive, 60)
        yield base
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
def many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this user may not have 4,096 files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_idle_connections_are_in_nobodys_way(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    async with proxy_process(proxy_settings) as base, proxy_client(base, token.text) as proxy:
        crowd = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", proxy_settings.proxy_port) for _ in range(CROWD))
        )

        async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(b'{"status":"ok"}'))
            return head.startswith(b"HTTP/1.1 200")

        try:
            assert all(await asyncio.gather(*(healthy(*one) for one in crowd)))
            reply = await proxy.chat("x")
            assert reply.status == 200
            assert len(await recorded.turns(reply.headers["x-ibex-session-id"])) == 1
            assert all(await asyncio.gather(*(healthy(*one) for one in crowd)))
        finally:
            for _, writer in crowd:
                writer.close()
            await asyncio.gather(
                *(writer.wait_closed() for _, writer in crowd), return_exceptions=True
            )
