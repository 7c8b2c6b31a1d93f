"""What a service asks of the system and of Python when it starts."""

import contextlib
import gc
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Final


def allow_many_connections() -> None:
    """As many open files as this user may have: shells commonly start with 1,024, and every
    connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# New objects until the young ones are gone through; Python's own 700 are those of two requests, and
# hardly anything of a request is garbage that only a collection finds.
_YOUNG: Final = 20_000
_NICENESS: Final = 10


def give_way() -> None:
    """Let the processes that somebody waits for go first: this one works for later.

    Linux shares processor time between sessions before it does inside one, and each of our
    processes has a session of its own, so its niceness is said for both.
    """
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):  # where sessions are not told apart
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def let_others_first() -> None:
    """Let the other threads of this process go before the one that calls this. Linux has a niceness
    for every thread; elsewhere it is the process's, which is left alone."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def settle_memory() -> None:
    """Take what is loaded by now out of every later garbage collection: going through all of it
    would stop the service for tens of milliseconds. And collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
