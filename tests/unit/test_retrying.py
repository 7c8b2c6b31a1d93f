"""Pauses between tries, and what a server asks for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath.proxy.providers.retrying import LONGEST_PAUSE, pause_before
from ibex.retry_after import asked_pause

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_the_pause_doubles_up_to_a_limit() -> None:
    limits = [pause_before(attempt, None, 1.0) for attempt in range(7)]
    assert limits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert pause_before(3, None, 0.0) == 0.0


@given(
    st.integers(0, 20),
    st.none() | st.floats(0, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_what_was_asked_for_at_least_and_never_long(
    attempt: int, asked: float | None, chance: float
) -> None:
    pause = pause_before(attempt, asked, chance)
    if asked is not None and asked > LONGEST_PAUSE:
        assert pause is None
    else:
        assert pause is not None
        assert (asked or 0.0) <= pause <= LONGEST_PAUSE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"0.5")], 0.5),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after", b"Fri, 20 Nov 2026 12:00:30 GMT")], 30.0),
        ([(b"retry-after", b"Fri, 20 Nov 2026 11:00:00 GMT")], 0.0),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"1" * 400)], None),
        ([(b"retry-after", b"\xff")], None),
    ],
)
def test_what_the_server_asks_for(
    headers: list[tuple[bytes, bytes]], seconds: float | None
) -> None:
    assert asked_pause(headers, NOW) == seconds
