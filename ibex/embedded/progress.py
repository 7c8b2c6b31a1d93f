"""The visible list of processes turning ready: live on a terminal, a line each elsewhere."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ibex.embedded.state import ProcessRecord

_STYLES = {"ready": "green", "failed": "red", "restarting": "yellow", "starting": "cyan"}


class Progress:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
        self._told: set[tuple[str, str]] = set()
        self._spinners: dict[str, Spinner] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, records: Sequence[ProcessRecord]) -> None:
        if self._live:
            self._live.update(self._table(records))
            return
        for record in records:
            if record.state in {"ready", "failed", "restarting"}:
                news = (record.name, f"{record.state}{record.restarts}")
                if news not in self._told:
                    self._told.add(news)
                    self._console.print(_line(record))

    def _table(self, records: Sequence[ProcessRecord]) -> Table:
        table = Table.grid(padding=(0, 2))
        for record in records:
            table.add_row(
                self._sign(record),
                Text(record.title),
                Text(_words(record), style=_STYLES.get(record.state, "dim")),
                Text(record.address, style="dim"),
            )
        return table

    def _sign(self, record: ProcessRecord) -> RenderableType:
        match record.state:
            case "ready":
                return Text("✓", style="green")
            case "failed":
                return Text("✗", style="red")
            case "waiting" | "stopped":
                return Text("·", style="dim")
        return self._spinners.setdefault(record.name, Spinner("dots", style="cyan"))


def _line(record: ProcessRecord) -> Text:
    sign = {"ready": "✓", "failed": "✗"}.get(record.state, "…")
    text = f"{sign} {record.title:<24} {_words(record):<14} {record.address}"
    return Text(text.rstrip(), style=_STYLES.get(record.state, ""))


def _words(record: ProcessRecord) -> str:
    if record.state == "ready" and record.started_in is not None:
        return f"{record.started_in:5.1f} s"
    if record.state == "starting" and record.since:
        elapsed = datetime.now(UTC) - datetime.fromisoformat(record.since)
        return f"{elapsed.total_seconds():5.1f} s"
    if record.state in {"restarting", "failed"} and record.exit_code is not None:
        return f"{record.state} (exit code {record.exit_code})"
    return record.state
