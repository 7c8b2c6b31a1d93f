"""Who is asked next when a provider fails, and when it is left alone."""

from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from tests.conftest import free_port
from tests.integration.providers.asking import (
    FAILURES,
    SECOND,
    SECOND_KEY,
    Agents,
    failing,
    hangs,
    hangs_up,
    in_turn,
    running,
)
from tests.proxying import (
    STREAM_HEAD,
    ProxyClient,
    Recorded,
    ScriptedUpstream,
    chunk,
    completion,
    events,
    sends,
    streamed,
    until,
    whole,
)

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
