"""Runs a benchmark from the command line, so that Ctrl-C and SIGTERM stop what it started too."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

from rich.console import Console

from ibex.errors import IbexError

_WIDTH: Final = 160  # columns of a log


def console() -> Console:
    made = Console()
    return made if made.is_terminal else Console(width=_WIDTH)


def run_and_exit(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Exits with what `work` returns, with 130 when it was interrupted, and with 1 and one line
    when it raised an IbexError."""
    try:
        sys.exit(asyncio.run(_until_told(work)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except IbexError as error:
        sys.stderr.write(f"ibex: {error.message} {error.advice}\n")
        sys.exit(1)


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    return await task
