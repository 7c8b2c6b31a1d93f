"""`ibex` in the test's own process, on the test's own servers."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from ibex.cli import app
from ibex.errors import IbexError
from ibex.settings import Settings
from tests.conftest import service_env


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as the command reads them."""
    for name, value in service_env(settings).items():
        if name != "IBEX_CONTEXT_WINDOWS":
            monkeypatch.setenv(name, value)


async def ibex(*arguments: str, said: str | None = None) -> Any:
    """What it prints with --json; `said` is its standard input."""
    return json.loads(await shown(*arguments, "--json", said=said))


async def shown(*arguments: str, said: str | None = None) -> str:
    """Its standard output."""
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=said)
    if isinstance(done.exception, IbexError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


async def refused(*arguments: str) -> str:
    """What the command's parser says of an option that is wrong."""
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert done.exit_code == 2, done.output
    return done.output
