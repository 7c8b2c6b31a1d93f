"""What a service asks of the system and of Python when it starts."""

import gc
import resource


def allow_many_connections() -> None:
    """As many open files as this user may have: shells commonly start with 1,024, and every
    connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle_memory() -> None:
    """Take what is loaded by now out of every later garbage collection: going through all of it
    would stop the service for tens of milliseconds."""
    gc.collect()
    gc.freeze()
