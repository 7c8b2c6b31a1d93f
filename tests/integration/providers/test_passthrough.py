"""Models, embeddings and completions pass through untouched, under the same rules."""

import asyncio
from uuid import UUID

import orjson

from ibex.rate_limits import Limits
from ibex.stores.identity import IdentityStore
from ibex.stores.limits import LimitStore
from ibex.stores.postgres import Database
from tests.integration.providers.asking import (
    SECOND,
    Agents,
    failing,
)
from tests.proxying import (
    ProxyClient,
    ScriptedUpstream,
    streamed,
    whole,
)


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
