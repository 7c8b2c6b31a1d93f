"""What the supervisor knows, in `$IBEX_HOME/run/state.json`: written by it, read by everybody else.

A process is named by its pid and the time it was created, so a number that the system has given to
another program is never mistaken for ours.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil

from ibex.embedded.process import private_folder

State = Literal["waiting", "starting", "ready", "restarting", "failed", "stopped"]
# psutil derives the time from the boot time, which moves a little when the clock is set.
_SAME_TIME = 2.0  # seconds


@dataclass(frozen=True)
class Identity:
    pid: int
    create_time: float  # seconds since 1970

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def running(self) -> psutil.Process | None:
        """This very process, unless it has ended (a zombie has)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < _SAME_TIME
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class ProcessRecord:
    name: str
    title: str
    address: str
    port: int | None
    once: bool
    stop_signal: int
    stop_timeout: float  # seconds
    state: State = "waiting"
    process: Identity | None = None
    restarts: int = 0
    since: str = ""  # when it came into this state, ISO 8601
    started_in: float | None = None  # seconds from start to ready
    exit_code: int | None = None  # of the last time it ended by itself
    error: str | None = None


@dataclass(frozen=True)
class StackState:
    supervisor: Identity
    started_at: str  # ISO 8601
    processes: tuple[ProcessRecord, ...]


def state_file(home: Path) -> Path:
    return home / "run" / "state.json"


def write_state(home: Path, state: StackState) -> None:
    """All of it or nothing: readers never see half a file."""
    file = state_file(home)
    private_folder(file.parent)
    draft = file.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_bytes(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))
    draft.replace(file)


def read_state(home: Path) -> StackState | None:
    """None when there is none, or none that can be read."""
    try:
        found = orjson.loads(state_file(home).read_bytes())
        return StackState(
            supervisor=Identity(**found["supervisor"]),
            started_at=found["started_at"],
            processes=tuple(_record(item) for item in found["processes"]),
        )
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _record(item: dict[str, Any]) -> ProcessRecord:
    process = item.pop("process")
    return ProcessRecord(**item, process=Identity(**process) if process else None)


def remove_state(home: Path) -> None:
    state_file(home).unlink(missing_ok=True)
