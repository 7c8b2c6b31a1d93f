"""Logging of every service: one line an event, UTC, to standard error. Ids and figures only."""

import logging
import sys
import time


def configure_logging(level: str) -> None:
    """Same form everywhere: `2026-01-31T12:00:00.000Z INFO ibex.proxy message`."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
