"""`python -m api`: serve the management API until SIGTERM."""

import sys

import uvicorn

from api.app import create_app
from ibex.errors import ConfigurationError
from ibex.logs import configure_logging
from ibex.settings import load_settings


def main() -> None:
    try:
        settings = load_settings()
        app = create_app(settings)
    except ConfigurationError as error:
        print(f"ibex: {error.message} {error.advice}", file=sys.stderr)
        sys.exit(2)
    configure_logging(settings.log_level)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,  # its lines carry query strings; ours do not
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
