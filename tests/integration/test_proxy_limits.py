"""Rate limits as an application meets them: through the proxy, with the openai client."""

from dataclasses import replace
from uuid import UUID

import openai
import pytest
import redis.asyncio

from ibex.access_tokens import AccessToken
from ibex.errors import AgentNotFoundError, NotFoundError
from ibex.ids import new_id
from ibex.rate_limits import Limits
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.limits import LimitStore
from ibex.stores.postgres import Database
from tests.conftest import free_port
from tests.proxying import (
    ProxyClient,
    ScriptedUpstream,
    completion,
    events,
    proxy_client,
    running_proxy,
    streamed,
    until,
    whole,
)

RESET = "x-ratelimit-reset-requests"


@pytest.fixture
def limits(database: Database) -> LimitStore:
    return LimitStore(database)


async def test_the_openai_client_raises_its_own_error_and_is_told_when_to_come_back(
    proxy: ProxyClient, upstream: ScriptedUpstream, limits: LimitStore, org_id: UUID, agent_id: UUID
) -> None:
    await limits.set_agent(org_id, agent_id, Limits(requests=2))
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.base}/v1", api_key=proxy.token, max_retries=0
    ) as client:
        for left in ("1", "0"):
            raw = await client.chat.completions.with_raw_response.create(
                model="m", messages=[{"role": "user", "content": "Hello"}]
            )
            assert raw.headers["x-ratelimit-limit-requests"] == "2"
            assert raw.headers["x-ratelimit-remaining-requests"] == left
            assert raw.headers[RESET].startswith(("59.", "1m0", "1m1s"))
            assert "x-ratelimit-limit-tokens" not in raw.headers
            assert "x-ibex-rate-limit" not in raw.headers
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello"}]
            )
    error = refused.value
    assert (error.status_code, error.code, error.type) == (
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
    )
    assert "agent's limit of 2 requests" in error.message
    assert 50 <= int(error.response.headers["retry-after"]) <= 61
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(upstream.arrived) == 2


async def test_tokens_are_reserved_by_estimate_and_settled_by_usage(
    proxy: ProxyClient, limits: LimitStore, org_id: UUID
) -> None:
    await limits.set_organization(org_id, Limits(tokens=1000))
    first = await proxy.chat("Hello", max_tokens=900)
    assert first.headers["x-ratelimit-limit-tokens"] == "1000"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100

    async def settled() -> bool:  # the provider said 9
        return (await proxy.chat("Hello", max_tokens=900)).status == 200

    await until(settled)
    reply = await proxy.chat("x" * 4000, max_tokens=900)
    assert (reply.status, reply.code) == (429, "rate_limit_exceeded")
    assert "organization's limit of 1000 tokens" in reply.json["error"]["message"]
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers


async def test_a_stream_without_usage_is_charged_by_what_came(
    proxy: ProxyClient, upstream: ScriptedUpstream, limits: LimitStore, org_id: UUID
) -> None:
    await limits.set_organization(org_id, Limits(tokens=2000))
    upstream.script = streamed(events("x" * 2000))
    assert (await proxy.chat("Hello", stream=True, max_tokens=1900)).status == 200

    async def settled() -> bool:
        reply = await proxy.chat("Hello", max_tokens=1)
        return 1200 < int(reply.headers["x-ratelimit-remaining-tokens"]) < 1500

    await until(settled)


async def test_each_limit_of_its_own_and_the_deployments_default(
    proxy_settings: Settings,
    assembler_server: Settings,
    token: AccessToken,
    limits: LimitStore,
    org_id: UUID,
    agent_id: UUID,
    redis_client: redis.asyncio.Redis,
) -> None:
    """What is set for one counts within a second, in place of the default."""
    settings = proxy_settings.model_copy(update={"rate_limit_token_requests": 50})
    told = Invalidations(redis_client)
    async with running_proxy(settings) as base, proxy_client(base, token.text) as proxy:

        async def limit_is(number: str | None) -> None:
            async def said() -> bool:
                reply = await proxy.chat("x")
                return reply.headers.get("x-ratelimit-limit-requests") == number

            await until(said)

        await limit_is("50")
        await limits.set_organization(org_id, Limits(requests=40))
        await told.organization_changed(org_id)
        await limit_is("40")
        await limits.set_agent(org_id, agent_id, Limits(requests=30))
        await told.agent_changed(org_id, agent_id)
        await limit_is("30")
        await limits.set_token(org_id, token.id, Limits(requests=20))
        await told.token_changed(token.id)
        await limit_is("20")
        assert await limits.agent(org_id, agent_id) == Limits(requests=30)

        await limits.set_organization(org_id, Limits())
        await limits.set_agent(org_id, agent_id, Limits())
        await limits.set_token(org_id, token.id, Limits(requests=0))
        await told.organization_changed(org_id)
        await told.agent_changed(org_id, agent_id)
        await limit_is(None)


