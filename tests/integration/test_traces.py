"""Traces reach ClickHouse, and never hold anybody up when it is away."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ibex.embedded.process import ProcessSpec
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.traces import TraceRow, TraceWriter, ensure_traces, open_clickhouse
from tests.conftest import free_port

STARTED = datetime.now(UTC).replace(microsecond=123000)  # old rows are dropped by the TTL


def row(**changes: Any) -> TraceRow:
    basic = TraceRow(
        org_id=new_id(),
        agent_id=new_id(),
        token_id=new_id(),
        request_id=f"r-{new_id()}",
        model="gpt-4o-mini",
        status=200,
        started_at=STARTED,
        total_ms=12.5,
    )
    return replace(basic, **changes)


async def stored(settings: Settings, request_id: str) -> dict[str, Any]:
    def select() -> dict[str, Any]:
        client = open_clickhouse(settings)
        try:
            answer = client.query(
                "SELECT * FROM ibex.traces WHERE request_id = {id:String}",
                parameters={"id": request_id},
            )
            (found,) = answer.named_results()
            return dict(found)
        finally:
            client.close()

    return await asyncio.to_thread(select)


async def test_a_row_arrives_as_it_was(
    base_settings: Settings, clickhouse_server: ProcessSpec
) -> None:
    await ensure_traces(base_settings)
    await ensure_traces(base_settings)
    writer = TraceWriter(base_settings)
    await writer.start()
    full = row(
        session_id=new_id(),
        ttfb_ms=4.5,
        prompt_tokens=7,
        fallback=True,
        fallback_reason="timeout",
        degraded=("hot", "cold"),
        stream=True,
    )
    bare = row()
    writer.add(full)
    writer.add(bare)
    await writer.close()
    assert (writer.written, writer.dropped) == (2, 0)
    found = await stored(base_settings, full.request_id)
    assert found["org_id"] == full.org_id
    assert found["session_id"] == full.session_id
    assert found["started_at"].replace(tzinfo=UTC) == STARTED
    assert found["degraded"] == ["hot", "cold"]
    assert (found["stream"], found["prompt_tokens"], found["ttfb_ms"]) == (True, 7, 4.5)
    empty = await stored(base_settings, bare.request_id)
    assert (empty["session_id"], empty["prompt_tokens"], empty["ttfb_ms"]) == (None, None, None)


async def test_a_table_of_an_earlier_version_gets_its_columns_and_keeps_its_rows(
    base_settings: Settings, clickhouse_server: ProcessSpec
) -> None:
    await ensure_traces(base_settings)
    early = row(provider="default", provider_host="api.openai.com", provider_tries=1)
    late = row(provider="second", provider_host="model.test", provider_tries=3)
    new = ("provider", "provider_host", "provider_tries")

    async def write(one: TraceRow) -> None:
        writer = TraceWriter(base_settings)
        await writer.start()
        writer.add(one)
        await writer.close()
        assert writer.written == 1

    def take_away() -> None:
        client = open_clickhouse(base_settings)
        for name in new:
            client.command(f"ALTER TABLE ibex.traces DROP COLUMN {name}")
        client.close()

    await write(early)
    await asyncio.to_thread(take_away)
    await write(late)
    found = await stored(base_settings, late.request_id)
    assert [found[name] for name in new] == ["second", "model.test", 3]
    found = await stored(base_settings, early.request_id)
    assert [found[name] for name in new] == ["", "", 0]
    assert found["total_ms"] == early.total_ms
    names = list(found)
    assert names[names.index("model") + 1 :][:3] == list(new)


async def test_rows_are_written_while_it_runs(
    base_settings: Settings, clickhouse_server: ProcessSpec
) -> None:
    writer = TraceWriter(base_settings, batch=2, interval=60)
    await writer.start()
    for _ in range(5):
        writer.add(row())
    async with asyncio.timeout(30):
        while writer.written < 4:  # noqa: ASYNC110  nobody tells when ClickHouse has a row
            await asyncio.sleep(0.01)
    await writer.close()
    assert writer.written == 5


async def test_without_clickhouse_rows_wait_then_drop_and_it_is_said(
    base_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = base_settings.model_copy(update={"clickhouse_port": free_port()})
    writer = TraceWriter(nobody, capacity=3, interval=0.01)
    await writer.start()
    for _ in range(5):
        writer.add(row())
    await asyncio.sleep(0.05)
    assert writer.dropped == 2
    await writer.close()
    assert (writer.written, writer.dropped) == (0, 5)
    assert "ClickHouse does not take traces" in caplog.text
