"""One process beside the stack, for as long as a benchmark needs it."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.stack import family
from ibex.embedded import launcher
from ibex.embedded.process import ProcessSpec
from ibex.errors import EmbeddedServerError

_LOOK = 0.02  # seconds


@dataclass(frozen=True)
class Running:
    start_s: float
    process: psutil.Process

    @property
    def rss_mib(self) -> float:
        memory: int = self.process.memory_info().rss
        return memory / 2**20


@asynccontextmanager
async def running(spec: ProcessSpec, folder: Path, cwd: Path | str = "/") -> AsyncIterator[Running]:
    """From when it is ready; stopped on the way out, with all that it started, and told to stop
    when this process is killed. Its log goes to `folder`. Raises EmbeddedServerError when it does
    not start."""
    if spec.prepare:
        spec.prepare()
    log = folder / f"{spec.name}.log"
    launch = (launcher.__file__, str(int(spec.stop_signal)), str(os.getpid()))
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 — starting takes no time
            (sys.executable, "-I", "-S", *launch, *spec.command),
            env=spec.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )
    try:
        while not await spec.ready():
            if process.poll() is not None or time.monotonic() - started > spec.ready_timeout:
                raise EmbeddedServerError(f"{spec.name} did not start.", hint=f"See {log}.")
            await asyncio.sleep(_LOOK)
        yield Running(time.monotonic() - started, psutil.Process(process.pid))
    finally:
        await asyncio.to_thread(_stop, spec, process)


def _stop(spec: ProcessSpec, process: "subprocess.Popen[bytes]") -> None:
    everyone = family(process.pid)
    process.send_signal(spec.stop_signal)
    _, left = psutil.wait_procs(everyone, spec.stop_timeout)
    for one in left:
        one.kill()
    process.wait()
