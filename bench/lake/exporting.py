"""An export of many memories as an operator asks for it: `ibex export memories`, a process of its
own, whose largest memory the kernel knows."""

import asyncio
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from rich.console import Console

from ibex.errors import EmbeddedServerError

FORMATS: Final = ("jsonl", "csv", "parquet")
_LOOK: Final = 0.02  # seconds


@dataclass(frozen=True)
class Exported:
    form: str
    rows: int
    seconds: float  # with the start of the command
    peak_mib: float
    mib: float  # of the file

    @property
    def rows_per_s(self) -> int:
        return round(self.rows / self.seconds)


async def export(org: str, rows: int, console: Console) -> list[Exported]:
    """The settings are those of the environment."""
    done = []
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            file = Path(folder) / f"memories.{form}"
            seconds, peak = await _run(org, file)
            size = file.stat().st_size / 2**20
            done.append(Exported(form, rows, round(seconds, 2), round(peak, 1), round(size, 1)))
            console.print(f"{rows:,} memories are exported as {form}.", highlight=False)
    return done


async def _run(org: str, file: Path) -> tuple[float, float]:
    """Seconds, and the most MiB that were in memory."""
    command = ("-m", "ibex.cli", "export", "memories", "--org", org, "--json", "-o", str(file))
    began, peak = perf_counter(), 0.0
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        while process.returncode is None:
            peak = max(peak, _peak(process.pid))
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _LOOK)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise EmbeddedServerError("The export failed.", hint="See above.")
    return perf_counter() - began, peak


def _peak(pid: int) -> float:
    try:
        return peak_of(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def peak_of(status: str) -> float:
    """MiB, by the kernel's own mark; 0 of a process that has ended."""
    found = re.search(r"^VmHWM:\s+([0-9]+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
