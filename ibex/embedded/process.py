"""What to run, and how to see that it is ready."""

import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Probe = Callable[[], Coroutine[Any, Any, bool]]

# What a server that is not ours gets to see of the environment: no key, no proxy, no RCLONE_….
_PLAIN = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class ProcessSpec:
    """One process of the stack, or one step (`once`) that must succeed before others start."""

    name: str
    command: tuple[str, ...]
    port: int | None
    ready: Probe
    title: str
    env: Mapping[str, str] = field(default_factory=dict)
    inherits: bool = True  # False: sees only PATH and the like, and `env`
    prepare: Callable[[], object] | None = None  # runs before each start: makes the data folder
    after: tuple[str, ...] = ()  # names that must be ready before it starts
    once: bool = False  # ready when it has exited with 0; `ready` is not asked
    stop_signal: int = 15
    stop_timeout: float = 15.0  # seconds until SIGKILL
    ready_timeout: float = 60.0  # seconds
    address: str = ""  # what a person opens or connects to

    @property
    def environment(self) -> dict[str, str]:
        if self.inherits:
            return {**os.environ, **self.env}
        return {**{name: os.environ[name] for name in _PLAIN if name in os.environ}, **self.env}


def private_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
