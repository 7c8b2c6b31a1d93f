"""A file that is there whole or not at all."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ibex.errors import InvalidRequestError

STANDARD_OUTPUT = Path("-")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Written beside its place and moved there at the end; `-` is the standard output.

    Raises InvalidRequestError when nothing can be written there.
    """
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f".{path.name}.part")
    try:
        file = part.open("wb")
    except OSError as error:
        raise InvalidRequestError(
            f"The file cannot be written ({type(error).__name__}).",
            hint="Name another one with --output.",
        ) from error
    try:
        with file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
