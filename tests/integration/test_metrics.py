"""/metrics of every process, after requests that can be counted."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

import grpc
import grpc.aio
import pytest
from pydantic import SecretStr
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from api.metrics import Figures
from hotpath.assembler.server import running
from ibex.embedded.probes import http_ok
from ibex.errors import ConfigurationError
from ibex.ids import new_id
from ibex.metrics import LABELS
from ibex.rpc import AssembleContextRequest, ContextClient, Message
from ibex.rpc.clients import open_channel
from ibex.settings import Settings
from ibex.spool import Spool
from ibex.stores.jobs import JobStore
from ibex.stores.postgres import Database
from tests.conftest import free_port, http_service, run_server
from tests.integration.recorded import add_session
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
from tests.records import dropped as dropped_ones
from tests.scraping import OTHER_LABELS, Page, read_page, scrape

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{32}|req_|ibex_pat_")
CHAT = "/v1/chat/completions"


def grown(before: Page, after: Page, name: str, **labels: str) -> float:
    return after.value(name, **labels) - before.value(name, **labels)


# --- the proxy ---


async def test_the_proxy_counts_every_kind_of_request(
    proxy: ProxyClient, upstream: ScriptedUpstream, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    await remember(database, org_id, agent_id, "The user's cat is called Misty.")
    before = await scrape(proxy.base)

    upstream.script = whole(completion("Hi."))
    first = await proxy.chat("What is my cat called?")
    assert first.headers["x-ibex-memories-injected"] == "1"
    upstream.script = streamed(events("Hi", " there"))
    second = await proxy.chat("Hello", stream=True)
    assert second.status == 200
    upstream.script = whole(b'{"error": {}}', 429, retry_after=7)
    third = await proxy.chat("Hello")
    assert third.status == 429
    upstream.script = whole(completion("Hi."))
    assert (await proxy.chat("Hello", headers={"x-ibex-memory": "off"})).status == 200
    assert (await proxy.chat("Hello", headers={"authorization": "Bearer nobody"})).status == 401
    assert (await proxy.call("GET", "/v1/nothing/here")).status == 404
    assert (await proxy.complete(f"nobody-{session_name()}")).status == 404

    after = await scrape(proxy.base)
    injected, tokens = (
        sum(int(reply.headers[name]) for reply in (first, second, third))
        for name in ("x-ibex-memories-injected", "x-ibex-context-tokens")
    )

    def requests(route: str, status: str, stream: str = "false") -> float:
        return grown(
            before,
            after,
            "ibex_proxy_requests_total",
            route=route,
            status=status,
            stream=stream,
        )

    assert requests(CHAT, "200") == 2
    assert requests(CHAT, "200", "true") == 1
    assert requests(CHAT, "429") == 1
    assert requests(CHAT, "401") == 1
    assert requests("other", "404") == 1
    assert requests("/v1/sessions/{id}/complete", "404") == 1
    for name, labels, value in (
        ("ibex_proxy_errors_total", {"code": "invalid_api_key"}, 1),
        ("ibex_proxy_errors_total", {"code": "provider_status_429"}, 1),
        ("ibex_proxy_upstream_errors_total", {"kind": "status_429"}, 1),
        ("ibex_proxy_memories_injected_total", {}, injected),
        ("ibex_proxy_context_tokens_total", {}, tokens),
        ("ibex_proxy_context_fallbacks_total", {"reason": "disabled"}, 1),
        ("ibex_proxy_turns_recorded_total", {"complete": "true"}, 2),
        ("ibex_proxy_provider_tokens_total", {"direction": "input"}, 14),
        ("ibex_proxy_provider_tokens_total", {"direction": "output"}, 4),
        ("ibex_proxy_request_seconds_count", {"stream": "false"}, 3),
        ("ibex_proxy_request_seconds_count", {"stream": "true"}, 1),
        ("ibex_proxy_overhead_seconds_count", {"stream": "true"}, 1),
        ("ibex_proxy_ttfb_seconds_count", {"stream": "true"}, 1),
        ("ibex_proxy_stage_seconds_count", {"stage": "context"}, 4),
        ("ibex_proxy_stage_seconds_count", {"stage": "commit"}, 3),
        ("ibex_proxy_stage_seconds_count", {"stage": "upstream"}, 4),
    ):
        assert grown(before, after, name, **labels) == value, (name, labels)
    assert after.value("ibex_proxy_requests_in_flight") == 1  # the one that asks


@pytest.mark.parametrize(
    ("kind", "status"), [("unavailable", 502), ("timeout", 504), ("broken_off", None)]
)
async def test_the_proxy_counts_how_the_models_server_fails(
    proxy: ProxyClient, upstream: ScriptedUpstream, kind: str, status: int | None
) -> None:
    async def hang_up(_: object, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def hang(_: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def break_off(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"content-length: 1000\r\n\r\n" + events("Hi")[0])
        await writer.drain()
        writer.close()

    upstream.script = {"unavailable": hang_up, "timeout": hang, "broken_off": break_off}[kind]
    before = await scrape(proxy.base)
    if status is None:
        with pytest.raises(PyreqwestError):
            await proxy.chat("Hello", stream=True)
    else:
        assert (await proxy.chat("Hello")).status == status
    after = await scrape(proxy.base)
    assert grown(before, after, "ibex_proxy_upstream_errors_total", kind=kind) == 1


async def test_no_page_says_who_asked(proxy: ProxyClient, api_server: Settings) -> None:
    await proxy.chat("Hello", headers={"x-ibex-user-id": "someone", "x-ibex-session-id": "diary"})
    await proxy.call("GET", "/v1/my-diary?q=1")
    operations = f"http://127.0.0.1:{api_server.assembler_metrics_port}"
    for base in (proxy.base, operations, api_server.api_endpoint):
        page = await scrape(base)
        assert page.label_names <= LABELS | OTHER_LABELS
        assert not _ID.search(page.text)
        assert "someone" not in page.text
        assert "diary" not in page.text


async def test_a_token_closes_the_page(proxy_settings: Settings) -> None:
    closed = proxy_settings.model_copy(update={"metrics_token": SecretStr("s3cret")})
    async with running_proxy(closed) as base, proxy_client(base, "s3cret") as client:
        refused = await client.call("GET", "/metrics", headers={"authorization": "Bearer x"})
        assert (refused.status, refused.code) == (401, "invalid_api_key")
        assert "ibex_proxy" not in refused.body.decode()
        assert (await scrape(base, authorization="Bearer s3cret")).text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", CHAT, b"{", 400),
        ("POST", CHAT, b"x" * 40_000_000, 413),
        ("GET", CHAT, b"", 405),
        ("GET", "/nothing", b"", 404),
        ("POST", "/v1/sessions/nobody/complete", b"", 404),
        ("GET", "/health", b"", 200),
        ("GET", "/metrics", b"", 200),
    ],
)
async def test_every_response_says_where_its_time_went(
    proxy: ProxyClient, method: str, path: str, body: bytes, status: int
) -> None:
    reply = await proxy.call(method, path, body)
    assert reply.status == status
    assert re.search(r"(^|, )total;dur=\d+\.\d", reply.headers["server-timing"])


async def test_errors_of_each_stage_say_it_too(
    proxy: ProxyClient, upstream: ScriptedUpstream
) -> None:
    refused = await proxy.chat("Hello", headers={"authorization": "Bearer nobody"})
    assert (refused.status, refused.headers["server-timing"][:9]) == (401, "auth;dur=")
    upstream.script = whole(b"{}", 500)
    failed = await proxy.chat("Hello")
    assert failed.status == 500
    stages = [part.split(";")[0] for part in failed.headers["server-timing"].split(", ")]
    assert stages == ["auth", "session", "context", "upstream", "total"]


@pytest.fixture
def two_workers(base_settings: Settings, tmp_path: Path) -> Iterator[str]:
    """The address of a proxy process with two workers, and nothing behind it."""
    port = free_port()
    settings = base_settings.model_copy(
        update={
            "proxy_port": port,
            "proxy_workers": 2,
            "postgres_port": free_port(),
            "spool_dir": tmp_path,
        }
    )
    base = f"http://127.0.0.1:{port}"
    spec = http_service("hotpath.proxy", port, settings)
    for _ in run_server(replace(spec, ready=partial(http_ok, f"{base}/health")), settings.home):
        yield base


async def test_two_workers_answer_for_each_other(two_workers: str) -> None:
    for _ in range(30):  # a connection each, so that both workers get some
        async with ClientBuilder().no_proxy().build() as http:
            response = await http.post(two_workers + CHAT).body_bytes(b"{}").build().send()
            assert response.status == 401
    pages = [await scrape(two_workers) for _ in range(10)]
    labels = {"route": CHAT, "status": "401", "stream": "false"}
    assert [page.value("ibex_proxy_requests_total", **labels) for page in pages] == [30] * 10
    assert [page.value("ibex_proxy_requests_in_flight") for page in pages] == [1] * 10


async def test_two_workers_see_one_spool_and_have_two_circuits(
    two_workers: str, tmp_path: Path
) -> None:
    spool = Spool(tmp_path, 2**20)
    await spool.append("s", b"x")  # nobody drains it: there is no PostgreSQL

    async def shown() -> bool:
        page = await scrape(two_workers)
        circuits = "ibex_proxy_provider_circuits"
        return (
            page.value("ibex_spool_turns_waiting"),
            page.value(circuits, provider="default", state="closed"),
            page.value(circuits, provider="default", state="open"),
        ) == (1, 2, 0)

    await until(shown)
    await asyncio.sleep(1.2)  # the one that is not asked has looked again
    assert await shown()
    await spool.close()


# --- the assembler ---


async def test_the_assembler_serves_its_page_beside_grpc(
    assembler_server: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    await remember(database, org_id, agent_id, "The user's cat is called Misty.")
    await remember(database, org_id, agent_id, "Bananas are on the shopping list.")
    base = f"http://127.0.0.1:{assembler_server.assembler_metrics_port}"
    async with ClientBuilder().no_proxy().build() as http:
        health = await http.get(f"{base}/health").build().send()
        assert (health.status, await health.json()) == (200, {"status": "ok"})
        ready = await http.get(f"{base}/ready").build().send()
        assert (await ready.json())["checks"].keys() <= {"postgres", "redis", "embedder"}
    before = await scrape(base)
    channel = open_channel(assembler_server.assembler_target)
    client = ContextClient(channel)
    request = AssembleContextRequest(
        org_id=str(org_id),
        agent_id=str(agent_id),
        model="gpt-4o-mini",
        messages=[Message(role="user", text="What is my cat called?")],
    )
    answer = await client.assemble(request, 10)
    with pytest.raises(grpc.aio.AioRpcError):
        await client.assemble(AssembleContextRequest(org_id="nobody"), 10)
    await channel.close(None)
    after = await scrape(base)
    for name, labels, value in (
        ("ibex_assembler_calls_total", {"method": "AssembleContext", "status": "OK"}, 1),
        (
            "ibex_assembler_calls_total",
            {"method": "AssembleContext", "status": "INVALID_ARGUMENT"},
            1,
        ),
        ("ibex_assembler_call_seconds_count", {"method": "AssembleContext"}, 2),
        ("ibex_assembler_part_seconds_count", {"part": "cold"}, 1),
        ("ibex_assembler_part_seconds_count", {"part": "embed"}, 0),
        ("ibex_assembler_parts_missing_total", {"part": "embed"}, 1),
        ("ibex_assembler_context_tokens_total", {}, answer.context_tokens),
    ):
        assert grown(before, after, name, **labels) == value, (name, labels)
    packed = sum(
        grown(before, after, "ibex_assembler_packed_total", origin=origin)
        for origin in ("hot", "cold", "both", "pinned")
    )
    dropped = sum(
        grown(before, after, "ibex_assembler_dropped_total", reason=reason)
        for reason in {one.reason for one in dropped_ones(answer)}
    )
    assert packed == answer.memories
    assert grown(before, after, "ibex_assembler_candidates_total") == packed + dropped > 0


async def test_a_taken_port_stops_the_start(assembler_server: Settings) -> None:
    other = assembler_server.model_copy(update={"assembler_port": free_port()})
    with pytest.raises(ConfigurationError, match=str(other.assembler_metrics_port)):
        async with running(other):
            pass


# --- the API and the pipeline ---


async def test_the_api_counts_by_route_and_shows_the_backlog(
    api_server: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    base = api_server.api_endpoint
    await add_session(database, org_id, agent_id, said=["hi"])
    async with database.system() as connection:
        await connection.execute(
            "UPDATE ibex_core.extraction_jobs SET available_at = now() - interval '90 s'"
        )
    await add_session(database, org_id, agent_id, said=["hi"])
    dead = await add_session(database, org_id, agent_id, said=["hi"])
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.extraction_jobs SET status = 'dead' WHERE session_id = $1", dead
        )
    before = await scrape(base)
    assert before.value("ibex_pipeline_jobs", state="waiting") == 2
    assert before.value("ibex_pipeline_jobs", state="dead") == 1
    assert before.value("ibex_pipeline_jobs", state="leased") == 0
    assert 90 <= before.value("ibex_pipeline_oldest_waiting_seconds") < 120
    async with ClientBuilder().no_proxy().build() as http:
        for path in (f"/api/v1/agents/{new_id()}", "/api/v1/my-diary"):
            await http.get(f"{base}{path}").build().send()
    after = await scrape(base)
    for route, status in (("/agents/{agent}", "401"), ("-", "404")):
        labels = {"method": "GET", "route": route, "status": status}
        assert grown(before, after, "ibex_api_requests_total", **labels) == 1
    assert "my-diary" not in after.text


async def test_without_postgresql_the_backlog_is_left_out(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    await add_session(database, org_id, agent_id, said=["hi"])
    page = read_page((await Figures(JobStore(database), None).page("")).decode())
    assert page.value("ibex_pipeline_jobs", state="waiting") == 1
    away = await Database.connect(
        f"postgresql://ibex_app:x@127.0.0.1:{free_port()}/ibex", name="test", min_size=0
    )
    after = read_page((await Figures(JobStore(away), None).page("")).decode())
    await away.close()
    assert ("ibex_pipeline_jobs", frozenset({("state", "waiting")})) not in after.samples
    assert grown(page, after, "ibex_pipeline_read_failures_total") == 1
