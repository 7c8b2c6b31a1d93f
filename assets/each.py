"""One coroutine an item, some at a time, and the failure of one is not the failure of the rest."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from assets.stores import Stores
from ibex.errors import DependencyError, IbexError, LeaseLostError
from ibex.stores.jobs import ClaimedSession

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger("ibex.pipeline")


@dataclass(frozen=True)
class Outcomes(Generic[Item, Result]):
    done: list[Result]
    failed: list[tuple[Item, Exception]]


async def each(
    items: Iterable[Item],
    work: Callable[[Item], Coroutine[Any, Any, Result]],
    *,
    at_once: int,
) -> Outcomes[Item, Result]:
    """`done` in the order of the items. Only an Exception is collected; a cancellation is not."""
    gate = asyncio.Semaphore(at_once)

    async def guarded(item: Item) -> Result:
        async with gate:
            return await work(item)

    listed = list(items)
    results = await asyncio.gather(*map(guarded, listed), return_exceptions=True)
    outcomes: Outcomes[Item, Result] = Outcomes([], [])
    for item, result in zip(listed, results, strict=True):
        if isinstance(result, Exception):
            outcomes.failed.append((item, result))
        elif isinstance(result, BaseException):
            raise result
        else:
            outcomes.done.append(result)
    return outcomes


def error_code(error: Exception) -> str:
    """What is stored about a failure: never its message."""
    return error.code if isinstance(error, IbexError) else "internal_error"


def log_unplanned(what: str, error: Exception) -> None:
    """Where an error that nobody planned came from."""
    if not isinstance(error, IbexError):
        # The lines of code only: its message may hold content.
        lines = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%s: %s at\n%s", what, type(error).__name__, lines)


async def give_back(stores: Stores, job: ClaimedSession, error: Exception) -> None:
    """End the lease of a session that failed. While a part that it needs is away it waits, and the
    try does not count; else it does, and the session waits or is a dead letter."""
    log_unplanned(f"session {job.session_id}", error)
    try:
        state = await _given_back(stores, job, error)
    except LeaseLostError:
        _log.warning("session %s: another run has the lease by now", job.session_id)
    else:
        _log.warning(
            "session %s: try %d failed (%s), now %s",
            job.session_id,
            job.attempt,
            error_code(error),
            state,
        )


async def _given_back(stores: Stores, job: ClaimedSession, error: Exception) -> str:
    """Its new state. Raises LeaseLostError."""
    if isinstance(error, LeaseLostError):
        raise error
    settings = stores.settings
    if isinstance(error, DependencyError) and await stores.jobs.defer(
        job,
        error_code(error),
        patience=settings.extraction_patience,
        backoff=settings.extraction_backoff,
        at_least=getattr(error, "retry_after", 0.0),
    ):
        return "waiting, not counted"
    return await stores.jobs.fail(
        job,
        error_code(error),
        settings.extraction_max_attempts,
        settings.extraction_backoff,
    )
