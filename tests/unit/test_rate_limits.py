"""The sliding window, with a clock of the test's own."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.rate_limits import (
    NO_LIMITS,
    WINDOW,
    Check,
    Kind,
    Limits,
    LocalLimiter,
    Outcome,
    Scope,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000  # ms

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def check(limit: int, amount: int = 1, key: str = "k", scope: Scope = Scope.AGENT) -> Check:
    return Check(scope, Kind.REQUESTS, key, limit, amount)


def passes(outcome: Outcome) -> bool:
    return outcome.refusal is None


# Steps of a client: milliseconds to wait, and how much to ask for then.
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 400, 1000, 7300, 59_999, 60_000, 61_000]), st.integers(1, 5)),
    max_size=60,
)


@given(limit=st.integers(1, 12), steps=STEPS)
def test_no_sixty_seconds_ever_see_more_than_the_limit(
    limit: int, steps: Sequence[tuple[int, int]]
) -> None:
    clock = Clock()
    limiter = LocalLimiter(10, clock)
    passed: list[tuple[int, int]] = []
    for pause, amount in steps:
        clock.now += pause
        if passes(limiter.reserve([check(limit, amount)])):
            passed.append((clock.now, amount))
    for start, _ in passed:
        window = [amount for at, amount in passed if start <= at <= start + WINDOW * 1000]
        assert sum(window) <= limit


@given(limit=st.integers(1, 12), steps=STEPS)
def test_who_waits_as_long_as_told_is_let_through(
    limit: int, steps: Sequence[tuple[int, int]]
) -> None:
    clock = Clock()
    limiter = LocalLimiter(10, clock)
    for pause, amount in steps:
        clock.now += pause
        refusal = limiter.reserve([check(limit, amount)]).refusal
        if refusal is not None and not refusal.never_fits:
            assert 0 < refusal.wait_ms <= refusal.reset_ms <= (WINDOW + 1) * 1000
            clock.now += refusal.wait_ms - 1
            assert not passes(limiter.reserve([check(limit, amount)]))
            clock.now += 1
            assert passes(limiter.reserve([check(limit, amount)]))


def test_a_request_counts_against_all_limits_or_none(clock: Clock) -> None:
    limiter = LocalLimiter(10, clock)
    agent, org = check(5, key="a"), check(1, key="o", scope=Scope.ORGANIZATION)
    assert [one.remaining for one in limiter.reserve([agent, org]).standings] == [4, 0]
    outcome = limiter.reserve([agent, org])
    assert outcome.refusal is not None
    assert outcome.refusal.check.scope is Scope.ORGANIZATION
    assert [one.remaining for one in outcome.standings] == [4, 0]
    assert limiter.reserve([agent]).standings[0].remaining == 3


def test_a_request_larger_than_its_limit_never_fits_and_is_the_one_that_is_named(
    clock: Clock,
) -> None:
    limiter = LocalLimiter(10, clock)
    limiter.reserve([check(1)])
    refusal = limiter.reserve([check(1), check(10, 11, key="t")]).refusal
    assert refusal is not None
    assert (refusal.check.key, refusal.never_fits) == ("t", True)


def test_what_was_not_used_is_given_back_and_what_was_used_on_top_counts(clock: Clock) -> None:
    limiter = LocalLimiter(10, clock)
    first = limiter.reserve([check(100, 80)])
    assert not passes(limiter.reserve([check(100, 30)]))
    limiter.settle("k", first.second, -70)
    second = limiter.reserve([check(100, 30)])
    assert second.standings[0].used == 40
    clock.now += 30_000
    limiter.settle("k", second.second, 60)
    assert limiter.reserve([check(100, 1)]).refusal is not None
    clock.now += 31_000  # the reservations are past, the surplus is not
    assert limiter.reserve([check(100, 1)]).standings[0].used == 61


def test_a_settlement_after_the_window_gives_nothing_back(clock: Clock) -> None:
    limiter = LocalLimiter(10, clock)
    outcome = limiter.reserve([check(100, 80)])
    clock.now += (WINDOW + 1) * 1000
    limiter.settle("k", outcome.second, -80)
    assert limiter.reserve([check(100, 100)]).standings[0].used == 100


def test_only_the_windows_used_last_are_kept(clock: Clock) -> None:
    limiter = LocalLimiter(2, clock)
    for key in ("a", "b", "a", "c"):
        limiter.reserve([check(5, key=key)])
    assert len(limiter) == 2
    assert limiter.reserve([check(5, key="a")]).standings[0].used == 3
    assert limiter.reserve([check(5, key="b")]).standings[0].used == 1


def test_what_is_said_counts_before_the_default() -> None:
    default = Limits(requests=10, tokens=1000)
    assert Limits().over(default) == default
    assert Limits(requests=0).over(default) == Limits(requests=0, tokens=1000)
    assert [bool(one) for one in (NO_LIMITS, Limits(0, 0), Limits(0, 1))] == [False, False, True]


@pytest.mark.parametrize(
    "stored", [None, [], "x", {}, {"requests": -1}, {"requests": "9"}, {"tokens": True}]
)
def test_what_is_no_limit_in_a_policy_says_nothing(stored: object) -> None:
    assert Limits.of(stored) == NO_LIMITS


def test_limits_survive_the_way_through_a_policy() -> None:
    for limits in (Limits(), Limits(0, None), Limits(60, 100_000)):
        assert Limits.of(limits.as_dict()) == limits
