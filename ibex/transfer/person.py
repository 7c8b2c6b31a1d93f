"""All that is known of one user of an organization, as one archive that a person can read."""

import zipfile
from contextlib import aclosing
from datetime import UTC, datetime
from typing import BinaryIO, Final

import orjson

from ibex.transfer.exporting import Exporter, Scope, encoded
from ibex.transfer.formats import Format, writer
from ibex.transfer.tables import Table, columns_of

_README: Final = """# Your data

What is stored about the user in profile.json, exported on {day}.

| file | what it is |
| --- | --- |
| profile.json | the id by which the application knows the user, and how much there is |
| sessions.jsonl | every conversation, a line each; `turns` is what was said and answered |
| memories.jsonl | what was learned from them, a line each |
| memories.csv | the same for a spreadsheet |
| injections.jsonl | which memory the model was given for which request, and how well it fitted |

The lines of `.jsonl` files are JSON objects. Times are UTC.

A memory is one statement. `content` is what it says; words like [EMAIL] stand where personal data
was taken out before it was stored. `category` is procedural (how to act), declarative (what is
true) or episodic (what happened). `session_id` and `turns` tell which part of which conversation it
rests on, `statements` each time that it was said. It holds from `valid_from` until `valid_to`,
without one until today. `status` is active, quarantined (waits for a review and is not used) or
rejected (never used).
"""
_FILES: Final = (
    ("sessions.jsonl", Table.SESSIONS, Format.JSONL),
    ("memories.jsonl", Table.MEMORIES, Format.JSONL),
    ("memories.csv", Table.MEMORIES, Format.CSV),
    ("injections.jsonl", Table.INJECTIONS, Format.JSONL),
)


async def write_person(
    file: BinaryIO, exporter: Exporter, scope: Scope, user: str
) -> dict[str, int]:
    """The zip archive of the user of `scope`, whom the application calls `user`; its rows by table.

    Raises as `Exporter.rows`.
    """
    now = datetime.now(UTC)
    counts: dict[str, int] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.md", _README.format(day=now.date().isoformat()))
        for name, table, form in _FILES:
            counts[table.value] = await _add(archive, name, exporter, table, form, scope)
        profile = {"user": user, "exported_at": now, **counts}
        archive.writestr("profile.json", orjson.dumps(profile, option=orjson.OPT_INDENT_2))
    return counts


async def _add(
    archive: zipfile.ZipFile,
    name: str,
    exporter: Exporter,
    table: Table,
    form: Format,
    scope: Scope,
) -> int:
    """The file's number of rows."""
    rows = 0

    def told(count: int) -> None:
        nonlocal rows
        rows += count

    read = encoded(exporter.rows(table, scope), writer(form, columns_of(table)), told)
    with archive.open(name, "w", force_zip64=True) as entry:
        async with aclosing(read):
            async for piece in read:
                entry.write(piece)
    return rows
