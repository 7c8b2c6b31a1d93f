"""A lease that is renewed while its work goes on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg

from ibex.errors import IbexError


@asynccontextmanager
async def renewed(
    renew: Callable[[], Awaitable[None]], lease: float, log: logging.Logger
) -> AsyncIterator[None]:
    """Calls `renew` three times in the `lease` of so many seconds. Where that fails the log says
    so, and the next call may still be in time."""

    async def again() -> None:
        while True:
            await asyncio.sleep(lease / 3)
            try:
                await renew()
            except (IbexError, asyncpg.PostgresError) as error:
                log.warning("a lease was not renewed (%s)", type(error).__name__)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
