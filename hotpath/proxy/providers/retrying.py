"""When a failed request is worth another try, and after which pause."""

import email.utils
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
LONGEST_PAUSE: Final = 5.0  # seconds; nobody waits longer here than a client would itself
_FIRST_PAUSE: Final = 0.25  # seconds, doubled with each try


def pause_before(attempt: int, retry_after: float | None, chance: float) -> float | None:
    """Seconds to wait after the failed try number `attempt`, from 0; None: not worth waiting.

    `retry_after` in seconds is what the server asked for, `chance` a number in [0, 1). Full jitter
    on an exponential limit, as in
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    if retry_after is not None and retry_after > LONGEST_PAUSE:
        return None
    limit = min(_FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE)
    return max(retry_after or 0.0, limit * chance)


def asked_pause(headers: Sequence[tuple[bytes, bytes]], now: datetime) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after` (a number or a date); None when neither is
    there or understood. `headers` by lower-case name."""
    said = dict(reversed(headers))
    milliseconds = _number(said.get(b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = said.get(b"retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(value.decode("latin-1"))
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)


def _number(value: bytes | None) -> float | None:
    text = (value or b"").strip()
    digits = text.replace(b".", b"", 1)
    return float(text) if digits.isdigit() and len(text) < 20 else None
