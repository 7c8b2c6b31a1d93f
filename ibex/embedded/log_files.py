"""One log file a process under `$IBEX_HOME/logs`: opened, rotated, read, followed."""

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ibex.embedded.process import private_folder

_ROTATE_AT = 20 * 2**20  # bytes
_PAUSE = 0.3  # seconds between two looks while following


def log_file(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def open_log(home: Path, name: str) -> BinaryIO:
    """For appending. One that has grown large becomes `NAME.log.1` first."""
    file = log_file(home, name)
    private_folder(file.parent)
    if file.exists() and file.stat().st_size > _ROTATE_AT:
        file.replace(file.with_suffix(".log.1"))
    file.touch(mode=0o600)
    return file.open("ab")


def log_names(home: Path) -> list[str]:
    return sorted(file.stem for file in (home / "logs").glob("*.log"))


def last_lines(home: Path, name: str, lines: int) -> list[str]:
    """Empty when there is no log yet."""
    try:
        with log_file(home, name).open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []


def new_lines(home: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    """(name, line) for ever, as they are written; starts at the present end of each file."""
    positions = {name: _size(log_file(home, name)) for name in names}
    rest = dict.fromkeys(names, b"")
    while True:
        for name in names:
            size = _size(log_file(home, name))
            if size < positions[name]:  # rotated
                positions[name], rest[name] = 0, b""
            if size == positions[name]:
                continue
            with log_file(home, name).open("rb") as file:
                file.seek(positions[name])
                fresh = file.read()
            positions[name] += len(fresh)
            *whole, rest[name] = (rest[name] + fresh).split(b"\n")
            for line in whole:
                yield name, line.decode(errors="replace")
        time.sleep(_PAUSE)


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 — called often
    except FileNotFoundError:
        return 0
