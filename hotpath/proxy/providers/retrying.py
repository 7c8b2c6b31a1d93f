"""When a failed request is worth another try, and after which pause."""

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
