"""Writes docs/api/openapi.json: `python -m api.export`."""

from pathlib import Path

import orjson

from api.app import create_app
from ibex.settings import Settings

OPENAPI = Path(__file__).parents[1] / "docs" / "api" / "openapi.json"


def render() -> bytes:
    """The description of the API; depends on the code only."""
    document = create_app(Settings()).openapi()
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    OPENAPI.write_bytes(render())
