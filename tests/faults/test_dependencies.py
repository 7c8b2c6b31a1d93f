"""What requests need besides PostgreSQL dies, hangs, is slow or forgets: they are answered, with as
much memory as there is, and recorded. (A killed or frozen assembler: test_proxy.py.)"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from hotpath.assembler.server import running
from ibex.access_tokens import AccessToken
from ibex.embedded import servers
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.conftest import free_port
from tests.faults.relay import Relay
from tests.proxying import (
    ProxyClient,
    Recorded,
    Reply,
    ScriptedUpstream,
    proxy_client,
    running_proxy,
    until,
)
from tests.seeding import add_memory

HOST = "The database host is db.smoketest.example.com."
QUESTION = "What database host should I use?"


@asynccontextmanager
async def in_service(settings: Settings, token: AccessToken) -> AsyncIterator[ProxyClient]:
    """Assembler and proxy in this loop."""
    async with (
        running(settings),
        running_proxy(settings) as base,
        proxy_client(base, token.text) as proxy,
    ):
        yield proxy


async def assert_remembered(
    reply: Reply, upstream: ScriptedUpstream, recorded: Recorded, turns: int = 1
) -> None:
    assert reply.status == 200
    assert reply.headers["x-ibex-context-fallback"] == "false"
    assert reply.headers["x-ibex-memories-injected"] == "1"
    sent = upstream.arrived[-1].messages
    assert any(HOST in one["content"] for one in sent)
    stored = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert len(stored) == turns
    assert stored[-1].messages == ({"role": "user", "content": QUESTION},)
    assert stored[-1].complete


@pytest.mark.parametrize("silent", [False, True], ids=["dead", "frozen"])
async def test_without_the_embedder_memories_are_found_by_words(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    database: Database,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
    silent: bool,
) -> None:
    await add_memory(database, recorded.org_id, recorded.agent_id, HOST)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = proxy_settings.model_copy(update={"embedder_url": address})
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", port)
    if not silent:
        server.close()
    async with in_service(settings, token) as proxy:
        await assert_remembered(await proxy.chat(QUESTION), upstream, recorded)
    assert bool(held) is silent
    for writer in held:
        writer.close()
    server.close()


async def test_a_slow_assembler_costs_the_memories_and_not_the_request(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    relay: Relay,
    identity: IdentityStore,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    await identity.set_directive(recorded.org_id, recorded.agent_id, "Be brief.")
    settings = proxy_settings.model_copy(
        update={"assembler_address": relay.address, "assembly_timeout_ms": 500.0}
    )
    async with (
        running(proxy_settings),
        running_proxy(settings) as base,
        proxy_client(base, token.text) as proxy,
    ):

        async def assembles() -> bool:
            reply = await proxy.chat(QUESTION)
            assert reply.status == 200
            return reply.headers["x-ibex-context-fallback"] == "false"

        await until(assembles)
        relay.hold()
        reply = await proxy.chat(QUESTION)
        assert reply.status == 200
        assert reply.headers["x-ibex-context-fallback-reason"] == "timeout"
        sent = [one["content"] for one in upstream.arrived[-1].messages]
        assert sent == ["Be brief.", QUESTION]
        (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
        assert turn.messages == ({"role": "user", "content": QUESTION},)
        relay.release()  # what it says now is about requests that are over
        await until(assembles)


async def test_redis_dies_comes_back_empty_and_is_flushed(
    proxy_settings: Settings,
    tmp_path: Path,
    database: Database,
    identity: IdentityStore,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    org_id, agent_id = recorded.org_id, recorded.agent_id
    await add_memory(database, org_id, agent_id, HOST)
    settings = proxy_settings.model_copy(
        update={
            "redis_port": free_port(),
            "home": tmp_path,
            "embedder_url": f"http://127.0.0.1:{free_port()}",
            "retrieval_deadline_ms": 5_000.0,
        }
    )
    other = await identity.create_token(org_id, "other", agent_id=agent_id)
    client = redis.asyncio.Redis.from_url(settings.redis_dsn)

    async def ask_and_check(proxy: ProxyClient) -> None:
        await assert_remembered(await proxy.chat(QUESTION), upstream, recorded)

    async with own_redis(settings) as first, in_service(settings, token) as proxy:
        await ask_and_check(proxy)
        await client.flushall()
        await ask_and_check(proxy)

        proxy.token = other.text
        await ask_and_check(proxy)
        first.kill()
        await first.wait()
        await ask_and_check(proxy)
        # Nobody can be told of it; when Redis is back, nothing that was known is believed.
        await identity.revoke_token(org_id, other.id)
        async with own_redis(settings):

            async def refused() -> bool:
                return (await proxy.chat(QUESTION)).status == 401

            await until(refused)
            proxy.token = token.text
            await ask_and_check(proxy)
    await client.aclose()


@asynccontextmanager
async def own_redis(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server that this test may kill."""
    spec = servers.redis(settings)
    if spec.prepare:
        spec.prepare()
    process = await asyncio.create_subprocess_exec(
        *spec.command, env=spec.environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await until(spec.ready)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
