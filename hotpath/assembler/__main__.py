"""`python -m hotpath.assembler`: serve until SIGTERM or SIGINT."""

import asyncio
import logging
import signal
import sys

import uvloop
from threadpoolctl import threadpool_limits

from hotpath.assembler.server import running
from ibex.errors import ConfigurationError
from ibex.logs import configure_logging
from ibex.resources import allow_many_connections, settle_memory
from ibex.settings import Settings, load_settings

_LOG = logging.getLogger("ibex.assembler")


async def serve(settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings):
        settle_memory()
        _LOG.info("listening on %s:%d", settings.host, settings.assembler_port)
        await stopped.wait()
        _LOG.info("stopping")


def main() -> None:
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        allow_many_connections()
        # A product of a matrix and a vector is done before a second thread has woken up, and on
        # busy cores the first then waits for it: 10,000 memories take 2 ms with one, 21 with two.
        threadpool_limits(1, "blas")
        uvloop.run(serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"ibex: {error.message} {error.advice}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
