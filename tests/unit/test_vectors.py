"""What is decided about snapshots, and the sums over their vectors."""

from datetime import date, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibex.embedding import Matrix
from ibex.vectors.comparing import Memories, agreement, clusters, drift, duplicates
from ibex.vectors.keeping import expired
from ibex.vectors.nearness import alike, nearest, rank_correlation
from tests.unit.candidates import direction

TODAY = date(2026, 11, 20)


@settings(deadline=None)
@given(
    ages=st.sets(st.integers(-5, 800), max_size=60),
    daily=st.integers(1, 60),
    monthly=st.integers(0, 24),
)
def test_what_is_kept_is_the_last_days_and_the_first_of_the_last_months(
    ages: set[int], daily: int, monthly: int
) -> None:
    days = {TODAY - timedelta(days=age) for age in ages}
    gone = expired(days, TODAY, daily=daily, monthly=monthly)
    kept = days - gone
    assert gone <= days
    assert {day for day in days if (TODAY - day).days < daily} <= kept
    assert max(days, default=None) == max(kept, default=None)
    for day in kept - {max(days, default=None)}:
        if (TODAY - day).days >= daily:
            assert not any(
                one < day and (one.year, one.month) == (day.year, day.month) for one in days
            )
            assert (TODAY.year - day.year) * 12 + TODAY.month - day.month < monthly
    # The day after, nothing that had gone is missed: what goes stays gone.
    assert gone <= expired(days, TODAY + timedelta(days=1), daily=daily, monthly=monthly)


def test_of_two_years_stay_thirty_days_and_twelve_months() -> None:
    days = {TODAY - timedelta(days=age) for age in range(730)}
    kept = days - expired(days, TODAY, daily=30, monthly=12)
    assert len(kept) == 30 + 11  # one first of a month is among the last thirty days
    assert min(kept) == date(2025, 12, 1)


def random_vectors(count: int, seed: int = 0) -> Matrix:
    vectors = np.random.default_rng(seed).standard_normal((count, 384)).astype(np.float32)
    unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def memories(vectors: Matrix, **changes: object) -> Memories:
    count = len(vectors)
    values: dict[str, object] = {
        "ids": tuple(f"m{row}" for row in range(count)),
        "versions": (1,) * count,
        "agents": tuple(f"a{row % 2}" for row in range(count)),
        "users": (None,) * count,
        "contents": tuple(f"Fact {row}." for row in range(count)),
        "vectors": vectors,
        "of": count,
        "share": 1.0,
    }
    return Memories(**(values | changes))  # type: ignore[arg-type]


def test_groups_are_the_connected_ones_and_reach_over_blocks() -> None:
    vectors = random_vectors(1200)
    vectors[1100] = vectors[3]  # in different blocks of 512
    vectors[600] = (vectors[3] + 0.3 * vectors[4]) / np.linalg.norm(vectors[3] + 0.3 * vectors[4])
    vectors[900] = vectors[7]
    assert [group.tolist() for group in alike(vectors, 0.9)] == [[3, 600, 1100], [7, 900]]
    chain = np.stack([direction(np.cos(angle), np.sin(angle)) for angle in np.arange(0, 1.5, 0.2)])
    assert [group.tolist() for group in alike(chain, 0.97)] == [list(range(8))]
    assert alike(random_vectors(0), 0.9) == []


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 2**16))
def test_the_nearest_are_those_of_a_full_sort(rows: int, count: int, seed: int) -> None:
    vectors, questions = random_vectors(max(rows, 1), seed), random_vectors(5, seed + 1)
    places, values = nearest(questions, vectors, count)
    full = np.sort(questions @ vectors.T, axis=1)[:, ::-1][:, :count]
    np.testing.assert_allclose(values, full, atol=1e-6)
    np.testing.assert_allclose(
        np.take_along_axis(questions @ vectors.T, places, axis=1), values, atol=1e-6
    )


