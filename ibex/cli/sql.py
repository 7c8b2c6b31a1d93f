"""`ibex sql`: a question to the lake, or a shell for many."""

import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from ibex.cli.admin import Json
from ibex.errors import InvalidRequestError
from ibex.settings import Settings, load_settings
from ibex.transfer.formats import Format, format_of
from ibex.transfer.saving import STANDARD_OUTPUT, opened

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SIGNED_FOR: Final = timedelta(hours=1)
_TABLE: Final = "table"


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One statement or several; without: a shell.")
    ] = None,
    org: Annotated[str | None, typer.Option(help="The organization's name. Default: demo.")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="IBEX_TOKEN", help="Instead of --org: whose lake this token reads."),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="table, csv, json, jsonl or parquet.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="A file instead of the screen.")
    ] = STANDARD_OUTPUT,
    json: Json = False,
) -> None:
    """Ask the lake in DuckDB's SQL: sessions, turns, memories, memory_versions, injections, traces
    and usage of one organization. Without a query: a shell; .help says what it knows."""
    settings = load_settings()
    chosen = _format(form, output, json=json)
    from ibex.lake.sql import open_lake  # noqa: PLC0415 — starts fast for the other commands

    whose = org or (None if token else "demo")
    lake = open_lake(whose, token=token, settings=settings, valid_for=_SIGNED_FOR)
    from ibex.cli.sql_shell import Shell  # noqa: PLC0415

    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    with closing(lake):
        if query is None:
            Shell(lake, settings).run()
        else:
            _answer(lake.connection, settings, query, chosen, output)


def _answer(
    connection: "DuckDBPyConnection", settings: Settings, query: str, form: str, output: Path
) -> None:
    from ibex.cli.sql_shell import show  # noqa: PLC0415
    from ibex.lake.asking import ask  # noqa: PLC0415
    from ibex.lake.results import write  # noqa: PLC0415

    if form == _TABLE:
        ask(connection, query, show, settings.sql_timeout)
        return
    with opened(output) as file:
        rows = ask(
            connection,
            query,
            lambda reader: write(reader, Format(form), file),
            settings.sql_timeout,
        )
    if output != STANDARD_OUTPUT:
        Console(stderr=True).print(f"{output}: {rows} rows.", markup=False, highlight=False)


def _format(form: str | None, output: Path, *, json: bool) -> str:
    if json:
        return Format.JSON
    if form is not None:
        if form not in {_TABLE, *Format}:
            raise InvalidRequestError(f"--format is one of {_TABLE}, {', '.join(Format)}.")
        return form
    return _TABLE if output == STANDARD_OUTPUT else format_of(output)
