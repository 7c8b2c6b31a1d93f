"""Spans through the real proxy and assembler, and that nothing anybody said is to be seen."""

import asyncio
import logging
import os
from typing import Any
from uuid import UUID

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ibex.access_tokens import AccessToken
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.traces import ensure_traces, open_clickhouse
from ibex.telemetry import Tracing, resource
from tests.conftest import free_port
from tests.integration.remembering import remember
from tests.proxying import (
    ProxyClient,
    ScriptedUpstream,
    completion,
    events,
    proxy_client,
    running_proxy,
    session_name,
    streamed,
    until,
    whole,
)
from tests.scraping import scrape

MARK = "xylophonequartz"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Seen:
    """The spans that have ended, of every service of the test."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()

    def open(self, service: str) -> Tracing:
        provider = TracerProvider(resource=resource(service), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        return Tracing(provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    async def named(self, name: str) -> ReadableSpan:
        """The only one; the server span ends a moment after its response."""

        async def there() -> bool:
            return any(span.name == name for span in self.spans)

        await until(there)
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def text(self) -> str:
        return "\n".join(span.to_json() for span in self.spans)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """In place of an exporter that the environment would name."""
    seen = Seen()
    monkeypatch.setattr(Tracing, "open", seen.open)
    return seen


@pytest.fixture
def proxy(seen: Seen, proxy: ProxyClient) -> ProxyClient:
    """Traced."""
    return proxy


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return (
        span.parent is not None
        and span.context is not None
        and parent.context is not None
        and span.parent.span_id == parent.context.span_id
        and span.context.trace_id == parent.context.trace_id
    )


async def test_a_request_is_one_trace_through_proxy_and_assembler(
    proxy: ProxyClient,
    seen: Seen,
    upstream: ScriptedUpstream,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await remember(database, org_id, agent_id, "The user's cat is called Misty.")
    answer = orjson.loads(completion("Misty.")) | {"model": "gpt-4o-2026-01-01"}
    upstream.script = whole(orjson.dumps(answer))
    reply = await proxy.chat(
        "What is my cat called?", model="gpt-4o", headers={"traceparent": PARENT}
    )
    assert reply.status == 200

    server = await seen.named("POST /v1/chat/completions")
    assert server.kind is SpanKind.SERVER
    assert server.context is not None
    assert f"{server.context.trace_id:032x}" == TRACE
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"
    assert server.resource.attributes["service.name"] == "ibex-proxy"
    said = attributes(server)
    assert said["http.request.method"] == "POST"
    assert said["http.route"] == "/v1/chat/completions"
    assert said["http.response.status_code"] == 200
    assert said["ibex.request.id"] == reply.headers["x-request-id"]
    assert (said["ibex.org.id"], said["ibex.agent.id"]) == (str(org_id), str(agent_id))
    assert server.status.status_code is StatusCode.UNSET

    chat = await seen.named("chat gpt-4o")
    assert chat.kind is SpanKind.CLIENT
    assert is_child(chat, server)
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai_compatible",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2026-01-01",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.conversation.id": said["ibex.session.id"],
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
    }

    search = await seen.named("search_memory")
    assert search.kind is SpanKind.CLIENT
    assert is_child(search, server)
    found = attributes(search)
    assert found["gen_ai.operation.name"] == "search_memory"
    assert found["gen_ai.memory.store.id"] == str(agent_id)
    assert found["gen_ai.memory.record.count"] == 1
    assert found["ibex.context.degraded"] == ("embed",)  # nobody started the embedder
    assert "error.type" not in found

    assemble = await seen.named("ibex.v1.ContextAssembly/AssembleContext")
    assert assemble.kind is SpanKind.SERVER
    assert is_child(assemble, search)
    assert assemble.resource.attributes["service.name"] == "ibex-assembler"
    assert attributes(assemble)["gen_ai.memory.record.count"] == 1
    assert 0 < attributes(assemble)["ibex.memory.best_score"] <= 1
    for name in ("directive", "hot", "cold"):
        assert is_child(await seen.named(name), assemble)
    assert "embed" not in {span.name for span in seen.spans}

    for name in ("auth", "session", "commit"):
        assert is_child(await seen.named(name), server)
    verify = await seen.named("ibex.v1.Auth/VerifyToken")
    assert is_child(verify, await seen.named("auth"))
    commit = await seen.named("commit")
    assert chat.end_time is not None
    assert commit.start_time is not None
    assert chat.end_time <= commit.start_time
    assert [arrived.headers.get("traceparent") for arrived in upstream.arrived] == [None]


async def test_a_stream_has_the_same_spans(
    proxy: ProxyClient, seen: Seen, upstream: ScriptedUpstream
) -> None:
    chunks = events("Hi", finish="length")
    first = orjson.loads(chunks[0].removeprefix(b"data: ")) | {"model": "m-7"}
    upstream.script = streamed([b"data: " + orjson.dumps(first) + b"\n\n", *chunks[1:]])
    assert (await proxy.chat("Hello", stream=True)).status == 200
    said = attributes(await seen.named("chat m"))
    assert said["gen_ai.request.stream"] is True
    assert said["gen_ai.response.model"] == "m-7"
    assert said["gen_ai.response.finish_reasons"] == ("length",)
    assert said["gen_ai.response.time_to_first_chunk"] > 0
    assert "gen_ai.usage.input_tokens" not in said  # the provider did not say


async def test_what_went_wrong_is_a_code(
    proxy: ProxyClient, seen: Seen, upstream: ScriptedUpstream, assembler_server: Settings
) -> None:
    upstream.script = whole(b'{"error": {"message": "no"}}', 429)
    await proxy.chat("Hello")
    chat = await seen.named("chat m")
    assert attributes(chat)["error.type"] == "provider_status_429"
    assert chat.status.status_code is StatusCode.ERROR
    server = await seen.named("POST /v1/chat/completions")
    assert server.status.status_code is StatusCode.UNSET  # the client's 4xx


async def test_a_server_that_is_silent_is_an_error_of_both(
    proxy: ProxyClient, seen: Seen, upstream: ScriptedUpstream
) -> None:
    async def hang(_: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    upstream.script = hang
    assert (await proxy.chat("Hello")).status == 504
    for name in ("POST /v1/chat/completions", "chat m"):
        span = await seen.named(name)
        assert attributes(span)["error.type"] == "provider_timeout"
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None


async def test_without_the_assembler_the_search_is_an_error_and_the_request_is_not(
    seen: Seen, proxy_settings: Settings, upstream: ScriptedUpstream, token: AccessToken
) -> None:
    alone = proxy_settings.model_copy(update={"assembler_address": f"127.0.0.1:{free_port()}"})
    async with running_proxy(alone) as base, proxy_client(base, token.text) as client:
        assert (await client.chat("Hello")).status == 200
        search = await seen.named("search_memory")
        assert attributes(search)["error.type"] == "unavailable"
        server = await seen.named("POST /v1/chat/completions")
        assert server.status.status_code is StatusCode.UNSET


async def test_the_models_server_hears_of_the_trace_only_when_told(
    seen: Seen, proxy_settings: Settings, upstream: ScriptedUpstream, token: AccessToken
) -> None:
    told = proxy_settings.model_copy(update={"trace_provider": True})
    async with running_proxy(told) as base, proxy_client(base, token.text) as client:
        await client.chat("Hello", headers={"traceparent": PARENT})
    chat = await seen.named("chat m")
    assert chat.context is not None
    expected = f"00-{TRACE}-{chat.context.span_id:016x}-"
    assert upstream.arrived[0].headers["traceparent"].startswith(expected)


async def test_what_the_client_does_not_want_traced_is_not(
    proxy: ProxyClient, seen: Seen, upstream: ScriptedUpstream
) -> None:
    await proxy.chat("Hello", headers={"traceparent": PARENT[:-2] + "00"})
    await proxy.call("GET", "/health")
    await seen.named("GET /health")
    assert {span.name for span in seen.spans} == {"GET /health"}


async def test_a_mark_in_every_text_is_nowhere_to_be_seen(
    proxy: ProxyClient,
    seen: Seen,
    upstream: ScriptedUpstream,
    database: Database,
    identity: IdentityStore,
    proxy_settings: Settings,
    assembler_server: Settings,
    clickhouse_server: ProcessSpec,
    org_id: UUID,
    agent_id: UUID,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    await ensure_traces(proxy_settings)
    await identity.set_directive(org_id, agent_id, f"Always say {MARK}.")
    await remember(database, org_id, agent_id, f"The user's cat is called {MARK}.")
    session, user = f"{MARK}-{session_name()}", f"{MARK}-user"
    headers = {"x-ibex-session-id": session, "x-ibex-user-id": user, f"x-{MARK}": MARK}
    said: list[Any] = [
        {"role": "system", "content": f"You are {MARK}."},
        {"role": "user", "content": [{"type": "text", "text": f"What is {MARK}?"}]},
    ]
    fields = {"tools": [{"type": "function", "function": {"name": MARK}}], "metadata": {MARK: MARK}}

    upstream.script = whole(completion(f"It is {MARK}."))
    assert (await proxy.chat(*said, headers=headers, **fields)).headers[
        "x-ibex-memories-injected"
    ] == "1"
    upstream.script = streamed(events(f"It is {MARK}."))
    await proxy.chat(*said, headers=headers, stream=True)
    upstream.script = whole(orjson.dumps({"error": {"message": MARK, "code": MARK}}), 400)
    await proxy.chat(*said, headers=headers)
    upstream.script = streamed([b"data: {" + MARK.encode() + b"\n\n"])
    await proxy.chat(*said, headers=headers, stream=True)
    await proxy.complete(session, **headers)
    await proxy.call("POST", f"/v1/{MARK}/{MARK}?{MARK}={MARK}", MARK.encode())
    await proxy.post("/v1/chat/completions", b"{" + MARK.encode())
    await proxy.chat("x", headers={"authorization": f"Bearer {MARK}"})
    assert any(MARK in arrived.raw.decode() for arrived in upstream.arrived)

    async def all_written() -> bool:
        return (await scrape(proxy.base)).value("ibex_traces_waiting") == 0

    await until(all_written)
    operations = f"http://127.0.0.1:{assembler_server.assembler_metrics_port}"
    pages = [(await scrape(base)).text for base in (proxy.base, operations)]

    def rows() -> str:
        client = open_clickhouse(proxy_settings)
        try:
            parameters = {"org": str(org_id)}
            answer = client.query(
                "SELECT * FROM ibex.traces WHERE org_id = {org:UUID}", parameters=parameters
            )
            assert len(answer.result_rows) == 6
            return repr(answer.result_rows)
        finally:
            client.close()

    places = {
        "spans": seen.text(),
        "metrics": "\n".join(pages),
        "logs": "\n".join(
            record.getMessage() + (record.exc_text or "")
            for record in caplog.records
            if record.name.startswith(("ibex", "uvicorn", "grpc", "opentelemetry"))
            and record.name != "uvicorn.access"  # off; only pytest listens to it all the same
        ),
        "traces": await asyncio.to_thread(rows),
    }
    assert len(seen.spans) > 20
    for place, text in places.items():
        assert text, place
        assert MARK not in text, place


async def test_spans_reach_a_collector_by_the_standard_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedUpstream().running() as collector:
        collector.script = whole(b"")
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            monkeypatch.delenv(name)
        address = collector.url.removesuffix("/v1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        tracing = await asyncio.to_thread(Tracing.open, "ibex-test")
        assert tracing is not None
        tracing.server("GET /somewhere", {}).end()
        await tracing.close()
    (arrived,) = collector.arrived
    assert arrived.path == "/v1/traces"
    assert b"GET /somewhere" in arrived.raw
    assert b"ibex-test" in arrived.raw


async def test_a_collector_that_is_away_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    tracing = Tracing.open("ibex-test")
    assert tracing is not None
    tracing.server("GET /somewhere", {}).end()
    async with asyncio.timeout(10):
        await tracing.close()
