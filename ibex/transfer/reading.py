"""Rows out of a file, one at a time, whatever its size. What is not a row is named by its place and
never by what it says, and the rows after it are read all the same."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from ibex.errors import InvalidRequestError
from ibex.importing import MAX_LINE_BYTES, read_lines
from ibex.transfer.formats import Format, plain_cell
from ibex.transfer.tables import Column, Kind

_CHUNK: Final = 2**20  # characters
_BATCH: Final = 500  # rows of Parquet
_NESTED: Final = frozenset({Kind.TEXTS, Kind.WHOLES, Kind.DOCUMENT, Kind.VECTOR})


@dataclass(frozen=True)
class RawRow:
    place: int  # the line; of a JSON array or Parquet the row; from 1
    end: int  # about how far into the file, bytes
    values: dict[str, Any] | None = field(repr=False)
    error: str = ""  # why there are no values

    @property
    def checked(self) -> dict[str, Any]:
        """Raises InvalidRequestError when there are no values."""
        if self.values is None:
            raise InvalidRequestError(self.error)
        return self.values


def read_rows(path: Path, form: Format, columns: Sequence[Column]) -> Iterator[RawRow]:
    """Values that are missing are left out. Raises InvalidRequestError for a file that is not of
    this format at all."""
    kinds = {column.name: column.kind for column in columns}
    match form:
        case Format.JSONL:
            return _json_lines(path)
        case Format.JSON:
            return _json_array(path)
        case Format.CSV:
            return _csv(path, kinds)
        case Format.PARQUET:
            return _parquet(path, kinds)


def _json_lines(path: Path) -> Iterator[RawRow]:
    for line in read_lines(path):
        if len(line.data) > MAX_LINE_BYTES:
            yield RawRow(line.number, line.end, None, _too_long())
            continue
        try:
            yield _object(line.number, line.end, orjson.loads(line.data))
        except orjson.JSONDecodeError as error:
            yield RawRow(line.number, line.end, None, f"Not JSON (at character {error.pos}).")


def _json_array(path: Path) -> Iterator[RawRow]:
    decoder = json.JSONDecoder()
    with path.open("rb") as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace")
        text, number = file.read(_CHUNK).lstrip(), 0
        if not text.startswith("["):
            raise InvalidRequestError("The file is not a JSON array.", hint="Is it jsonl?")
        at = 1
        while True:
            at = _skip(text, at)
            if at < len(text) and text[at] == "]":
                return
            try:
                value, end = decoder.raw_decode(text, at)
                is_whole = end < len(text)  # a number could go on
            except json.JSONDecodeError:
                is_whole = False
            if not is_whole:
                more = file.read(_CHUNK)
                if not more or len(text) - at > MAX_LINE_BYTES:
                    yield RawRow(number + 1, raw.tell(), None, "Not JSON, or cut off here.")
                    return
                text, at = text[at:] + more, 0
                continue
            number, at = number + 1, end
            yield _object(number, raw.tell(), value)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def _csv(path: Path, kinds: dict[str, Kind]) -> Iterator[RawRow]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with path.open("rb") as file:
        reader = csv.reader(_decoded(file), strict=True)
        names = _next(reader)
        if names is None or not names:
            raise InvalidRequestError("The file has no line with the columns' names.")
        while (cells := _next(reader)) is not None:
            place, end = reader.line_num, file.tell()
            if isinstance(cells, str):
                yield RawRow(place, end, None, cells)
            elif cells and len(cells) != len(names):
                wrong = f"It has {len(cells)} cells, the first line has {len(names)}."
                yield RawRow(place, end, None, wrong)
            elif cells:
                yield _cells(place, end, dict(zip(names, cells, strict=True)), kinds)


def _decoded(file: BinaryIO) -> Iterator[str]:
    """Lines; bytes that are not UTF-8 as half pairs, so that the row is found out later."""
    first = True
    while line := file.readline(MAX_LINE_BYTES):
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if first else text
        first = False


def _next(reader: Any) -> list[str] | str | None:
    """The next row, why it is none, or None at the end."""
    try:
        row: list[str] | None = next(reader, None)
    except csv.Error:
        return "Not CSV: a quote that is not closed, or a cell that is too long."
    return row


def _cells(place: int, end: int, cells: dict[str, str], kinds: dict[str, Kind]) -> RawRow:
    values: dict[str, Any] = {}
    for name, cell in cells.items():
        kind = kinds.get(name, Kind.TEXT)
        if cell == "":
            continue
        if any("\udc80" <= letter <= "\udcff" for letter in cell):
            return RawRow(place, end, None, f"{_known(name, kinds)}: not UTF-8.")
        try:
            values[name] = orjson.loads(cell) if kind in _NESTED else plain_cell(cell)
        except orjson.JSONDecodeError:
            return RawRow(place, end, None, f"{_known(name, kinds)}: not JSON.")
    return RawRow(place, end, values)


def _parquet(path: Path, kinds: dict[str, Kind]) -> Iterator[RawRow]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidRequestError("The file is not Parquet, or it is damaged.") from error
    size, number = path.stat().st_size, 0
    for batch in file.iter_batches(_BATCH):
        for row in batch.to_pylist():
            number += 1
            end = size * number // file.metadata.num_rows
            try:
                yield RawRow(number, end, _plain(row, kinds))
            except orjson.JSONDecodeError:
                yield RawRow(number, end, None, "A document in it is not JSON.")


def _plain(row: dict[str, Any], kinds: dict[str, Kind]) -> dict[str, Any]:
    return {
        name: orjson.loads(value)
        if kinds.get(name) is Kind.DOCUMENT and isinstance(value, str)
        else value
        for name, value in row.items()
        if value is not None
    }


def _object(place: int, end: int, value: Any) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(place, end, None, "Not a JSON object.")
    return RawRow(place, end, {name: one for name, one in value.items() if one is not None})


def _known(name: str, kinds: dict[str, Kind]) -> str:
    """A column's name, unless the file made it up."""
    return name if name in kinds else "A column"


def _too_long() -> str:
    return f"The line is longer than {MAX_LINE_BYTES // 2**20} MiB."
