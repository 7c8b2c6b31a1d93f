"""Rate limits on a real Redis: one count for all, and what happens without it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from ibex.embedded import servers
from ibex.embedded.process import ProcessSpec
from ibex.ids import new_id
from ibex.rate_limits import WINDOW, Check, Kind, LocalLimiter, Outcome, Scope
from ibex.settings import Settings
from ibex.stores import keys, rate_limits
from ibex.stores.rate_limits import RateLimiter, Reservation, open_limiter_client
from tests.conftest import free_port, run_server
from tests.proxying import until

PATIENT = 10.0  # seconds: how busy the machine is must not decide what a test sees


def check(
    org_id: UUID,
    limit: int,
    amount: int = 1,
    scope: Scope = Scope.AGENT,
    kind: Kind = Kind.REQUESTS,
) -> Check:
    return Check(scope, kind, keys.rate_limit(org_id, scope, org_id, kind), limit, amount)


@asynccontextmanager
async def limiter_on(settings: Settings, seconds: float = PATIENT) -> AsyncIterator[RateLimiter]:
    async with open_limiter_client(settings) as client:
        limiter = RateLimiter(client, seconds)
        limiter.start()
        try:
            yield limiter
        finally:
            await limiter.close()


@pytest.fixture
async def limiter(base_settings: Settings, redis_server: ProcessSpec) -> AsyncIterator[RateLimiter]:
    async with limiter_on(base_settings) as limiter:
        yield limiter


def passed(outcomes: list[Outcome]) -> int:
    assert not any(outcome.local for outcome in outcomes)
    return sum(outcome.refusal is None for outcome in outcomes)


async def test_two_replicas_with_many_clients_let_exactly_the_limit_through(
    base_settings: Settings, limiter: RateLimiter
) -> None:
    org_id = new_id()
    checks = [
        check(org_id, 100),
        check(org_id, 1000, 10, Scope.ORGANIZATION, Kind.TOKENS),
        check(org_id, 500, scope=Scope.TOKEN),
    ]
    async with limiter_on(base_settings) as replica:
        outcomes = await asyncio.gather(
            *((limiter, replica)[turn % 2].reserve(checks) for turn in range(400))
        )
    assert passed(outcomes) == 100
    assert limiter.counters.passed + replica.counters.passed == 100
    assert limiter.counters.refused + replica.counters.refused == 300


async def test_a_request_counts_in_all_windows_or_in_none(limiter: RateLimiter) -> None:
    org_id = new_id()
    agent, org = check(org_id, 5), check(org_id, 1, scope=Scope.ORGANIZATION)
    assert passed([await limiter.reserve([agent, org]) for _ in range(3)]) == 1
    outcome = await limiter.reserve([agent])
    assert outcome.standings[0].remaining == 3


async def test_tokens_are_settled_by_what_was_used(limiter: RateLimiter) -> None:
    org_id = new_id()
    tokens = check(org_id, 100, 80, kind=Kind.TOKENS)
    outcome = await limiter.reserve([check(org_id, 10), tokens])
    assert passed([await limiter.reserve([replace(tokens, amount=30)])]) == 0
    limiter.settle(Reservation(outcome), 10)
    again = await limiter.reserve([replace(tokens, amount=30)])
    assert again.standings[0].used == 40
    limiter.settle(Reservation(again), 95)  # more than there was
    full = await limiter.reserve([replace(tokens, amount=1)])
    assert full.refusal is not None
    assert full.standings[0].used == 105
    assert (await limiter.reserve([check(org_id, 10)])).standings[0].remaining == 8


async def test_a_window_goes_when_nobody_needs_it(
    limiter: RateLimiter, redis_client: redis.asyncio.Redis
) -> None:
    one = check(new_id(), 10)
    await limiter.reserve([one])
    assert 0 < await redis_client.ttl(one.key) <= WINDOW + 2


async def test_scripts_that_redis_forgot_are_sent_again(
    limiter: RateLimiter, redis_client: redis.asyncio.Redis
) -> None:
    one = check(new_id(), 3)
    for _ in range(2):
        await redis_client.script_flush()
        outcomes = await asyncio.gather(*(limiter.reserve([one]) for _ in range(2)))
        assert not any(outcome.local for outcome in outcomes)
    assert (await limiter.reserve([one])).refusal is not None


async def test_what_is_flushed_is_counted_anew(
    limiter: RateLimiter, redis_client: redis.asyncio.Redis
) -> None:
    tokens = check(new_id(), 100, 60, kind=Kind.TOKENS)
    outcome = await limiter.reserve([tokens])
    await redis_client.delete(tokens.key)
    limiter.settle(Reservation(outcome), 10)  # gives nothing back of what is not held
    assert (await limiter.reserve([tokens])).standings[0].used == 60


async def test_a_clock_that_goes_back_gives_nothing_away(
    redis_client: redis.asyncio.Redis,
) -> None:
    """As after a failover to a replica whose clock is behind."""
    source = at_given_time(rate_limits._RESERVE)
    one, second = check(new_id(), 3), 1_000_000
    clocks = (second, second - 30, second - 300, second + 60, second + 61)
    passed = [
        (await redis_client.eval(source, 1, one.key, WINDOW, one.limit, 1, clock, 0))[2]
        for clock in clocks
    ]
    assert passed == [1, 1, 1, 0, 1]


def at_given_time(script: "rate_limits._Script") -> str:
    """The script as it is, but for the clock: its last two arguments, second and microsecond."""
    return script.source.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}")


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 400, 1000, 7300, 59_999, 60_000, 61_000]),  # ms to wait
        st.tuples(st.integers(1, 5), st.integers(1, 5)),  # amounts
        st.one_of(st.none(), st.integers(-4, 4)),  # settle by that
    ),
    max_size=20,
)


@pytest.mark.usefixtures("redis_server")
@trials(deadline=None, max_examples=300)
@given(limits=st.tuples(st.integers(1, 12), st.integers(1, 12)), steps=STEPS)
def test_redis_and_a_process_alone_decide_the_same(
    base_settings: Settings,
    limits: tuple[int, int],
    steps: list[tuple[int, tuple[int, int], int | None]],
) -> None:
    reserve, settle = map(at_given_time, (rate_limits._RESERVE, rate_limits._SETTLE))
    client = redis.Redis.from_url(base_settings.redis_dsn)
    now = 1_000_000_000  # ms
    local = LocalLimiter(10, lambda: now)
    org_id = new_id()
    try:
        for pause, amounts, difference in steps:
            now += pause
            clock = (now // 1000, now % 1000 * 1000)
            checks = [
                check(org_id, limit, amount, kind=kind)
                for limit, amount, kind in zip(limits, amounts, Kind, strict=True)
            ]
            names = [one.key for one in checks]
            flat = [part for one in checks for part in (one.limit, one.amount)]
            values = client.eval(reserve, 2, *names, WINDOW, *flat, *clock)
            expected = local.reserve(checks)
            assert replace(rate_limits._outcome(checks, values), local=True) == expected
            if difference is not None and expected.refusal is None:
                client.eval(settle, 1, names[0], WINDOW, expected.second, difference, *clock)
                local.settle(names[0], expected.second, difference)
    finally:
        client.close()


# --- without Redis ---


@pytest.fixture
def own_redis(base_settings: Settings, tmp_path: Path) -> Settings:
    return base_settings.model_copy(update={"redis_port": free_port(), "home": tmp_path})


@asynccontextmanager
async def running(spec: ProcessSpec, settings: Settings) -> AsyncIterator[None]:
    server = contextmanager(run_server)(spec, settings.home)
    await asyncio.to_thread(server.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


async def test_without_redis_the_process_counts_alone_until_it_is_back(
    own_redis: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ibex.rate_limits")
    one = check(new_id(), 2)
    redis_itself = servers.redis(own_redis)
    async with limiter_on(own_redis) as limiter:
        async with running(redis_itself, own_redis):

            async def counted_in_redis() -> bool:
                return not (await limiter.reserve([check(new_id(), 1)])).local

            await until(counted_in_redis)
            assert await limiter.answers()
            assert passed([await limiter.reserve([one])]) == 1
        limiter.counters.decided_locally = limiter.counters.outages = 0
        caplog.clear()

        outcomes = [await limiter.reserve([one]) for _ in range(4)]
        assert [outcome.local for outcome in outcomes] == [True] * 4
        assert [outcome.refusal is None for outcome in outcomes] == [True, True, False, False]
        assert not await limiter.answers()
        assert limiter.counters.decided_locally == 4

        async with running(redis_itself, own_redis):
            await until(counted_in_redis)
    assert limiter.counters.outages == 1
    said = [record.levelname for record in caplog.records]
    assert said == ["WARNING", "INFO"]


async def test_a_frozen_redis_holds_nobody_up(
    own_redis: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Many clients at once; what they would have settled is dropped and counted."""
    one = check(new_id(), 1000, kind=Kind.TOKENS)
    async with (
        running(servers.redis(own_redis), own_redis),
        limiter_on(own_redis, seconds=0.1) as limiter,
        open_limiter_client(own_redis) as client,
    ):

        async def counted_in_redis() -> bool:
            return not (await limiter.reserve([one])).local

        await until(counted_in_redis)
        before = replace(await limiter.reserve([one]), local=False)
        caplog.clear()
        limiter.counters.outages = 0

        await client.client_pause(1500)
        outcomes = await asyncio.gather(*(limiter.reserve([one]) for _ in range(200)))
        assert all(outcome.local for outcome in outcomes)
        limiter.settle(Reservation(before), 500)
        assert limiter.counters.settlements_dropped == 1
        await until(counted_in_redis)
    assert limiter.counters.outages == 1
    assert len(caplog.records) == 1


async def test_a_cluster_takes_every_call(own_redis: Settings) -> None:
    """All keys of a call are in one slot."""
    settings = own_redis
    while settings.redis_port > 55_535:  # the cluster's bus is 10,000 above
        settings = settings.model_copy(update={"redis_port": free_port()})
    spec = servers.redis(settings)

    def prepare() -> None:
        assert spec.prepare is not None
        spec.prepare()
        config = Path(spec.command[-1])
        config.write_text(config.read_text() + "cluster-enabled yes\n")

    async with running(replace(spec, prepare=prepare), settings):
        client: Any
        async with redis.asyncio.Redis.from_url(settings.redis_dsn) as client:
            await client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        org_id = new_id()
        checks = [check(org_id, 2, scope=scope, kind=kind) for scope in Scope for kind in Kind]
        async with limiter_on(settings) as limiter:

            async def counted_in_redis() -> bool:
                return not (await limiter.reserve([check(new_id(), 1)])).local

            await until(counted_in_redis)
            assert passed([await limiter.reserve(checks) for _ in range(3)]) == 2
