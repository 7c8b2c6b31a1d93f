"""One supervised process: start it, see it ready, stop it with everything it started."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

import ibex
from ibex.embedded import leftovers
from ibex.embedded.log_files import open_log
from ibex.embedded.process import ProcessSpec
from ibex.embedded.state import Identity, ProcessRecord

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PROBE_LIMIT = 5.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.3  # seconds between two probes
PROJECT = Path(ibex.__file__).parents[1]
_log = logging.getLogger("ibex.supervisor")


class Child:
    """`record` is what the state file says about it; `changed` is called after each change."""

    def __init__(self, spec: ProcessSpec, home: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.home = home
        self.became_ready = asyncio.Event()
        self.record = ProcessRecord(
            name=spec.name,
            title=spec.title,
            address=spec.address,
            port=spec.port,
            once=spec.once,
            stop_signal=spec.stop_signal,
            stop_timeout=spec.stop_timeout,
            since=_now(),
        )
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None

    def note(self, **changes: Any) -> None:
        if changes.get("state", self.record.state) != self.record.state:
            changes["since"] = _now()
            _log.info("%s is %s", self.spec.name, changes["state"])
        self.record = replace(self.record, **changes)
        self._changed()

    async def start(self) -> None:
        """Raises EmbeddedServerError or OSError when it cannot even be started."""
        spec = self.spec
        self.note(state="starting", process=None, error=None)
        if spec.prepare is not None:
            await asyncio.to_thread(spec.prepare)
        launch = (str(_LAUNCHER), str(int(spec.stop_signal)), str(os.getpid()))
        with open_log(self.home, spec.name) as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", *launch, *spec.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                env={**spec.environment, **leftovers.marks(self.home, spec.name)},
                start_new_session=True,
            )
        self.note(process=Identity.of(self._process.pid))

    async def wait_until_ready(self) -> bool:
        """False when it ended, or was not ready within the spec's time."""
        process = self._running()
        began = time.monotonic()
        pause = _FIRST_PAUSE
        while process.returncode is None:
            if await self._answers() and process.returncode is None:
                self.note(state="ready", started_in=round(time.monotonic() - began, 2))
                self.became_ready.set()
                return True
            if time.monotonic() - began > self.spec.ready_timeout:
                return False
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)
        return False

    async def wait_until_done(self) -> bool:
        """For a step: it ended with 0 within the spec's time."""
        process = self._running()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.spec.ready_timeout):
                code = await process.wait()
        except TimeoutError:
            return False
        if code == 0:
            self.note(state="ready", process=None, started_in=round(time.monotonic() - began, 2))
            self.became_ready.set()
        return code == 0

    async def wait(self) -> int:
        return await self._running().wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    async def stop(self) -> None:
        """Its stop signal, SIGKILL after the spec's time, and the end of all it started."""
        process = self._process
        if process is not None and process.returncode is None:
            family = _descendants(process.pid)
            process.send_signal(self.spec.stop_signal)
            try:
                async with asyncio.timeout(self.spec.stop_timeout):
                    await process.wait()
            except TimeoutError:
                _log.warning("%s did not stop in time and is killed", self.spec.name)
                process.kill()
                await process.wait()
            leftovers.kill(family)
        await self.sweep()

    async def sweep(self) -> None:
        """End what it left behind: a new start must find its ports and files free."""
        leftovers.kill(await asyncio.to_thread(leftovers.marked, self.home, self.spec.name))

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_LIMIT):
                return await self.spec.ready()
        except TimeoutError:
            return False

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.spec.name} was not started")
        return self._process


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
