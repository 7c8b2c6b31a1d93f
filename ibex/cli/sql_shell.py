"""The shell of `ibex sql`: statements that end with a semicolon, and a few words that begin with a
dot."""

import readline
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ibex.errors import IbexError
from ibex.lake.asking import ask
from ibex.lake.results import columns_of, rows_of
from ibex.lake.schemas import TABLES
from ibex.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from ibex.lake.sql import LakeReader

_SHOWN: Final = 1_000  # rows of a table on the screen
_STALE: Final = timedelta(minutes=5)  # after which a shell looks what is live by now
_HISTORY: Final = 2_000  # lines
_HELP: Final = """A statement of DuckDB's SQL, of any number of lines, ends with a semicolon.
Ctrl-C stops a query or forgets a line; Ctrl-D leaves.

  .tables         the tables, and what of each is in the lake
  .schema [NAME]  the columns of one table or of all
  .help           this
  .quit           leave
"""


class Shell:
    def __init__(self, lake: "LakeReader", settings: Settings) -> None:
        self._lake = lake
        self._settings = settings
        self._looked_at = datetime.now(UTC)
        self._history = settings.home / "sql_history"
        self._out = Console()
        self._errors = Console(stderr=True)

    def run(self) -> None:
        """Until the user leaves."""
        self._begin()
        waiting: list[str] = []
        while True:
            try:
                line = input("   ...> " if waiting else "ibex> ")
            except EOFError:
                self._out.print()
                break
            except KeyboardInterrupt:
                waiting.clear()
                self._out.print()
                continue
            if not waiting and line.strip().startswith("."):
                if line.strip() in {".quit", ".exit"}:
                    break
                self._dot(*line.split())
                continue
            if line.strip() or waiting:
                waiting.append(line)
            if line.rstrip().endswith(";"):
                self._run("\n".join(waiting))
                waiting.clear()
        self._end()

    def _run(self, statement: str) -> None:
        try:
            if datetime.now(UTC) - self._looked_at > _STALE:
                self._lake.refresh()
                self._looked_at = datetime.now(UTC)
            ask(self._lake.connection, statement, show, self._settings.sql_timeout)
        except KeyboardInterrupt:
            self._errors.print("stopped", style="yellow")
        except IbexError as error:
            self._errors.print(f"{error.message} {error.advice}".strip(), style="red", markup=False)

    def _dot(self, word: str, *names: str) -> None:
        match word:
            case ".tables":
                self._show_tables()
            case ".schema" if all(name in TABLES for name in names):
                for name in names or TABLES:
                    self._out.print(_schema(name), highlight=False, markup=False)
            case ".schema":
                self._errors.print(f"The tables are {', '.join(TABLES)}.", style="red")
            case _:
                self._out.print(_HELP, highlight=False, markup=False)

    def _show_tables(self) -> None:
        there = {one.table: one for one in self._lake.status()}
        table = Table(box=None, padding=(0, 2))
        for name in ("table", "rows", "files", "from", "until"):
            table.add_column(name, no_wrap=True)
        table.add_column("what")
        for name, one in TABLES.items():
            found = there.get(name)
            table.add_row(
                name,
                f"{found.rows:,}" if found else "0",
                str(found.files if found else 0),
                str((found and found.since) or "-"),
                str((found and found.until) or "-"),
                one.about,
            )
        self._out.print(table)

    def _begin(self) -> None:
        with suppress(OSError):
            readline.read_history_file(self._history)
        readline.set_history_length(_HISTORY)
        words = [*TABLES, *{name for one in TABLES.values() for name in one.columns()}]
        readline.set_completer(_completer(sorted(words)))
        readline.parse_and_bind("tab: complete")
        self._out.print("The lake in DuckDB's SQL. .tables lists it, .help says more.")

    def _end(self) -> None:
        with suppress(OSError):
            self._history.touch(mode=0o600)
            readline.write_history_file(self._history)


def show(reader: "pa.RecordBatchReader") -> None:
    """As a table, at most a thousand rows; what it says is no markup and no control sequence."""
    columns = columns_of(reader.schema)
    table = Table(box=None, padding=(0, 2))
    for column in columns:
        table.add_column(Text(_printable(column.name)))
    rows = (row for batch in reader for row in rows_of(batch, columns))
    for row in islice(rows, _SHOWN):
        table.add_row(*["" if value is None else Text(_printable(value)) for value in row])
    console = Console(file=sys.stdout)
    console.print(table)
    if next(rows, None) is not None:
        Console(stderr=True).print(
            f"The first {_SHOWN} rows; 'ibex sql … -o FILE.csv' writes all of them.", style="yellow"
        )


def _printable(value: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def _schema(name: str) -> str:
    columns = TABLES[name].columns()
    wide = max(map(len, columns))
    return "\n".join([name, *[f"  {one:{wide}}  {kind.value}" for one, kind in columns.items()]])


def _completer(words: Sequence[str]) -> Callable[[str, int], str | None]:
    def complete(text: str, number: int) -> str | None:
        return next(islice((one for one in words if one.startswith(text)), number, None), None)

    return complete
