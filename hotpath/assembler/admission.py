"""How many contexts are made at once: as many as come in time, found out by making them.

Where more are asked for than the machine can make, each is later than the one before, until all are
too late and none is of use. So the limit falls when a context takes most of its deadline, or nobody
waits for it any more, and rises when the limit is reached and all are early (additive increase,
multiplicative decrease, as TCP does). With the rush over it comes back to where it began, since a
burst of a few does no harm. Who is refused goes without memories at once.
"""

from typing import Final

LEAST: Final = 4
MOST: Final = 64
_BEGINNING: Final = 16.0
_LATE: Final = 0.75  # of the deadline
_FALL: Final = 0.9
_RECOVERY: Final = 0.05  # for each early context below the beginning


class Admission:
    def __init__(self, deadline: float) -> None:
        """`deadline` of a context, in seconds."""
        self._late = deadline * _LATE
        self._limit = _BEGINNING
        self.running = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def enter(self) -> bool:
        """Whether one more may begin; it then `leave`s."""
        if self.running >= self.limit:
            return False
        self.running += 1
        return True

    def leave(self, seconds: float | None) -> None:
        """`seconds` it took; None: it was given up."""
        if seconds is None or seconds > self._late:
            self._limit = max(float(LEAST), self._limit * _FALL)
        elif self.running >= self.limit:
            self._limit = min(float(MOST), self._limit + 1 / self._limit)
        elif self._limit < _BEGINNING:
            self._limit = min(_BEGINNING, self._limit + _RECOVERY)
        self.running -= 1
