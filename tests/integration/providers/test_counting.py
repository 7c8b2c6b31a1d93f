"""Retries, fallbacks and circuits in the metrics; who answered, and after how many tries, in the
traces."""

import asyncio
from typing import Any
from uuid import UUID

import orjson

from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.traces import ensure_traces, open_clickhouse
from tests.integration.providers.asking import (
    SECOND,
    Agents,
    failing,
    hangs,
    hangs_up,
    in_turn,
    running,
)
from tests.proxying import ProxyClient, ScriptedUpstream, completion, until, whole
from tests.scraping import scrape

TRIES = "ibex_proxy_provider_tries_total"
CIRCUITS = "ibex_proxy_provider_circuits"


async def test_every_try_is_counted_by_kind_and_result(
    proxy: ProxyClient, agents: Agents, upstream: ScriptedUpstream
) -> None:
    agent = await agents.named(fallbacks=[SECOND], retries=1)
    before = await scrape(proxy.base)
    for script in (failing(503), hangs_up, in_turn(hangs, whole(completion()))):
        upstream.script = script
        assert (await proxy.chat("x", headers=agent)).status == 200
    unknown = await agents.named(provider="made-up", fallbacks=[SECOND])
    assert (await proxy.chat("x", headers=unknown)).status == 200
    after = await scrape(proxy.base)
    grown = {
        (labels["provider"], labels["kind"], labels["result"]): value - before.samples.get(key, 0)
        for key, value in after.samples.items()
        if key[0] == TRIES and (labels := dict(key[1]))
    }
    assert {key: value for key, value in grown.items() if value} == {
        ("default", "first", "failed"): 1,
        ("default", "retry", "failed"): 1,
        ("default", "first", "unavailable"): 1,
        ("default", "retry", "unavailable"): 1,
        ("default", "first", "timeout"): 1,
        ("default", "retry", "answered"): 1,
        ("second", "fallback", "answered"): 3,
    }


async def test_a_circuit_shows_as_it_is(
    proxy_settings: Settings,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
    upstream: ScriptedUpstream,
) -> None:
    settings = proxy_settings.model_copy(
        update={"provider_circuit_failures": 1, "provider_circuit_pause": 1.0}
    )
    agent = await agents.named()
    async with running(settings, identity, org_id) as proxy:

        async def states() -> tuple[str, str]:
            page = await scrape(proxy.base)
            shown = [
                [
                    state
                    for state in ("closed", "open", "half-open")
                    if page.value(CIRCUITS, provider=name, state=state)
                ]
                for name in ("default", "second")
            ]
            ((first,), (other,)) = shown
            return first, other

        before = await scrape(proxy.base)
        assert await states() == ("closed", "closed")
        upstream.script = hangs_up
        await proxy.chat("x", headers=agent)
        assert (await proxy.chat("x", headers=agent)).code == "provider_paused"
        assert await states() == ("open", "closed")
        paused = {"provider": "default", "kind": "first", "result": "paused"}
        after = await scrape(proxy.base)
        assert after.value(TRIES, **paused) == before.value(TRIES, **paused) + 1

        async def tried_again() -> bool:
            return await states() == ("half-open", "closed")

        await until(tried_again)
        upstream.script = whole(completion())
        assert (await proxy.chat("x", headers=agent)).status == 200
        assert await states() == ("closed", "closed")


async def test_a_trace_says_who_answered_and_after_how_many_tries(
    proxy_settings: Settings,
    clickhouse_server: ProcessSpec,
    assembler_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    agents: Agents,
    upstream: ScriptedUpstream,
) -> None:
    await ensure_traces(proxy_settings)
    agent = await agents.named(fallbacks=[SECOND], retries=1)
    alone = await agents.named(retries=1)
    body = orjson.dumps({"model": "m", "input": "x"})
    async with running(proxy_settings, identity, org_id) as proxy:
        replies = [await proxy.chat("x", headers=agent)]
        replies.append(await proxy.post("/v1/embeddings", body, headers=alone))
        upstream.script = hangs_up
        replies.append(await proxy.chat("x", headers=agent))
        replies.append(await proxy.chat("x", headers=alone))
        replies.append(await proxy.chat("x", headers={"x-ibex-agent-id": str(org_id)}))

    def rows() -> dict[str, list[Any]]:
        client = open_clickhouse(proxy_settings)
        try:
            answer = client.query(
                "SELECT request_id, provider, provider_host, provider_tries FROM ibex.traces"
                " WHERE org_id = {id:UUID}",
                parameters={"id": org_id},
            )
            return {name: list(rest) for name, *rest in answer.result_rows}
        finally:
            client.close()

    found = await asyncio.to_thread(rows)
    host = "127.0.0.1"
    assert [found.get(reply.headers["x-request-id"]) for reply in replies] == [
        ["default", host, 1],
        ["default", host, 1],
        ["second", host, 3],
        ["", "", 2],
        None,  # nobody's agent
    ]
