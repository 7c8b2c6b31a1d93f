"""A provider that fails again and again is left alone for a while, then tried with one request.

    closed ──failures in a row──► open ──pause over──► half-open ──success──► closed
                                    ▲                      └──failure──► open

What counts as a failure is that the server could not be reached, fell silent, or is said to be away
(502, 503, 504). A 500 or a 429 does not: one caller's request could bring it about, and everybody
else would pay for it.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

AWAY: Final = frozenset({502, 503, 504})


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit:
    def __init__(
        self, failures: int, pause: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Opens after `failures` in a row, for `pause` seconds."""
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return State.CLOSED
        return State.HALF_OPEN if self.left == 0 else State.OPEN

    @property
    def left(self) -> float:
        """Seconds until a request may try again; 0 when one may now."""
        if self._opened_at is None:
            return 0.0
        return max(self._opened_at + self._pause - self._clock(), 0.0)

    def admit(self) -> bool:
        """Whether a request may be sent now. Whoever is admitted must say how it went."""
        match self.state:
            case State.CLOSED:
                return True
            case State.OPEN:
                return False
        if self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        if self._opened_at is not None or self._failures >= self._limit:
            self._opened_at = self._clock()

    def undecided(self) -> None:
        """The client went away before anything was known."""
        self._probing = False
