import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.memory.model import Category, ScoreParts
from ibex.memory.scoring import (
    COSINE_ONE,
    COSINE_ZERO,
    HALF_LIFE_DAYS,
    access_frequency,
    calibrated,
    composite,
    recency,
    relevance,
    score_all,
    score_parts,
    static_score,
)
from tests.unit.candidates import NOW, candidate

_numbers = st.floats(allow_nan=True, allow_infinity=True)
_units = st.floats(0, 1)
_times = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("parts", "score"),
    [
        ((1, 0, 0, 0, 0), 0.40),
        ((0, 1, 0, 0, 0), 0.25),
        ((0, 0, 1, 0, 0), 0.20),
        ((0, 0, 0, 1, 0), 0.10),
        ((0, 0, 0, 0, 1), 0.05),
        ((1, 1, 1, 1, 1), 1.0),
        ((0.5, 0.2, 0.5, 0.9, 0.1), 0.2 + 0.05 + 0.1 + 0.09 + 0.005),
    ],
)
def test_the_composite_has_the_weights_of_the_design(
    parts: tuple[float, float, float, float, float], score: float
) -> None:
    assert composite(ScoreParts(*parts)) == pytest.approx(score, abs=1e-12)


@given(_numbers, _numbers, _numbers, _numbers, st.integers(), _times, st.sampled_from(Category))
def test_whatever_is_stored_every_part_and_the_score_stay_in_the_unit_interval(
    cosine: float,
    lexical: float,
    usefulness: float,
    confidence: float,
    accesses: int,
    valid_from: datetime,
    category: Category,
) -> None:
    memory = candidate(
        usefulness=usefulness,
        confidence=confidence,
        access_count=accesses,
        valid_from=valid_from,
        category=category,
    )
    parts = score_parts(memory, cosine=cosine, lexical=lexical, now=NOW)
    for value in (*tuple(parts), composite(parts), static_score(memory, NOW)):
        assert 0 <= value <= 1


@given(st.tuples(_units, _units, _units, _units, _units), st.integers(0, 4), _units)
def test_more_of_any_part_is_never_worse(
    values: tuple[float, float, float, float, float], place: int, other: float
) -> None:
    changed = list(values)
    changed[place] = max(other, values[place])
    assert composite(ScoreParts(*changed)) >= composite(ScoreParts(*values))


def test_relevance_is_half_meaning_and_half_words() -> None:
    middle = (COSINE_ZERO + COSINE_ONE) / 2
    assert relevance(COSINE_ONE, 0.0) == pytest.approx(0.5)
    assert relevance(COSINE_ZERO, 1.0) == pytest.approx(0.5)
    assert relevance(middle, 0.5) == pytest.approx(0.5)
    assert relevance(None, 0.7) == pytest.approx(0.7)
    assert relevance(COSINE_ONE, None) == pytest.approx(1.0)
    assert relevance(None, None) == 0


def test_cosines_are_calibrated() -> None:
    assert [calibrated(value) for value in (-1, 0, COSINE_ZERO)] == [0, 0, 0]
    assert calibrated(COSINE_ONE) == calibrated(1.0) == pytest.approx(1)


@pytest.mark.parametrize("category", Category)
def test_recency_halves_with_the_category_s_half_life(category: Category) -> None:
    def at(days: float) -> float:
        return recency(category, NOW - timedelta(days=days), NOW)

    half = HALF_LIFE_DAYS[category]
    assert (at(0), at(-5)) == (1, 1)
    assert at(half) == pytest.approx(0.5)
    assert at(2 * half) == pytest.approx(0.25)


def test_accesses_count_logarithmically() -> None:
    assert access_frequency(0) == 0
    assert access_frequency(9) == pytest.approx(math.log(10) / math.log(101))
    assert access_frequency(100) == access_frequency(10**9) == 1


def test_the_static_score_is_the_composite_without_relevance() -> None:
    memory = candidate(usefulness=0.5, confidence=0.9, access_count=100)
    assert static_score(memory, NOW) == pytest.approx(0.25 + 0.10 + 0.09 + 0.05)


@given(
    st.lists(
        st.tuples(
            _numbers, st.none() | _numbers, _numbers, _numbers, st.integers(-5, 2**31 - 1), _times,
            st.sampled_from(Category),
        ),
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_many_at_once_score_as_each_alone(
    memories: list[tuple[float, float | None, float, float, int, datetime, Category]],
    with_cosines: bool,
    with_words: bool,
) -> None:
    candidates = [
        candidate(
            usefulness=usefulness,
            confidence=confidence,
            access_count=accesses,
            valid_from=valid_from,
            category=category,
        )
        for _, _, usefulness, confidence, accesses, valid_from, category in memories
    ]
    near = np.array([one[0] for one in memories])
    words = [one[1] for one in memories]
    scored = score_all(
        candidates,
        cosines=near if with_cosines else None,
        lexical=words if with_words else None,
        now=NOW,
    )
    for number, one in enumerate(candidates):
        parts = score_parts(
            one,
            cosine=memories[number][0] if with_cosines else None,
            lexical=memories[number][1] if with_words else None,
            now=NOW,
        )
        assert scored.parts[number] == pytest.approx(tuple(parts), abs=1e-6)
        assert scored.scores[number] == pytest.approx(composite(parts), abs=1e-6)