def test_clusters_are_found_and_the_same_each_time() -> None:
    middles = random_vectors(4)
    near = np.repeat(middles, [40, 30, 20, 10], axis=0) + 0.3 * random_vectors(100, 1)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    found = clusters(memories(near), 4)
    assert [group.size for group in found] == [40, 30, 20, 10]
    assert found == clusters(memories(near), 4)
    assert found[0].typical in {f"m{row}" for row in range(40)}
    assert found[0].agents == 2
    same = clusters(memories(np.repeat(middles[:1], 9, axis=0)), 4)
    assert [group.size for group in same] == [9]
    assert clusters(memories(random_vectors(0))) == []


def test_duplicates_show_the_nearest_to_their_middle_first() -> None:
    vectors = np.stack([direction(1, part) for part in (0.3, 0.0, 0.15)] + [direction(0, 0, 1)])
    (group,) = duplicates(memories(vectors, users=("u1", None, "u2", None)))
    assert (group.size, group.agents, group.users) == (3, 2, 2)
    assert (group.typical, group.contents[0]) == ("m2", "Fact 2.")


def test_drift_counts_what_changed_and_says_how_far_it_moved() -> None:
    old = np.stack([direction(1), direction(1, 0.1), direction(0, 1)])
    new = np.stack([direction(1), direction(0, 0, 1), direction(0, 1)])
    before = memories(old, agents=("a0", "a0", "a1"))
    after = memories(new, ids=("m0", "m9", "m2"), versions=(1, 1, 2), agents=("a0", "a0", "a1"))
    first, second = drift(before, after)
    assert (first.agent_id, first.before, first.after) == ("a0", 2, 2)
    assert (first.added, first.gone, first.changed, first.new) == (1, 1, 0, 1.0)
    assert first.moved == pytest.approx(1 - np.sqrt(0.5), abs=0.01)
    assert (second.added, second.gone, second.changed, second.new) == (0, 0, 1, None)
    assert second.moved == pytest.approx(0, abs=1e-6)
    (gone,) = drift(memories(old[:1]), memories(old[:0]))
    assert (gone.gone, gone.moved) == (1, None)
    (come,) = drift(memories(old[:0]), memories(old[:1]))
    assert (come.added, come.new) == (1, 1.0)


def test_drift_of_samples_is_an_estimate_of_the_whole() -> None:
    ids = tuple(str(UUID(int=number)) for number in range(4000))
    vectors = np.repeat(random_vectors(1), 4000, axis=0)
    one = {"agents": ("a",) * 4000}
    before = memories(vectors, ids=ids, **one)
    after = memories(vectors[:3000], ids=ids[1000:], agents=("a",) * 3000)
    (whole,) = drift(before, after)
    assert (whole.before, whole.after, whole.added, whole.gone) == (4000, 3000, 0, 1000)
    half, third = before.thinned(0.5), after.thinned(1 / 3)
    assert 1800 < len(half) < 2200
    assert half.thinned(1 / 3).ids == before.thinned(1 / 3).ids
    (some,) = drift(half, third)
    assert some.added == 0
    assert some.before == pytest.approx(4000, rel=0.1)
    assert some.gone == pytest.approx(1000, rel=0.2)


def test_two_models_agree_as_far_as_they_find_the_same() -> None:
    one = random_vectors(200)
    turned = one[:, ::-1].copy()
    same = agreement(memories(one), memories(turned))
    assert (same.both, same.neighbours, same.same_nearest) == (200, 1.0, 1.0)
    assert same.correlation == pytest.approx(1.0, abs=1e-3)
    other = agreement(memories(one), memories(random_vectors(200, 7)))
    assert other.neighbours is not None
    assert other.correlation is not None
    assert other.neighbours < 0.2
    assert abs(other.correlation) < 0.05
    none = agreement(memories(one), memories(one[:1], ids=("x",)))
    assert (none.first, none.second, none.both, none.neighbours) == (200, 1, 0, None)


def test_ranks_that_do_not_vary_say_nothing() -> None:
    level, rising = np.ones(5, np.float32), np.arange(5, dtype=np.float32)
    assert rank_correlation(level, rising) == 0.0
    assert rank_correlation(rising, rising**3) == pytest.approx(1.0)
    assert rank_correlation(rising, -rising) == pytest.approx(-1.0)
