import pytest

from ibex.stores.jobs import MAX_BACKOFF, backoff_delay


@pytest.mark.parametrize(("attempt", "longest"), [(1, 5.0), (2, 10.0), (3, 20.0)])
def test_the_wait_doubles_and_half_of_it_is_drawn(attempt: int, longest: float) -> None:
    assert backoff_delay(5.0, attempt, 0.0) == longest / 2
    assert backoff_delay(5.0, attempt, 0.999) == pytest.approx(longest, rel=0.01)


def test_the_wait_has_an_end() -> None:
    assert backoff_delay(5.0, 60, 0.999) <= MAX_BACKOFF
