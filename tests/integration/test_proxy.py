"""The proxy on a real assembler and PostgreSQL; only the model is a stand-in."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
import pytest
import redis.asyncio

from ibex.access_tokens import AccessToken
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.postgres import Database
from tests.conftest import free_port
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
    head,
    proxy_client,
    read_raw,
    running_proxy,
    sends,
    session_name,
    streamed,
    until,
    whole,
)


@pytest.fixture
def proxy_changes() -> Mapping[str, Any]:
    return {"upstream_idle_timeout": 0.5, "max_body_bytes": 100_000}


# --- the way through ---


async def test_an_answer_passes_as_it_is_and_its_turn_is_stored(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    upstream.script = whole(completion("Grüße"), x_request_id="theirs", openai_processing_ms=5)
    reply = await proxy.chat("Hello", temperature=0.5, vendor={"x": [1]})
    assert (reply.status, reply.body) == (200, completion("Grüße"))
    assert reply.headers["openai-processing-ms"] == "5"
    assert reply.headers["x-upstream-request-id"] == "theirs"
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.headers["x-ibex-memories-injected"] == "0"
    assert reply.headers["x-ibex-context-fallback"] == "false"
    stages = [part.split(";")[0] for part in reply.headers["server-timing"].split(", ")]
    assert stages == ["auth", "session", "context", "upstream", "commit", "total"]

    (arrived,) = upstream.arrived
    assert arrived.path == "/v1/chat/completions"
    assert arrived.headers["authorization"] == "Bearer sandbox"
    assert arrived.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "vendor": {"x": [1]},
    }
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert turn.request_id == reply.headers["x-request-id"]
    assert turn.messages == ({"role": "user", "content": "Hello"},)
    assert turn.response == {"role": "assistant", "content": "Grüße", "refusal": None}
    assert (turn.finish_reason, turn.complete) == ("stop", True)
    assert (turn.prompt_tokens, turn.completion_tokens) == (7, 2)


async def test_a_session_goes_on_by_the_clients_id_and_by_ours(
    proxy: ProxyClient, recorded: Recorded
) -> None:
    name = session_name()
    first = await proxy.chat("one", headers={"x-ibex-session-id": name})
    assert first.headers["x-ibex-session-id"] == name
    said = [{"role": "user", "content": "one"}, first.json["choices"][0]["message"]]
    await proxy.chat(*said, "two", headers={"x-ibex-session-id": name})
    assert [turn.messages for turn in await recorded.turns(name)] == [
        ({"role": "user", "content": "one"},),
        ({"role": "user", "content": "two"},),
    ]

    ours = (await proxy.chat("one")).headers["x-ibex-session-id"]
    again = await proxy.chat("two", headers={"x-ibex-session-id": ours})
    assert again.headers["x-ibex-session-id"] == ours
    assert len(await recorded.turns(ours)) == 2


async def test_the_directive_goes_in_and_is_not_recorded(
    proxy: ProxyClient,
    upstream: ScriptedUpstream,
    identity: IdentityStore,
    recorded: Recorded,
    database: Database,
) -> None:
    await identity.set_directive(recorded.org_id, recorded.agent_id, "Be brief.")
    reply = await proxy.chat({"role": "system", "content": "Mine."}, "Hello")
    assert [message["content"] for message in upstream.arrived[0].messages] == [
        "Be brief.",
        "Mine.",
        "Hello",
    ]
    assert int(reply.headers["x-ibex-context-tokens"]) > 0
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert turn.messages is not None
    assert [message["content"] for message in turn.messages] == ["Mine.", "Hello"]
    async with database.tenant(recorded.org_id) as connection:
        injection = await connection.fetchrow("SELECT * FROM ibex_core.context_injections")
    assert injection is not None
    assert injection["request_id"] == reply.headers["x-request-id"]
    assert injection["directive_version"] == 1


async def test_a_stream_passes_byte_for_byte_and_its_turn_is_stored(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    text = b"".join(events("Grü", "ße", " 世界"))
    upstream.script = streamed([text[place : place + 7] for place in range(0, len(text), 7)])
    reply = await proxy.chat("Hello", stream=True)
    assert reply.body == text
    assert reply.headers["content-type"] == "text/event-stream"
    assert "ttfb" in reply.headers["server-timing"]
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert turn.response == {"role": "assistant", "content": "Grüße 世界"}
    assert (turn.complete, turn.finish_reason) == (True, "stop")


async def test_chunks_go_out_as_they_come_and_done_waits_for_the_commit(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded, database: Database
) -> None:
    name = session_name()
    session = await recorded.store.open_session(recorded.org_id, recorded.agent_id, None, name)
    go_on = asyncio.Event()
    first, *rest = events("one", "two")

    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(first))
        await go_on.wait()
        writer.write(b"".join(map(chunk, rest)) + b"0\r\n\r\n")

    upstream.script = script
    request = (
        proxy.http.post(f"{proxy.base}/v1/chat/completions")
        .headers({"authorization": f"Bearer {proxy.token}", "x-ibex-session-id": name})
        .body_json({"messages": [{"role": "user", "content": "x"}], "stream": True})
        .streamed_read_buffer_limit(0)
        .build_streamed()
    )
    async with request as response:
        read = response.body_reader.read_chunk
        assert bytes(await read() or b"") == first
        # Somebody holds the session's row, so the turn cannot be stored yet.
        async with database.tenant(recorded.org_id) as connection:
            await connection.execute(
                "SELECT FROM ibex_core.sessions WHERE id = $1 FOR UPDATE", session.id
            )
            go_on.set()
            got = b""
            while b'"finish_reason":"stop"' not in got:
                got += bytes(await read() or b"")
            last = asyncio.ensure_future(read())
            done, _ = await asyncio.wait({last}, timeout=0.2)
            assert not done
            assert b"[DONE]" not in got
        end = await last
        assert end is not None
        assert b"[DONE]" in bytes(end)
        assert len(await recorded.turns(name)) == 1
        assert await read() is None


async def test_a_stream_without_done_ends_as_it_ended(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    chunks = events("one", finish=None, done=False)
    upstream.script = streamed(chunks)
    reply = await proxy.chat("Hello", stream=True)
    assert reply.body == b"".join(chunks)
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert not turn.complete


async def test_the_default_model_is_the_agents_then_the_deployments(
    proxy: ProxyClient, upstream: ScriptedUpstream, identity: IdentityStore, org_id: UUID
) -> None:
    body = orjson.dumps({"messages": [{"role": "user", "content": "x"}]})
    await proxy.post("/v1/chat/completions", body)
    agent_id = await identity.create_agent(
        org_id, "strict", default_model="own", allowed_models=["a"]
    )
    proxy.token = (await identity.create_token(org_id, "t", agent_id=agent_id)).text
    await proxy.post("/v1/chat/completions", body)
    assert [one.body["model"] for one in upstream.arrived] == ["gpt-4o-mini", "own"]
    refused = await proxy.chat("x", model="b")
    assert (refused.status, refused.code) == (403, "model_not_allowed")
    assert len(upstream.arrived) == 2


async def test_the_memory_switch(
    proxy: ProxyClient, upstream: ScriptedUpstream, identity: IdentityStore, recorded: Recorded
) -> None:
    await identity.set_directive(recorded.org_id, recorded.agent_id, "Be brief.")
    for switch, injects, records in (
        ("on", True, True),
        ("read-only", True, False),
        ("write-only", False, True),
        ("off", False, False),
    ):
        for session in ({}, {"x-ibex-session-id": session_name()}):
            reply = await proxy.chat("x", headers={"x-ibex-memory": switch, **session})
            assert reply.status == 200
            assert reply.headers["x-ibex-context-fallback"] == str(not injects).lower()
            reason = reply.headers.get("x-ibex-context-fallback-reason")
            assert reason == (None if injects else "disabled")
            # The directive is the operator's, whatever the client wants with memories.
            assert upstream.arrived[-1].messages[0]["content"] == "Be brief."
            turns = await recorded.turns(reply.headers["x-ibex-session-id"])
            assert len(turns) == (1 if records else 0)


async def test_a_user_has_sessions_of_its_own(
    proxy: ProxyClient, identity: IdentityStore, recorded: Recorded, org_id: UUID, agent_id: UUID
) -> None:
    name = session_name()
    for user in ("u-1", "u-2"):
        headers = {"x-ibex-session-id": name, "x-ibex-user-id": user}
        assert (await proxy.chat("x", headers=headers)).status == 200
        user_id = await identity.user(org_id, user)
        session = await recorded.store.find_session(org_id, agent_id, user_id, name)
        assert session is not None
        assert session.turn_count == 1
    assert await recorded.store.find_session(org_id, agent_id, None, name) is None


async def test_a_session_is_completed_and_comes_back(
    proxy: ProxyClient, recorded: Recorded
) -> None:
    for name in ("s-1", "with space/in it"):
        await proxy.chat("x", headers={"x-ibex-session-id": name})
        path = quote(name, safe="")
        reply = await proxy.complete(path)
        assert reply.json == {"id": name, "status": "completed", "turns": 1}
        assert (await proxy.complete(path)).json == reply.json
    ours = (await proxy.chat("x")).headers["x-ibex-session-id"]
    assert (await proxy.complete(ours)).json["status"] == "completed"
    await proxy.chat("y", headers={"x-ibex-session-id": ours})
    assert (await recorded.session(ours)).status == "active"
    unknown = await proxy.complete("nothing")
    assert (unknown.status, unknown.code) == (404, "session_not_found")
    other_user = await proxy.complete("s-1", **{"x-ibex-user-id": "u"})
    assert other_user.status == 404


# --- who may ---


async def test_wrong_tokens_are_401(
    proxy: ProxyClient, token: AccessToken, identity: IdentityStore, org_id: UUID
) -> None:
    revoked = await identity.create_token(org_id, "revoked")
    await identity.revoke_token(org_id, revoked.id)
    expired = await identity.create_token(
        org_id, "expired", expires_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    for text in ("", "sk-123", token.text[:-1], revoked.text, expired.text):
        for _ in range(2):
            proxy.token = text
            reply = await proxy.chat("x")
            assert (reply.status, reply.code) == (401, "invalid_api_key")
            assert text not in reply.body.decode() or not text
    reply = await proxy.chat("x", headers={"authorization": "Basic abc"})
    assert reply.status == 401


async def test_agents_are_named_or_bound(
    proxy: ProxyClient, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    other = await identity.create_agent(org_id, "other")
    for named in ("assistant", str(agent_id)):
        assert (await proxy.chat("x", headers={"x-ibex-agent-id": named})).status == 200
    for named in ("other", str(other)):
        reply = await proxy.chat("x", headers={"x-ibex-agent-id": named})
        assert (reply.status, reply.code) == (403, "permission_denied")
    proxy.token = (await identity.create_token(org_id, "free")).text
    assert (await proxy.chat("x", headers={"x-ibex-agent-id": "other"})).status == 200
    assert (await proxy.chat("x")).status == 400
    reply = await proxy.chat("x", headers={"x-ibex-agent-id": "nobody"})
    assert (reply.status, reply.code) == (404, "agent_not_found")
    proxy.token = (await identity.create_token(org_id, "read", scopes=["read"])).text
    reply = await proxy.chat("x", headers={"x-ibex-agent-id": "other"})
    assert (reply.status, reply.code) == (403, "permission_denied")


async def test_a_revoked_token_is_refused_within_a_second(
    proxy: ProxyClient,
    token: AccessToken,
    identity: IdentityStore,
    org_id: UUID,
    redis_client: redis.asyncio.Redis,
) -> None:
    assert (await proxy.chat("x")).status == 200
    await identity.revoke_token(org_id, token.id)
    assert (await proxy.chat("x")).status == 200  # still in the LRU
    await Invalidations(redis_client).token_revoked(token.id)

    async def refused() -> bool:
        return (await proxy.chat("x")).status == 401

    await until(refused, 5)


async def test_an_organization_does_not_reach_anothers_agent_or_session(
    proxy: ProxyClient, identity: IdentityStore, agent_id: UUID
) -> None:
    ours = (await proxy.chat("x")).headers["x-ibex-session-id"]
    org = await identity.create_organization(f"other-{new_id()}")
    theirs = await identity.create_agent(org, "theirs")
    proxy.token = (await identity.create_token(org, "t")).text
    reply = await proxy.chat("x", headers={"x-ibex-agent-id": str(agent_id)})
    assert reply.status == 404
    reply = await proxy.complete(ours, **{"x-ibex-agent-id": str(theirs)})
    assert reply.status == 404


# --- bad input ---


async def test_a_malformed_body_is_400(proxy: ProxyClient, upstream: ScriptedUpstream) -> None:
    for body in (b"{", b"[]", b"\xff", b"{}", b'{"messages": ["x"]}'):
        reply = await proxy.post("/v1/chat/completions", body)
        assert (reply.status, reply.code) == (400, "invalid_request")
    assert upstream.arrived == []


async def test_a_large_body_is_413_declared_or_not(proxy: ProxyClient) -> None:
    reply = await proxy.chat("x" * 100_001)
    assert (reply.status, reply.code) == (413, "request_too_large")

    async def endless() -> AsyncGenerator[bytes, None]:
        for _ in range(11):
            yield b" " * 10_000

    async with aclosing(endless()) as stream:
        request = proxy.http.post(f"{proxy.base}/v1/chat/completions").body_stream(stream)
        response = await request.headers({"authorization": f"Bearer {proxy.token}"}).build().send()
    assert response.status == 413


async def test_unknown_addresses_methods_and_wishes(proxy: ProxyClient) -> None:
    for path in ("/", "/v1/chat", "/v1/sessions//complete", "/v1/sessions/a/b/complete"):
        reply = await proxy.post(path, b"")
        assert (reply.status, reply.code) == (404, "not_found")
    reply = await proxy.call("GET", "/v1/chat/completions")
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"
    reply = await proxy.chat("x", headers={"x-ibex-memory": "sometimes"})
    assert (reply.status, reply.code) == (400, "invalid_request")
    reply = await proxy.chat("x", headers={"content-encoding": "gzip"})
    assert reply.status == 400


async def test_a_nul_character_does_not_cost_the_turn(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    reply = await proxy.chat("a\0b")
    assert reply.status == 200
    assert upstream.arrived[0].messages[0]["content"] == "a\0b"
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert turn.messages == ({"role": "user", "content": "a\ufffdb"},)


# --- the upstream has a bad day ---


async def test_the_upstreams_errors_pass_as_they_are_and_are_no_turns(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    for status in (400, 429, 500):
        error = orjson.dumps({"error": {"message": "theirs"}})
        upstream.script = whole(error, status, retry_after=7)
        reply = await proxy.chat("x", stream=True)
        assert (reply.status, reply.body) == (status, error)
        assert reply.headers["retry-after"] == "7"
        assert await recorded.turns(reply.headers["x-ibex-session-id"]) == []


async def test_an_upstream_that_refuses_is_502(
    proxy_settings: Settings, assembler_server: Settings, token: AccessToken
) -> None:
    nobody = proxy_settings.model_copy(
        update={"provider_base_url": f"http://127.0.0.1:{free_port()}/v1"}
    )
    async with running_proxy(nobody) as base, proxy_client(base, token.text) as proxy:
        reply = await proxy.chat("x")
    assert (reply.status, reply.code) == (502, "provider_unavailable")


async def test_what_fails_before_the_first_byte_has_a_status(
    proxy: ProxyClient, upstream: ScriptedUpstream
) -> None:
    cut = head(content_length=100) + b"{"
    hangs_up = [(said, False) for said in (b"", b"garbage\r\n\r\n", STREAM_HEAD, cut)]
    for said, silent in [*hangs_up, (b"", True), (STREAM_HEAD, True)]:

        async def script(
            _: Arrived, writer: asyncio.StreamWriter, said: bytes = said, silent: bool = silent
        ) -> None:
            writer.write(said)
            if silent:
                await asyncio.sleep(30)

        upstream.script = script
        for reply in await asyncio.gather(proxy.chat("x"), proxy.chat("x", stream=True)):
            expected = (504, "provider_timeout") if silent else (502, "provider_unavailable")
            assert (reply.status, reply.code) == expected, said


async def test_headers_pass_whatever_their_values_are(
    proxy: ProxyClient, upstream: ScriptedUpstream
) -> None:
    upstream.script = sends(
        b"HTTP/1.1 200 OK\r\nX-Name: Gr\xfc\xc3\x9fe\r\nx-empty:\r\nx-plain:  yes \t\r\n"
        b"x-twice: 1\r\nx-twice: 2\r\ncontent-length: 2\r\n\r\n{}"
    )
    got = await read_raw(proxy, session_name())
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    lines = got.split(b"\r\n\r\n")[0].split(b"\r\n")
    assert b"x-name: Gr\xfc\xc3\x9fe" in lines
    assert b"x-empty: " in lines
    assert b"x-plain: yes" in lines
    assert [line for line in lines if line.startswith(b"x-twice")] == [b"x-twice: 1", b"x-twice: 2"]


@pytest.mark.parametrize("silent", [False, True])
async def test_a_stream_that_breaks_off_never_ends_well_and_is_kept_as_incomplete(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded, silent: bool
) -> None:
    name = session_name()
    part = events("Half an", finish=None, done=False)[0]

    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(part))
        await writer.drain()
        if silent:
            await asyncio.sleep(30)

    upstream.script = script
    got = await read_raw(proxy, name)
    assert part in got
    assert b"[DONE]" not in got
    assert not got.endswith(b"0\r\n\r\n")
    turn = await recorded.turn_within(name)
    assert turn.response == {"role": "assistant", "content": "Half an"}
    assert not turn.complete


async def test_an_answer_that_is_no_completion_passes_and_is_incomplete(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded
) -> None:
    upstream.script = whole(b"<html>")
    reply = await proxy.chat("x")
    assert (reply.status, reply.body) == (200, b"<html>")
    (turn,) = await recorded.turns(reply.headers["x-ibex-session-id"])
    assert (turn.response, turn.complete) == (None, False)


# --- the client goes away ---


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_goes_away_stops_the_upstream_and_its_turn_is_kept(
    proxy: ProxyClient, upstream: ScriptedUpstream, recorded: Recorded, begun: bool
) -> None:
    name = session_name()
    part = events("Half an", finish=None, done=False)[0]

    async def script(_: Arrived, writer: asyncio.StreamWriter) -> None:
        if begun:
            writer.write(STREAM_HEAD + chunk(part))
        await asyncio.sleep(30)

    upstream.script = script
    reader, writer = await connect(proxy, name)
    if begun:
        await reader.readuntil(b"Half an")
    else:

        async def arrived() -> bool:
            return bool(upstream.arrived)

        await until(arrived)
    writer.close()
    async with asyncio.timeout(10):
        await upstream.hung_up.wait()
    turn = await recorded.turn_within(name)
    assert turn.messages == ({"role": "user", "content": "x"},)
    assert turn.response == ({"role": "assistant", "content": "Half an"} if begun else None)
    assert not turn.complete


# --- Server-Timing ---


async def test_every_answer_says_how_long_it_took(
    proxy_settings: Settings,
    assembler_server: Settings,
    token: AccessToken,
    upstream: ScriptedUpstream,
) -> None:
    settings = proxy_settings.model_copy(update={"provider_circuit_failures": 1})
    async with running_proxy(settings) as base, proxy_client(base, token.text) as proxy:
        replies = [
            await proxy.chat("x"),
            await proxy.call("GET", "/health"),
            await proxy.call("GET", "/ready"),
            await proxy.call("GET", "/metrics"),
            await proxy.call("GET", "/nowhere"),
            await proxy.call("GET", "/v1/chat/completions"),
            await proxy.post("/v1/chat/completions", b"{"),
            await proxy.post("/v1/chat/completions", b" " * 100_001),
            await proxy.complete("unknown"),
        ]
        for said in (whole(b"{}", 429), sends(b"garbage\r\n\r\n")):
            upstream.script = said
            replies.append(await proxy.chat("x"))
        replies.append(await proxy.chat("x"))
        proxy.token = "wrong"
        replies.append(await proxy.chat("x"))
    statuses = [200, 200, replies[2].status, 200, 404, 405, 400, 413, 404, 429, 502, 503, 401]
    assert [reply.status for reply in replies] == statuses
    for reply in replies:
        parts = reply.headers["server-timing"].split(", ")
        assert all(re.fullmatch(r"[a-z_]+;dur=\d+\.\d", part) for part in parts)
        assert parts[-1].startswith("total;")


# --- health ---


async def test_ready_says_what_answers(proxy: ProxyClient) -> None:
    assert (await proxy.call("GET", "/health")).json == {"status": "ok"}
    reply = await proxy.call("GET", "/ready")
    checks: dict[str, Any] = reply.json["checks"]
    assert checks["postgres"] is True
    assert reply.json["ready"] is (reply.status == 200) is checks["assembler"]
