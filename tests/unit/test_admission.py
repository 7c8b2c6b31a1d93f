import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath.assembler.admission import LEAST, MOST, Admission

DEADLINE = 0.04


def full(admission: Admission) -> int:
    """Let in as many as may begin."""
    let_in = 0
    while admission.enter():
        let_in += 1
    return let_in


def test_it_lets_in_as_many_as_its_limit_and_one_more_for_each_that_leaves() -> None:
    admission = Admission(DEADLINE)
    assert full(admission) == admission.limit == admission.running > LEAST
    admission.leave(0.001)
    assert admission.enter()
    assert not admission.enter()


@pytest.mark.parametrize("seconds", [0.039, None])
def test_late_or_given_up_ones_lower_the_limit_to_a_few(seconds: float | None) -> None:
    admission = Admission(DEADLINE)
    before = admission.limit
    for _ in range(3):
        assert admission.enter()
        admission.leave(seconds)
    assert admission.limit < before
    for _ in range(100):
        assert admission.enter()
        admission.leave(seconds)
    assert admission.limit == LEAST
    assert full(admission) == LEAST


def test_early_ones_raise_it_only_where_it_was_reached() -> None:
    admission = Admission(DEADLINE)
    before = admission.limit
    for _ in range(1000):
        assert admission.enter()
        admission.leave(0.001)
    assert admission.limit == before
    for _ in range(100):
        assert admission.enter()
        admission.leave(None)
    for _ in range(1000):
        assert admission.enter()
        admission.leave(0.001)
    assert admission.limit == before  # after a rush
    for _ in range(10_000):
        full(admission)
        admission.leave(0.001)
    assert admission.limit == MOST


@given(st.lists(st.one_of(st.none(), st.floats(0, 1), st.just("enter")), max_size=200))
def test_whatever_happens_the_limit_holds(events: list[float | str | None]) -> None:
    admission = Admission(DEADLINE)
    inside = 0
    for event in events:
        if event == "enter":
            inside += admission.enter()
        elif inside:
            admission.leave(event if isinstance(event, float) else None)
            inside -= 1
        assert admission.running == inside
        assert LEAST <= admission.limit <= MOST
