"""How a plain ASGI service becomes a process."""

import sys
from collections.abc import Callable
from typing import Final

import uvicorn

from ibex.asgi import Service
from ibex.errors import ConfigurationError
from ibex.logs import configure_logging
from ibex.resources import allow_many_connections, settle_memory
from ibex.settings import Settings, load_settings

# Longer than any of our clients keeps an idle connection, so that none is closed under a request.
_KEEP_ALIVE: Final = 120  # seconds
_GRACE: Final = 10  # seconds for the requests in flight after SIGTERM


def http_server(app: Service, settings: Settings, port: int) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def run_process(main: Callable[[Settings], int]) -> None:
    """Read the settings, set up logging, exit with what `main` returns; 2: a wrong setting."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        allow_many_connections()
        settle_memory()
        sys.exit(main(settings))
    except ConfigurationError as error:
        print(f"ibex: {error.message} {error.advice}", file=sys.stderr)
        sys.exit(2)
