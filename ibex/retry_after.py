"""How long a server asks to be left alone."""

import email.utils
from collections.abc import Sequence
from datetime import UTC, datetime


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
