"""What runs, and whether it answers right now."""

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from ibex.embedded.process import ProcessSpec
from ibex.embedded.state import ProcessRecord, StackState

_PROBE_LIMIT = 5.0  # seconds
_COLOURS = {"ready": "green", "failed": "red", "stopped": "red", "orphaned": "red"}


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    title: str
    # One of ibex.embedded.state.State, or "unready": it runs, but does not answer; or "orphaned":
    # it runs, but its supervisor was killed.
    state: str
    ready: bool
    address: str
    pid: int | None
    restarts: int
    since: str  # ISO 8601
    started_in: float | None  # seconds
    exit_code: int | None
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def look(state: StackState, specs: dict[str, ProcessSpec]) -> list[ProcessStatus]:
    """Ask every process whether it is ready. Nothing counts as ready without its supervisor."""
    supervised = state.supervisor.running() is not None
    return list(
        await asyncio.gather(
            *(_look(record, specs.get(record.name), supervised) for record in state.processes)
        )
    )


async def _look(record: ProcessRecord, spec: ProcessSpec | None, supervised: bool) -> ProcessStatus:
    running = record.process.running() if record.process else None
    state: str = record.state
    if not supervised:
        state = "orphaned" if running else "stopped"
    if state == "ready" and spec is not None and not record.once and not await _answers(spec):
        state = "unready"
    return ProcessStatus(
        name=record.name,
        title=record.title,
        state=state,
        ready=state == "ready",
        address=record.address,
        pid=running.pid if running else None,
        restarts=record.restarts,
        since=record.since,
        started_in=record.started_in,
        exit_code=record.exit_code,
        error=record.error,
    )


async def _answers(spec: ProcessSpec) -> bool:
    try:
        async with asyncio.timeout(_PROBE_LIMIT):
            return await spec.ready()
    except TimeoutError:
        return False


def render_status(processes: list[ProcessStatus]) -> Table | str:
    """For a person."""
    if not processes:
        return "Nothing runs. Start it with 'ibex up'."
    restarted = any(one.restarts for one in processes)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("process", "state", "for", *(["restarts"] if restarted else []), "pid"):
        table.add_column(heading, no_wrap=True)
    table.add_column("address", overflow="fold")
    for one in processes:
        colour = _COLOURS.get(one.state, "yellow")
        table.add_row(
            one.title,
            f"[{colour}]{'done' if one.ready and one.pid is None else one.state}[/]",
            _age(one.since),
            *([str(one.restarts or "")] if restarted else []),
            str(one.pid or ""),
            Text(one.error if one.error and not one.ready else one.address),
        )
    return table


def _age(since: str) -> str:
    try:
        seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    except ValueError:
        return ""
    if seconds < 120:
        return f"{max(0, seconds)} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h"
