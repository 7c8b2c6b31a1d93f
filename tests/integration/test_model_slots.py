"""Limits towards the model on a real Redis, two processes' worth of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis.asyncio

from ibex.embedded.process import ProcessSpec
from ibex.errors import ProviderLimitError
from ibex.settings import Settings
from ibex.stores import keys
from ibex.stores.model_slots import ModelSlots, SlotLimits, open_model_slots
from tests.conftest import free_port

pytestmark = pytest.mark.usefixtures("redis_server")


@pytest.fixture
def own_server(base_settings: Settings, redis_server: ProcessSpec) -> Settings:
    """Settings with a model's server that no other test calls."""
    address = f"http://127.0.0.1:9/{secrets.token_hex(4)}"
    return base_settings.model_copy(update={"provider_base_url": address})


@asynccontextmanager
async def two(settings: Settings, limits: SlotLimits) -> AsyncIterator[tuple[ModelSlots, ...]]:
    async with AsyncExitStack() as stack:
        yield tuple(
            [
                await stack.enter_async_context(
                    open_model_slots(settings, limits, longest_wait=0.3)
                )
                for _ in range(2)
            ]
        )


async def enter(slots: ModelSlots, tokens: int = 10, used: int | None = None) -> None:
    async with slots.slot(tokens) as slot:
        if used is not None:
            slot.used(used)


async def test_no_more_call_at_once_than_there_are_slots(own_server: Settings) -> None:
    inside = most = 0

    async def call(slots: ModelSlots) -> None:
        nonlocal inside, most
        async with slots.slot(10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(open_model_slots(own_server, SlotLimits(2)))
            for _ in range(2)
        ]
        await asyncio.gather(*(call(slots) for slots in (one, other) for _ in range(5)))
    assert (inside, most) == (0, 2)


async def test_a_slot_of_who_died_is_free_when_its_lease_is_over(
    own_server: Settings, redis_client: redis.asyncio.Redis
) -> None:
    async with two(own_server, SlotLimits(1)) as (one, other):
        async with one.slot(10):
            with pytest.raises(ProviderLimitError):
                await enter(other)
        await enter(other)
        taken = [key async for key in redis_client.scan_iter("ibex:{model-*}:slots")]
        assert taken == []
        async with one.slot(10):
            (key,) = [key async for key in redis_client.scan_iter("ibex:{model-*}:slots")]
            await redis_client.zunionstore(key, {key: 0.0})  # its end lies back
            await enter(other)


async def test_a_pause_that_one_was_asked_for_holds_for_all(own_server: Settings) -> None:
    async with two(own_server, SlotLimits(4)) as (one, other):
        await one.pause(30)
        await one.pause(0.001)  # a shorter one does not end it
        for slots in (one, other):
            with pytest.raises(ProviderLimitError) as failed:
                await enter(slots)
            assert failed.value.retry_after > 0.2


async def test_calls_and_tokens_a_minute_are_counted_for_all_together(
    own_server: Settings,
) -> None:
    async with two(own_server, SlotLimits(4, requests_per_minute=2)) as (one, other):
        await enter(one)
        await enter(other)
        with pytest.raises(ProviderLimitError) as failed:
            await enter(one)
        assert 0 < failed.value.retry_after <= 61


async def test_a_call_counts_by_what_it_used_and_a_large_one_goes_alone(
    own_server: Settings,
) -> None:
    async with two(own_server, SlotLimits(4, tokens_per_minute=100)) as (one, other):
        await enter(one, tokens=5_000, used=20)  # more than a minute's worth
        await enter(other, tokens=70)
        with pytest.raises(ProviderLimitError):
            await enter(one, tokens=70)


async def test_while_redis_is_away_a_process_keeps_its_own_limits(own_server: Settings) -> None:
    away = own_server.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with two(away, SlotLimits(4, requests_per_minute=1)) as (one, other):
        await enter(one)
        await enter(other)
        with pytest.raises(ProviderLimitError):
            await enter(one)
        await other.pause(30)
        with pytest.raises(ProviderLimitError):
            await enter(other)


def test_keys_of_a_server_stay_together_in_a_cluster() -> None:
    names = (keys.model_slots("a"), keys.model_pause("a"), keys.model_limit("a", "tokens"))
    assert {name[name.index("{") : name.index("}")] for name in names} == {"{model-a"}
