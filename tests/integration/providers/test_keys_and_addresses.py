"""Whose key goes where, and which addresses a provider may have."""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

import orjson
import pytest

from hotpath.proxy.providers import connector
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.providers.asking import (
    SECOND,
    Agents,
    failing,
    hangs_up,
    running,
)
from tests.proxying import (
    ProxyClient,
    ScriptedUpstream,
    completion,
    whole,
)


async def test_a_callers_own_key_goes_to_the_agents_provider_only_and_is_kept_nowhere(
    proxy: ProxyClient,
    agents: Agents,
    upstream: ScriptedUpstream,
    second: ScriptedUpstream,
    database: Database,
    org_id: UUID,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-the-callers-own"
    headers = {"x-ibex-provider-key": key, **await agents.named(fallbacks=[SECOND], retries=1)}
    assert (await proxy.chat("x", headers=headers)).status == 200
    assert upstream.arrived[0].headers["authorization"] == f"Bearer {key}"
    for script in (hangs_up, failing(500)):
        upstream.script = script
        reply = await proxy.chat("x", headers=headers)
        assert reply.status in (500, 502)
    assert second.arrived == []
    for one in upstream.arrived:
        assert "x-ibex-provider-key" not in one.headers
        assert key.encode() not in one.raw
    wrong = headers | {"x-ibex-provider-key": "two words"}
    reply = await proxy.chat("x", headers=wrong)
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert b"two words" not in reply.body
    async with database.tenant(org_id) as connection:
        for table in ("sessions", "session_turns", "agents"):
            rows = await connection.fetch(f"SELECT * FROM ibex_core.{table}")  # noqa: S608  no input
            assert key not in str([dict(row) for row in rows])
    assert key not in caplog.text


async def test_a_redirect_is_the_clients_to_see_and_takes_no_key_anywhere(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.script = whole(b"", 307, location=f"{second.url}/chat/completions")
    request = (
        proxy.http.post(f"{proxy.base}/v1/models/../models")  # what a client cannot do either
        .headers({"authorization": f"Bearer {proxy.token}"})
        .build()
    )
    assert (await request.send()).status == 405
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.base.rsplit(":", 1)[1]))
    body = orjson.dumps({"messages": [{"role": "user", "content": "x"}]})
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        "connection: close",
        f"authorization: Bearer {proxy.token}",
        f"x-ibex-agent-id: {(await agents.named())['x-ibex-agent-id']}",
        f"content-length: {len(body)}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 307")
    assert second.arrived == []


async def test_a_name_that_leads_into_the_private_network_is_refused_unless_it_is_meant(
    proxy_settings: Settings,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_names(monkeypatch, "127.0.0.1")
    named = f"http://model.test:{upstream.port}/v1"
    settings = proxy_settings.model_copy(update={"provider_base_url": named})
    agent, patient = await agents.named(retries=2), await agents.named(fallbacks=[SECOND])
    async with running(settings, identity, org_id) as proxy:
        reply = await proxy.chat("x", headers=agent)
        assert (reply.status, reply.code) == (502, "provider_address_refused")
        assert (await proxy.chat("x", headers=patient)).body == completion("Second.")
    assert upstream.arrived == []
    meant = settings.model_copy(update={"provider_allow_private": True})
    async with running(meant, identity, org_id) as proxy:
        assert (await proxy.chat("x", headers=agent)).status == 200
    (arrived,) = upstream.arrived
    assert arrived.headers["host"] == f"model.test:{upstream.port}"


async def test_the_connection_goes_to_the_address_that_was_checked_and_to_another_when_it_is_dead(
    proxy_settings: Settings,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = resolve_names(monkeypatch, "127.0.0.9", "127.0.0.1")  # nobody listens at the first
    settings = proxy_settings.model_copy(
        update={
            "provider_base_url": f"http://model.test:{upstream.port}/v1",
            "provider_allow_private": True,
        }
    )
    agent = await agents.named()
    async with running(settings, identity, org_id) as proxy:
        for _ in range(3):
            assert (await proxy.chat("x", headers=agent)).status == 200
        assert len(upstream.arrived) == 3
        assert asked == ["model.test"] * 2
        # A connection that is lost is no address that is dead: the request may have been read.
        upstream.script = hangs_up
        assert (await proxy.chat("x", headers=agent)).code == "provider_unavailable"
        assert len(upstream.arrived) == 4


def resolve_names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Every name has these addresses, for the proxy's own resolver alone; gives what was asked."""
    real, asked = connector.resolve, []

    async def resolve(host: str, port: int, *, allow_private: bool, limit: float) -> Sequence[str]:
        asked.append(host)
        found = [
            await real(one, port, allow_private=allow_private, limit=limit) for one in addresses
        ]
        return [one for part in found for one in part]

    monkeypatch.setattr(connector, "resolve", resolve)
    return asked
