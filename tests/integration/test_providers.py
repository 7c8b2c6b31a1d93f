"""The proxy among several providers, and what it passes through."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
import pytest
import redis.asyncio
from backports import zstd
from pydantic import SecretStr

from hotpath.proxy.providers import connector
from ibex.ids import new_id
from ibex.policy import Fallback
from ibex.providers import ProviderSettings
from ibex.rate_limits import Limits
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.limits import LimitStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from tests.conftest import free_port
from tests.proxying import (
    STREAM_HEAD,
    Arrived,
    ProxyClient,
    Recorded,
    Reply,
    Script,
    ScriptedUpstream,
    chunk,
    completion,
    events,
    head,
    proxy_client,
    running_proxy,
    streamed,
    until,
    whole,
)

SECOND_KEY = "sk-of-the-second"
SECOND = Fallback("second", "m2")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream().running() as upstream:
        yield upstream


@pytest.fixture
async def second() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream().running() as upstream:
        upstream.script = whole(completion("Second."))
        yield upstream


@pytest.fixture
def proxy_settings(
    settings: Settings, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> Settings:
    return settings.model_copy(
        update={
            "provider_base_url": upstream.url,
            "provider_api_key": SecretStr("sk-of-the-first"),
            "providers": {
                "second": ProviderSettings(base_url=second.url, api_key=SecretStr(SECOND_KEY))
            },
            "upstream_idle_timeout": 1.0,
            "assembly_timeout_ms": 5_000.0,
            "retrieval_deadline_ms": 1_000.0,
            "provider_circuit_failures": 1_000,
        }
    )


@pytest.fixture
async def proxy(
    proxy_settings: Settings, assembler_server: Settings, identity: IdentityStore, org_id: UUID
) -> AsyncIterator[ProxyClient]:
    async with running(proxy_settings, identity, org_id) as client:
        yield client


@asynccontextmanager
async def running(
    settings: Settings, identity: IdentityStore, org_id: UUID
) -> AsyncIterator[ProxyClient]:
    """With a token for every agent of the organization."""
    token = await identity.create_token(org_id, "app")
    async with running_proxy(settings) as base, proxy_client(base, token.text) as client:
        yield client


class Agents:
    def __init__(self, identity: IdentityStore, org_id: UUID) -> None:
        self._identity = identity
        self._org_id = org_id

    async def named(self, **policy: Any) -> dict[str, str]:
        """The header that names a new agent with this policy."""
        agent_id = await self._identity.create_agent(self._org_id, f"a-{new_id()}", **policy)
        return {"x-ibex-agent-id": str(agent_id)}


@pytest.fixture
def agents(identity: IdentityStore, org_id: UUID) -> Agents:
    return Agents(identity, org_id)


async def hangs_up(_: Arrived, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hangs(_: Arrived, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


def sends(data: bytes) -> Script:
    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


def in_turn(*scripts: Script) -> Script:
    """One for each request, the last one for all that follow."""
    left = list(scripts)

    async def script(request: Arrived, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return script


def failing(status: int, **headers: str | int) -> Script:
    return whole(orjson.dumps({"error": {"message": f"first {status}"}}), status, **headers)


TRUNCATED = sends(head(content_length=100) + b"{")
FAILURES: dict[str, Script] = {
    "hangs up": hangs_up,
    "hangs": hangs,
    "garbage": sends(b"garbage\r\n\r\n"),
    "truncates": TRUNCATED,
    "begins no stream": sends(STREAM_HEAD),
    "429": failing(429, retry_after=60),
    "500": failing(500),
    "502": failing(502),
    "503": failing(503, retry_after=60),
    "504": failing(504),
}


# --- fallbacks ---


@pytest.mark.parametrize("failure", sorted(FAILURES))
@pytest.mark.parametrize("stream", [False, True])
async def test_the_second_provider_answers_when_the_first_fails_before_its_first_byte(
    proxy: ProxyClient,
    agents: Agents,
    upstream: ScriptedUpstream,
    second: ScriptedUpstream,
    database: Database,
    org_id: UUID,
    failure: str,
    stream: bool,
) -> None:
    agent = await agents.named(fallbacks=[SECOND], allowed_models=["m"])
    upstream.script = FAILURES[failure]
    if stream:
        second.script = streamed(events("Second."))
    reply = await proxy.chat("x", headers=agent, stream=stream, seed=7)
    assert reply.status == 200
    assert reply.body == (b"".join(events("Second.")) if stream else completion("Second."))
    assert reply.headers["x-ibex-provider"] == "second"
    (arrived,) = second.arrived
    assert arrived.headers["authorization"] == f"Bearer {SECOND_KEY}"
    assert (arrived.body["model"], arrived.body["seed"]) == ("m2", 7)
    assert [one.headers["authorization"] for one in upstream.arrived] == ["Bearer sk-of-the-first"]
    recorded = Recorded(SessionStore(database), org_id, UUID(agent["x-ibex-agent-id"]))
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert (turn.model, turn.complete) == ("m2", True)


async def test_a_provider_that_refuses_connections_is_passed_over(
    proxy_settings: Settings,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    settings = proxy_settings.model_copy(update={"provider_base_url": nobody})
    async with running(settings, identity, org_id) as proxy:
        reply = await proxy.chat("x", headers=await agents.named(fallbacks=[SECOND]))
        assert (reply.status, reply.body) == (200, completion("Second."))
        reply = await proxy.chat("x", headers=await agents.named(retries=1))
        assert (reply.status, reply.code) == (502, "provider_unavailable")


async def test_the_first_failure_is_the_answer_when_nothing_is_left(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    agent = await agents.named(fallbacks=[SECOND])
    upstream.script = failing(429, retry_after=30, x_ratelimit_remaining_tokens=0)
    second.script = failing(500)
    reply = await proxy.chat("x", headers=agent)
    assert (reply.status, reply.json) == (429, {"error": {"message": "first 429"}})
    assert reply.headers["retry-after"] == "30"
    assert reply.headers["x-ratelimit-remaining-tokens"] == "0"
    assert reply.headers["x-ibex-provider"] == "default"
    assert len(second.arrived) == 1
    upstream.script = hangs_up
    reply = await proxy.chat("x", headers=agent)
    assert (reply.status, reply.code) == (502, "provider_unavailable")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_the_request_is_to_blame_for_is_not_asked_again(
    proxy: ProxyClient,
    agents: Agents,
    upstream: ScriptedUpstream,
    second: ScriptedUpstream,
    status: int,
) -> None:
    upstream.script = failing(status)
    reply = await proxy.chat("x", headers=await agents.named(fallbacks=[SECOND], retries=3))
    assert reply.status == status
    assert (len(upstream.arrived), len(second.arrived)) == (1, 0)


async def test_after_the_first_byte_nobody_else_is_asked(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    agent = await agents.named(fallbacks=[SECOND], retries=3)
    part = events("Half", finish=None, done=False)[0]
    upstream.script = sends(STREAM_HEAD + chunk(part))
    with pytest.raises(Exception):  # noqa: B017, PT011  the client's own way to say: broken off
        await proxy.chat("x", headers=agent, stream=True)
    assert (len(upstream.arrived), len(second.arrived)) == (1, 0)


async def test_an_agents_own_provider_is_asked_first(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream
) -> None:
    reply = await proxy.chat("x", headers=await agents.named(provider="second"))
    assert (reply.headers["x-ibex-provider"], reply.body) == ("second", completion("Second."))
    assert upstream.arrived == []
    reply = await proxy.chat("x", headers=await agents.named(provider="gone"))
    assert (reply.status, reply.code) == (502, "provider_not_configured")
    fallback = await agents.named(provider="gone", fallbacks=[SECOND], retries=5)
    assert (await proxy.chat("x", headers=fallback)).body == completion("Second.")


async def test_a_slow_first_byte_is_given_up_as_the_policy_says(
    proxy_settings: Settings,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
    upstream: ScriptedUpstream,
) -> None:
    upstream.script = hangs
    settings = proxy_settings.model_copy(update={"upstream_idle_timeout": 60.0})
    async with running(settings, identity, org_id) as proxy:
        agent = await agents.named(fallbacks=[SECOND], first_byte_timeout=0.2)
        assert (await proxy.chat("x", headers=agent)).body == completion("Second.")
        reply = await proxy.chat("x", headers=await agents.named(first_byte_timeout=0.2))
        assert (reply.status, reply.code) == (504, "provider_timeout")


async def test_a_changed_policy_and_a_suspended_agent_hold_at_once(
    proxy: ProxyClient,
    agents: Agents,
    identity: IdentityStore,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
) -> None:
    agent = await agents.named()
    agent_id = UUID(agent["x-ibex-agent-id"])
    assert (await proxy.chat("x", headers=agent)).headers["x-ibex-provider"] == "default"

    async def change(columns: dict[str, Any], policy: dict[str, Any]) -> None:
        await identity.change_agent(org_id, agent_id, columns, policy)
        await Invalidations(redis_client).agent_changed(org_id, agent_id)

    await change({}, {"provider": "second"})

    async def moved() -> bool:
        reply = await proxy.chat("x", headers=agent)
        return reply.headers["x-ibex-provider"] == "second"

    await until(moved, 1)
    await change({"status": "suspended"}, {})

    async def refused() -> bool:
        return (await proxy.chat("x", headers=agent)).status == 403

    await until(refused, 1)


# --- retries ---


@pytest.mark.parametrize("failure", ["500", "hangs up", "truncates"])
async def test_a_failed_try_is_repeated(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream, failure: str
) -> None:
    upstream.script = in_turn(FAILURES[failure], FAILURES[failure], whole(completion()))
    reply = await proxy.chat("x", headers=await agents.named(retries=2))
    assert (reply.status, reply.body) == (200, completion())
    assert len({one.raw for one in upstream.arrived}) == 1
    assert len(upstream.arrived) == 3


async def test_tries_have_an_end_and_a_long_wait_is_the_clients(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream
) -> None:
    agent = await agents.named(retries=2)
    upstream.script = failing(503)
    assert (await proxy.chat("x", headers=agent)).status == 503
    assert len(upstream.arrived) == 3
    upstream.script = failing(429, retry_after=60)
    assert (await proxy.chat("x", headers=agent)).headers["retry-after"] == "60"
    assert len(upstream.arrived) == 4
    upstream.script = in_turn(failing(429, retry_after_ms=10), whole(completion()))
    assert (await proxy.chat("x", headers=agent)).status == 200
    upstream.script = failing(500)
    assert (await proxy.chat("x", headers=await agents.named())).status == 500
    assert len(upstream.arrived) == 7


# --- the circuit ---


async def test_a_provider_that_keeps_failing_is_left_alone_and_comes_back(
    proxy_settings: Settings,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
    upstream: ScriptedUpstream,
) -> None:
    settings = proxy_settings.model_copy(
        update={"provider_circuit_failures": 2, "provider_circuit_pause": 2.0}
    )
    agent, patient = await agents.named(), await agents.named(fallbacks=[SECOND])
    async with running(settings, identity, org_id) as proxy:

        async def checks() -> dict[str, bool]:
            value: dict[str, bool] = (await proxy.call("GET", "/ready")).json["checks"]
            return value

        upstream.script = failing(500)
        for _ in range(3):  # one caller's request may bring this about
            assert (await proxy.chat("x", headers=agent)).status == 500
        upstream.script = hangs_up
        for _ in range(2):
            assert (await proxy.chat("x", headers=agent)).code == "provider_unavailable"
        arrived = len(upstream.arrived)
        reply = await proxy.chat("x", headers=agent)
        assert (reply.status, reply.code) == (503, "provider_paused")
        assert 1 <= int(reply.headers["retry-after"]) <= 2
        assert (await proxy.chat("x", headers=patient)).body == completion("Second.")
        assert len(upstream.arrived) == arrived
        found = await checks()
        assert (found["provider:default"], found["provider:second"]) == (False, True)

        upstream.script = whole(completion())

        async def answers() -> bool:
            return (await proxy.chat("x", headers=agent)).status == 200

        await until(answers)
        assert (await checks())["provider:default"] is True


# --- keys and addresses ---


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


# --- what passes through ---


async def test_models_embeddings_and_completions_pass_untouched_and_leave_nothing_behind(
    proxy: ProxyClient,
    agents: Agents,
    identity: IdentityStore,
    upstream: ScriptedUpstream,
    database: Database,
    org_id: UUID,
) -> None:
    agent = await agents.named()
    await identity.set_directive(org_id, UUID(agent["x-ibex-agent-id"]), "Be brief.")
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    answer = orjson.dumps({"data": [{"embedding": [0.5]}], "usage": usage}) + b" \n"
    upstream.script = whole(answer, openai_processing_ms=5, x_ratelimit_limit_requests=9)
    raw = b'{ "input":"x",\n"model" : "e", "messages": 1 }'
    for path, body in (("/v1/embeddings", raw), ("/v1/completions", raw)):
        reply = await proxy.post(
            path,
            body,
            headers={"openai-organization": "o", "openai-project": "p", "te": "x", **agent},
        )
        assert (reply.status, reply.body) == (200, answer)
        assert reply.headers["x-ibex-provider"] == "default"
        assert reply.headers["openai-processing-ms"] == "5"
        assert reply.headers["x-ratelimit-limit-requests"] == "9"
        arrived = upstream.arrived[-1]
        assert (arrived.path, arrived.raw) == (path, body)
        assert arrived.headers["authorization"] == "Bearer sk-of-the-first"
        assert arrived.headers["openai-organization"] == "o"
        assert arrived.headers["openai-project"] == "p"
        assert "te" not in arrived.headers
    for path in ("/v1/models", "/v1/models/a", "/v1/models/org%2Fa", "/v1/models/org/a?x=1&y="):
        reply = await proxy.call("GET", path, headers=agent)
        assert (reply.status, reply.body) == (200, answer)
        assert (upstream.arrived[-1].path, upstream.arrived[-1].raw) == (path, b"")
    async with database.tenant(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ibex_core.sessions") == 0


async def test_a_stream_of_completions_passes_byte_for_byte(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream
) -> None:
    lines = [b'data: {"choices":[{"text":"Gr\xc3', b'\xbc\xc3\x9fe"}]}\n\n', b"data: [DONE]\n\n"]
    upstream.script = streamed(lines)
    body = orjson.dumps({"model": "m", "prompt": "x", "stream": True})
    reply = await proxy.post("/v1/completions", body, headers=await agents.named())
    assert reply.body == b"".join(lines)
    assert reply.headers["content-type"] == "text/event-stream"


async def test_what_passes_through_is_held_to_token_agent_and_policy(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    agent = await agents.named(allowed_models=["m"], fallbacks=[SECOND])
    for path in ("/v1/embeddings", "/v1/completions"):
        for fields, status, code in (
            ({"model": "other"}, 403, "model_not_allowed"),
            ({}, 400, "invalid_request"),
            ({"model": 3}, 400, "invalid_request"),
            ([], 400, "invalid_request"),
        ):
            reply = await proxy.post(path, orjson.dumps(fields), headers=agent)
            assert (reply.status, reply.code) == (status, code)
        assert (await proxy.call("GET", path, headers=agent)).headers["allow"] == "POST"
        assert (await proxy.post(f"{path}/x", b"{}", headers=agent)).status == 404
        assert (await proxy.post(path, b"{}")).status == 400  # names no agent
    assert (await proxy.post("/v1/models", b"", headers=agent)).headers["allow"] == "GET"
    assert upstream.arrived == []
    upstream.script = failing(500)
    body = orjson.dumps({"model": "m", "prompt": "x"})
    reply = await proxy.post("/v1/completions", body, headers=agent)
    assert reply.headers["x-ibex-provider"] == "second"
    assert second.arrived[-1].body == {"model": "m2", "prompt": "x"}
    # Another model's vectors would be worse than none.
    reply = await proxy.post("/v1/embeddings", body, headers=agent)
    assert (reply.status, len(second.arrived)) == (500, 1)
    proxy.token = "x"
    assert (await proxy.call("GET", "/v1/models", headers=agent)).status == 401


async def test_what_passes_through_counts_for_the_limits(
    proxy: ProxyClient, agents: Agents, database: Database, org_id: UUID
) -> None:
    body = orjson.dumps({"model": "m", "prompt": "x", "input": "x"})
    for method, path in (
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
    ):
        agent = await agents.named()
        await LimitStore(database).set_agent(
            org_id, UUID(agent["x-ibex-agent-id"]), Limits(requests=1)
        )
        sent = body if method == "POST" else b""
        assert (await proxy.call(method, path, sent, headers=agent)).status == 200
        reply = await proxy.call(method, path, sent, headers=agent)
        assert (reply.status, reply.code) == (429, "rate_limit_exceeded")


async def test_a_models_address_leads_to_models_only(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream
) -> None:
    port = int(proxy.base.rsplit(":", 1)[1])
    agent = (await agents.named())["x-ibex-agent-id"]
    for path in (
        "/v1/models/../files",
        "/v1/models/%2e%2e/files",
        "/v1/models/..%2ffiles",
        "/v1/models/%252e%252e/files",
        "/v1/models/..\\files",
        "/v1/models//",
        "/v1/models/",
        "/v1/models/a%3fb",
        "/v1/models/a%00",
        "/v1/models/./a",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [
            f"GET {path} HTTP/1.1",
            "host: x",
            "connection: close",
            f"authorization: Bearer {proxy.token}",
            f"x-ibex-agent-id: {agent}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400"), path
    assert upstream.arrived == []


# --- bodies ---


@pytest.fixture
async def plain(agents: Agents) -> dict[str, str]:
    return await agents.named()


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


async def send(proxy: ProxyClient, body: bytes, agent: dict[str, str], encoding: str) -> Reply:
    headers = {"content-encoding": encoding, **agent}
    return await proxy.post("/v1/chat/completions", body, headers=headers)


@pytest.mark.parametrize("encoding", sorted(PACK))
async def test_a_compressed_body_is_unpacked(
    proxy: ProxyClient, plain: dict[str, str], upstream: ScriptedUpstream, encoding: str
) -> None:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Grüße" * 900}]})
    assert (await send(proxy, PACK[encoding](body), plain, encoding)).status == 200
    (arrived,) = upstream.arrived
    assert arrived.raw == body
    assert "content-encoding" not in arrived.headers


@pytest.mark.parametrize("encoding", sorted(PACK))
async def test_a_bomb_is_413_and_what_is_not_compressed_400(
    proxy: ProxyClient, plain: dict[str, str], upstream: ScriptedUpstream, encoding: str
) -> None:
    reply = await send(proxy, PACK[encoding](bytes(100_000_000)), plain, encoding)
    assert (reply.status, reply.code) == (413, "request_too_large")
    for wrong in (b"{}", b"", PACK[encoding](b"{}")[:-1], PACK[encoding](b"{}") + b"x"):
        reply = await send(proxy, wrong, plain, encoding)
        assert (reply.status, reply.code) == (400, "invalid_request")
    assert upstream.arrived == []


async def test_another_encoding_is_415_and_told_what_goes(
    proxy: ProxyClient, plain: dict[str, str]
) -> None:
    reply = await send(proxy, b"x", plain, "br")
    assert (reply.status, reply.code) == (415, "unsupported_encoding")
    assert reply.headers["accept-encoding"] == "gzip, zstd"
    assert (await send(proxy, b"{", plain, "identity")).code == "invalid_request"


async def test_ten_megabytes_pass_and_what_is_too_deep_or_no_text_is_400(
    proxy: ProxyClient, plain: dict[str, str], upstream: ScriptedUpstream
) -> None:
    text = "é" * 5_000_000
    reply = await proxy.chat(text, headers=plain)
    assert reply.status == 200
    assert upstream.arrived[0].messages[-1]["content"] == text
    deep = b"[" * 100_000 + b"]" * 100_000
    said = b'{"messages": [{"role": "user", "content": %s}]}'
    for body in (deep, said % deep, said % (b"[" * 500 + b"]" * 500), said % b'"\xff"', b"\xff"):
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            reply = await proxy.post(path, body, headers=plain)
            assert (reply.status, reply.code) == (400, "invalid_request")
    assert len(upstream.arrived) == 1
