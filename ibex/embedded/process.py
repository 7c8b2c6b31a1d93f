"""What to run, and how to see that it is ready."""

import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Probe = Callable[[], Coroutine[Any, Any, bool]]


@dataclass(frozen=True)
class ProcessSpec:
    """One process of the stack."""

    name: str
    command: tuple[str, ...]
    port: int
    ready: Probe
    title: str
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None  # runs before each start: makes the data folder
    stop_signal: int = 15
    stop_timeout: float = 15.0  # seconds until SIGKILL
    ready_timeout: float = 60.0  # seconds
    address: str = ""  # what a person opens or connects to

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.env}


def private_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
