"""Requests and tokens a minute: the limits, and the sliding window that holds them.

A window is a count of what was used in each second. The running second and the 60 before it count,
so in no 60 seconds, wherever they begin, more than the limit gets through; a client that never
pauses gets one sixtieth less. The same rules stand twice: here, for one process alone, and in
`ibex/stores/lua/reserve.lua`, for all processes together. A test compares them.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

WINDOW: Final = 60  # seconds
LARGEST: Final = 10**12  # a limit's highest value; sums of it are exact in Lua's doubles


class Scope(StrEnum):
    TOKEN = "token"  # noqa: S105  an access token's share, no password
    AGENT = "agent"
    ORGANIZATION = "organization"
    MODEL = "model"  # the server that the pipeline calls


class Kind(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True)
class Limits:
    """A minute's worth. None: nothing is said here, so the default holds. 0: no limit."""

    requests: int | None = None
    tokens: int | None = None

    def __bool__(self) -> bool:
        """Whether something is limited here."""
        return bool(self.requests or self.tokens)

    @classmethod
    def of(cls, stored: object) -> "Limits":
        """From the JSON of a policy. What is not a count says nothing: a hand-edited row must not
        stop its agent."""
        if not isinstance(stored, Mapping):
            return cls()
        return cls(_count(stored.get(Kind.REQUESTS)), _count(stored.get(Kind.TOKENS)))

    def as_dict(self) -> dict[str, int]:
        """The JSON of a policy, without what is not said."""
        said = {Kind.REQUESTS.value: self.requests, Kind.TOKENS.value: self.tokens}
        return {kind: value for kind, value in said.items() if value is not None}

    def over(self, default: "Limits") -> "Limits":
        return Limits(
            default.requests if self.requests is None else self.requests,
            default.tokens if self.tokens is None else self.tokens,
        )


NO_LIMITS: Final = Limits()  # nothing is said


@dataclass(frozen=True)
class Check:
    """One limit that a request has to pass."""

    scope: Scope
    kind: Kind
    key: str  # of its window
    limit: int
    amount: int  # what the request wants of it


@dataclass(frozen=True)
class Standing:
    """How a limit stands after the decision."""

    check: Check
    used: int  # in the window; with the request's amount when it was let through
    fits: bool
    wait_ms: int  # until the amount fits, if it ever does
    reset_ms: int  # until the whole window is free again

    @property
    def remaining(self) -> int:
        return max(self.check.limit - self.used, 0)

    @property
    def never_fits(self) -> bool:
        return self.check.amount > self.check.limit


@dataclass(frozen=True)
class Outcome:
    """All limits were passed and counted, or one was not and nothing was counted."""

    second: int  # of the clock that counted, for the settlement
    standings: Sequence[Standing]
    local: bool  # this process decided alone

    @property
    def refusal(self) -> Standing | None:
        """The limit that takes longest to let the request through."""
        failed = [one for one in self.standings if not one.fits]
        return max(failed, key=lambda one: (one.never_fits, one.wait_ms), default=None)


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


class LocalLimiter:
    """Holds the limits within this process, while nobody counts for all."""

    def __init__(self, size: int, clock: Callable[[], int] = _milliseconds) -> None:
        """Keeps the `size` windows used last; `clock` in milliseconds."""
        self._size = size
        self._clock = clock
        self._windows: OrderedDict[str, dict[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def reserve(self, checks: Sequence[Check]) -> Outcome:
        now = self._clock()
        second = now // 1000
        windows = [self._window(check.key, second) for check in checks]
        standings = [
            _standing(check, window, now) for check, window in zip(checks, windows, strict=True)
        ]
        if all(one.fits for one in standings):
            for check, window in zip(checks, windows, strict=True):
                window[second] = window.get(second, 0) + check.amount
            standings = [_passed(one, now) for one in standings]
        return Outcome(second, standings, local=True)

    def settle(self, key: str, second: int, difference: int) -> None:
        """Correct by `difference` what was reserved in `second`: more counts from now on, less as
        long as the reservation does."""
        now = self._clock() // 1000
        window = self._window(key, now)
        if difference > 0:
            window[now] = window.get(now, 0) + difference
        elif second in window:
            window[second] = max(window[second] + difference, 0)

    def _window(self, key: str, second: int) -> dict[int, int]:
        window = self._windows.setdefault(key, {})
        self._windows.move_to_end(key)
        if len(self._windows) > self._size:
            self._windows.popitem(last=False)
        for bucket in [bucket for bucket in window if bucket < second - WINDOW]:
            del window[bucket]
        return window


def _standing(check: Check, window: Mapping[int, int], now: int) -> Standing:
    used = sum(window.values())
    missing, wait = used + check.amount - check.limit, 0
    for bucket in sorted(window):
        if missing <= 0:
            break
        missing -= window[bucket]
        wait = _free_at(bucket) - now
    reset = _free_at(max(window)) - now if window else 0
    return Standing(check, used, used + check.amount <= check.limit, wait, reset)


def _passed(standing: Standing, now: int) -> Standing:
    check = standing.check
    reset = _free_at(now // 1000) - now
    return Standing(check, standing.used + check.amount, True, 0, max(reset, standing.reset_ms))


def _free_at(bucket: int) -> int:
    """Milliseconds on the clock at which a second stops counting."""
    return (bucket + WINDOW + 1) * 1000


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, LARGEST)
