"""`python -m ibex.embedded.supervisor`: keeps the stack running until SIGTERM or SIGINT.

Starts each process once what it needs is ready, restarts one that ends with growing pauses, writes
every change to the state file, and stops all in reverse order. `ibex up` starts it detached.
"""

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ibex.embedded.child import Child
from ibex.embedded.process import ProcessSpec, private_folder
from ibex.embedded.stack import processes
from ibex.embedded.state import Identity, StackState, remove_state, write_state
from ibex.errors import ConfigurationError, EmbeddedServerError, IbexError
from ibex.logs import configure_logging
from ibex.settings import Settings, load_settings

WRONG_CONFIGURATION = 2  # the exit code of a process that no restart will help
_STARTS_IN_VAIN = 3  # after so many in a row a process counts as failed, and is tried on
_STEADY = 30.0  # seconds of being ready after which earlier failures are forgotten
_log = logging.getLogger("ibex.supervisor")

Build = Callable[[Settings], Sequence[ProcessSpec]]


def pause_before_restart(failures: int) -> float:
    """Seconds: 0.5, 1, 2, … 30 by the number of failures in a row."""
    return float(min(30.0, 0.5 * 2 ** max(0, failures - 1)))


class Supervisor:
    def __init__(self, home: Path, specs: Sequence[ProcessSpec]) -> None:
        self._home = home
        self._stopping = asyncio.Event()
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        itself = Identity.of(os.getpid())
        if itself is None:
            raise EmbeddedServerError("The supervisor cannot read its own creation time.")
        self._itself = itself
        self._children = {spec.name: Child(spec, home, self._write) for spec in specs}

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop()`. Leaves no process and no state file."""
        self._write()
        tasks = [
            asyncio.create_task(self._supervise(child), name=name)
            for name, child in self._children.items()
        ]
        await self._stopping.wait()
        _log.info("stopping")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_all()
        remove_state(self._home)

    def _write(self) -> None:
        records = tuple(child.record for child in self._children.values())
        write_state(self._home, StackState(self._itself, self._started_at, records))

    async def _supervise(self, child: Child) -> None:
        for name in child.spec.after:
            if name in self._children:
                await self._children[name].became_ready.wait()
        try:
            await self._keep_running(child)
        except Exception:  # noqa: BLE001 — one process must not take the others down
            _log.exception("%s cannot be supervised any more", child.spec.name)
            child.note(state="failed", error="The supervisor could not handle it.")

    async def _keep_running(self, child: Child) -> None:
        failures = 0
        while True:
            ready_since: float | None = None
            error: str | None = None
            try:
                await child.start()
                if child.spec.once:
                    if await child.wait_until_done():
                        return
                elif await child.wait_until_ready():
                    ready_since = time.monotonic()
                    await child.wait()
            except (EmbeddedServerError, OSError) as problem:
                error = str(problem)
                _log.error("%s cannot be started: %s", child.spec.name, problem)
            late = child.running
            await child.stop()
            steady = ready_since is not None and time.monotonic() - ready_since > _STEADY
            failures = 1 if steady else failures + 1
            if late:
                error = f"It was not ready after {child.spec.ready_timeout:.0f} s."
            hopeless = ready_since is None and child.exit_code == WRONG_CONFIGURATION
            failed = ready_since is None and (late or failures >= _STARTS_IN_VAIN)
            child.note(
                state="failed" if failed or hopeless else "restarting",
                process=None,
                exit_code=child.exit_code,
                error=error,
            )
            if hopeless:
                return
            await asyncio.sleep(pause_before_restart(failures))
            child.note(restarts=child.record.restarts + 1)

    async def _stop_all(self) -> None:
        """What depends on a process stops before it; the rest at the same time."""
        stopped = {name: asyncio.Event() for name in self._children}

        async def stop(child: Child) -> None:
            for other in self._children.values():
                if child.spec.name in other.spec.after:
                    await stopped[other.spec.name].wait()
            try:
                await child.stop()
                child.note(state="stopped", process=None)
            finally:
                stopped[child.spec.name].set()

        await asyncio.gather(*(stop(child) for child in self._children.values()))


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Raises EmbeddedServerError when another supervisor runs this home."""
    lock = private_folder(home / "run") / "supervisor.lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EmbeddedServerError(
                f"Another supervisor runs {home}.", hint="See 'ibex status'."
            ) from error
        yield


async def supervise(home: Path, specs: Sequence[ProcessSpec]) -> None:
    supervisor = Supervisor(home, specs)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run()


def main(build: Build = processes) -> None:
    """`build` says what to run."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        with only_one(settings.home):
            asyncio.run(supervise(settings.home, build(settings)))
    except IbexError as error:
        sys.stderr.write(f"ibex: {error.message} {error.advice}\n")
        sys.exit(WRONG_CONFIGURATION if isinstance(error, ConfigurationError) else 1)


if __name__ == "__main__":
    main()