async def test_one_agents_limit_is_not_anothers(
    proxy: ProxyClient, limits: LimitStore, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    await identity.create_agent(org_id, "other")
    await limits.set_agent(org_id, agent_id, Limits(requests=1))
    proxy.token = (await identity.create_token(org_id, "all")).text
    named = {"x-ibex-agent-id": "assistant"}
    replies = [await proxy.chat("x", headers=named) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 429]
    assert (await proxy.chat("x", headers={"x-ibex-agent-id": "other"})).status == 200


async def test_ours_win_over_the_providers_headers_only_where_a_limit_is_set(
    proxy: ProxyClient,
    upstream: ScriptedUpstream,
    limits: LimitStore,
    org_id: UUID,
    agent_id: UUID,
    redis_client: redis.asyncio.Redis,
) -> None:
    upstream.script = whole(
        completion(),
        x_ratelimit_limit_requests=10_000,
        x_ratelimit_remaining_tokens=149_984,
    )
    theirs = await proxy.chat("x")
    assert theirs.headers["x-ratelimit-limit-requests"] == "10000"
    await limits.set_agent(org_id, agent_id, Limits(requests=7))
    await Invalidations(redis_client).agent_changed(org_id, agent_id)

    async def ours() -> bool:
        reply = await proxy.chat("x")
        assert reply.headers["x-ratelimit-remaining-tokens"] == "149984"
        return reply.headers["x-ratelimit-limit-requests"] == "7"

    await until(ours)


async def test_a_policy_that_refuses_costs_no_tokens(
    proxy: ProxyClient, limits: LimitStore, identity: IdentityStore, org_id: UUID
) -> None:
    await limits.set_organization(org_id, Limits(tokens=1000))
    await identity.create_agent(org_id, "strict", allowed_models=["gpt"])
    proxy.token = (await identity.create_token(org_id, "all")).text
    strict = {"x-ibex-agent-id": "strict"}
    refused = await proxy.chat("x", max_tokens=900, headers=strict)
    assert (refused.status, refused.code) == (403, "model_not_allowed")

    async def given_back() -> bool:
        reply = await proxy.chat("x", max_tokens=900, headers=strict)
        return reply.status == 403

    await until(given_back)


async def test_without_redis_requests_are_limited_by_the_process_and_say_so(
    proxy_settings: Settings,
    assembler_server: Settings,
    token: AccessToken,
    limits: LimitStore,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await limits.set_agent(org_id, agent_id, Limits(requests=2))
    settings = proxy_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with running_proxy(settings) as base, proxy_client(base, token.text) as proxy:
        replies = [await proxy.chat("x") for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert {reply.headers["x-ibex-rate-limit"] for reply in replies} == {"local"}
        ready = await proxy.call("GET", "/ready")
        checks = ready.json["checks"]
        assert checks["redis"] is False
        assert ready.json["ready"] is (checks["postgres"] and checks["assembler"])


async def test_what_nobody_limits_says_nothing_of_limits(proxy: ProxyClient) -> None:
    reply = await proxy.chat("x")
    assert not [name for name in reply.headers if "ratelimit" in name or "rate-limit" in name]
    assert "limits" not in reply.headers["server-timing"]
    ready = await proxy.call("GET", "/ready")
    assert ready.json["checks"]["redis"] is True


async def test_a_store_keeps_the_rest_of_a_policy(
    limits: LimitStore, identity: IdentityStore, org_id: UUID
) -> None:
    agent_id = await identity.create_agent(org_id, "x", allowed_models=["a"], default_model="a")
    await limits.set_agent(org_id, agent_id, Limits(requests=5))
    before = await identity.agent(org_id, agent_id)
    assert before.limits == Limits(requests=5)
    await limits.set_agent(org_id, agent_id, Limits())
    after = await identity.agent(org_id, agent_id)
    assert after == replace(before, limits=Limits())
    assert after.policy.allowed_models == {"a"}
    await limits.set_agent(org_id, agent_id, Limits(requests=5))
    await identity.change_agent(org_id, agent_id, {}, {"retries": 1})
    assert (await identity.agent(org_id, agent_id)).limits == Limits(requests=5)


async def test_an_organization_sets_nothing_of_anothers(
    limits: LimitStore, identity: IdentityStore, org_id: UUID, agent_id: UUID, token: AccessToken
) -> None:
    other = await identity.create_organization(f"other-{new_id()}")
    with pytest.raises(AgentNotFoundError):
        await limits.set_agent(other, agent_id, Limits(requests=1))
    with pytest.raises(NotFoundError):
        await limits.set_token(other, token.id, Limits(requests=1))
