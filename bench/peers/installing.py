"""Puts other gateways into folders of their own, from the indexes that pip and npm are set up for.

Nothing of them gets into IBEX's environment or its lock file.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson

from ibex.errors import EmbeddedServerError

_LIMIT: Final = 900.0  # seconds for one step
_STAMP: Final = "installed"  # the file that says what is complete
_LOG: Final = "install.log"

Steps = Callable[[Path], Sequence[Sequence[str]]]


class PeerUnavailableError(EmbeddedServerError):
    """A gateway cannot be had on this machine."""


async def installed(folder: Path, what: str, steps: Steps) -> None:
    """Once for each `what`, a name with its version. `steps` prepares `folder` and tells the
    commands to run in it.

    Raises PeerUnavailableError when a tool is missing or a command fails.
    """
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == what:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in steps(folder):
        await _run(command, folder / _LOG, what)
    stamp.write_text(what)


async def _run(command: Sequence[str], log: Path, what: str) -> None:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_LIMIT):
                code = await process.wait()
        except TimeoutError:
            code = -1
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if code != 0:
        raise PeerUnavailableError(
            f"{what} could not be installed.",
            hint=f"Does the package index have it? See {log}.",
        )


def python_steps(requirement: str) -> Steps:
    """A virtual environment `venv` with one requirement in it."""

    def steps(folder: Path) -> Sequence[Sequence[str]]:
        venv = folder / "venv"
        uv = Path(sys.executable).with_name("uv")
        found = str(uv) if uv.exists() else shutil.which("uv")
        if found:
            return (
                (found, "venv", "--python", sys.executable, str(venv)),
                (found, "pip", "install", "--python", str(venv / "bin" / "python"), requirement),
            )
        return (
            (sys.executable, "-m", "venv", str(venv)),
            (str(venv / "bin" / "python"), "-m", "pip", "install", requirement),
        )

    return steps


def npm_steps(package: str, version: str, overrides: Mapping[str, str]) -> Steps:
    """`node_modules` with one package in it; install scripts do not run. `overrides`: versions of
    what it needs."""

    def steps(folder: Path) -> Sequence[Sequence[str]]:
        npm = tool("npm")
        manifest = {"private": True, "dependencies": {package: version}, "overrides": overrides}
        (folder / "package.json").write_bytes(orjson.dumps(manifest))
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev")
        return ((npm, "install", "--prefix", str(folder), *options),)

    return steps


def tool(name: str) -> str:
    """Its path. Raises PeerUnavailableError when there is none."""
    found = shutil.which(name)
    if found is None:
        raise PeerUnavailableError(f"There is no {name} on this machine.", hint="Install Node.js.")
    return found
