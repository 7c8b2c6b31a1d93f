"""Rows as bytes: a writer takes batches and gives what can be sent on at once.

A text cell of CSV that a spreadsheet would take for a formula gets an apostrophe in front, and so
does one that begins with an apostrophe: `plain_cell` is the way back.
Source: https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import orjson

from ibex.errors import InvalidRequestError
from ibex.transfer.tables import Column, Kind

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Row = Sequence[Any]  # a value a column

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_JSON: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
_ROW_GROUP: Final = 20_000  # rows
_ROW_GROUP_OF_VECTORS: Final = 4_000


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"  # one array
    JSONL = "jsonl"  # an object a line
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.JSONL: "application/x-ndjson",
    Format.PARQUET: "application/vnd.apache.parquet",
}
_SUFFIXES: Final = {".ndjson": Format.JSONL, **{f".{one}": one for one in Format}}


def format_of(path: Path, wanted: Format | None = None) -> Format:
    """What is wanted, or what the file's name says. Raises InvalidRequestError."""
    found = wanted or _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InvalidRequestError(
            "The file's name does not say its format.",
            hint=f"Name it with --format: {', '.join(Format)}.",
        )
    return found


class Writer(Protocol):
    """`begin`, any number of batches, `end`; the bytes in this order are the file."""

    def begin(self) -> bytes: ...
    def rows(self, batch: Sequence[Row]) -> bytes: ...
    def end(self) -> bytes: ...


def writer(form: Format, columns: Sequence[Column]) -> Writer:
    return _WRITERS[form](columns)


def safe_cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def plain_cell(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


class _Csv:
    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._cells = [_CELLS.get(column.kind) for column in columns]

    def begin(self) -> bytes:
        return self._lines([self._names])

    def rows(self, batch: Sequence[Row]) -> bytes:
        return self._lines(
            [
                None if value is None else cell(value) if cell else value
                for value, cell in zip(row, self._cells, strict=True)
            ]
            for row in batch
        )

    def end(self) -> bytes:
        return b""

    @staticmethod
    def _lines(rows: Any) -> bytes:
        buffer = io.StringIO()
        csv.writer(buffer).writerows(rows)
        return buffer.getvalue().encode()


class _JsonLines:
    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._documents = [i for i, column in enumerate(columns) if column.kind is Kind.DOCUMENT]

    def begin(self) -> bytes:
        return b""

    def rows(self, batch: Sequence[Row]) -> bytes:
        return b"".join(line + b"\n" for line in self.objects(batch))

    def end(self) -> bytes:
        return b""

    def objects(self, batch: Sequence[Row]) -> list[bytes]:
        made = []
        for row in batch:
            values = list(row)
            for place in self._documents:
                if values[place] is not None:
                    values[place] = orjson.Fragment(values[place])
            made.append(_json(dict(zip(self._names, values, strict=True))))
        return made


class _Json:
    def __init__(self, columns: Sequence[Column]) -> None:
        self._lines = _JsonLines(columns)
        self._between = b"\n"

    def begin(self) -> bytes:
        return b"["

    def rows(self, batch: Sequence[Row]) -> bytes:
        if not batch:
            return b""
        before, self._between = self._between, b",\n"
        return before + b",\n".join(self._lines.objects(batch))

    def end(self) -> bytes:
        return b"\n]\n"


class _Parquet:
    """What is held is one row group."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._sink = io.BytesIO()
        with_vectors = any(column.kind is Kind.VECTOR for column in columns)
        self._group_rows = _ROW_GROUP_OF_VECTORS if with_vectors else _ROW_GROUP
        self._waiting: list[Row] = []
        self._open: tuple[pa.Schema, pq.ParquetWriter] | None = None

    def begin(self) -> bytes:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        schema = pa.schema([(column.name, _arrow(column.kind)) for column in self._columns])
        sink = pa.PythonFile(_Sink(self._sink), mode="w")
        self._open = schema, pq.ParquetWriter(sink, schema, compression="zstd")
        return self._taken()

    def rows(self, batch: Sequence[Row]) -> bytes:
        self._waiting.extend(batch)
        while len(self._waiting) >= self._group_rows:
            self._group(self._waiting[: self._group_rows])
            del self._waiting[: self._group_rows]
        return self._taken()

    def end(self) -> bytes:
        if self._waiting:
            self._group(self._waiting)
            self._waiting = []
        _, made = self._opened()
        made.close()
        return self._taken()

    def _group(self, rows: Sequence[Row]) -> None:
        import pyarrow as pa  # noqa: PLC0415

        schema, made = self._opened()
        arrays = []
        for place, (column, field) in enumerate(zip(self._columns, schema, strict=True)):
            change = _PARQUET_VALUES.get(column.kind)
            values = [row[place] for row in rows]
            if change:
                values = [None if value is None else change(value) for value in values]
            arrays.append(pa.array(values, field.type))
        made.write_table(
            pa.Table.from_arrays(arrays, schema=schema), row_group_size=self._group_rows
        )

    def _opened(self) -> "tuple[pa.Schema, pq.ParquetWriter]":
        if self._open is None:
            raise AssertionError("begin comes first")
        return self._open

    def _taken(self) -> bytes:
        made = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return made


class _Sink(io.RawIOBase):
    """A file whose bytes are taken away while it is written: it knows how far it got."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self._buffer = buffer
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._at += len(data)
        return self._buffer.write(data)

    def tell(self) -> int:
        return self._at


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value, default=_text_of_id, option=_JSON)
    except orjson.JSONEncodeError:
        raise InvalidRequestError("A row has a value that is not valid Unicode text.") from None


def _text_of_id(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_CELLS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.TEXT: safe_cell,
    Kind.TIME: _moment,
    Kind.TRUTH: lambda value: "true" if value else "false",
    Kind.TEXTS: lambda value: _json(value).decode(),
    Kind.WHOLES: lambda value: _json(value).decode(),
    Kind.VECTOR: lambda value: _json(value).decode(),
}
_PARQUET_VALUES: Final[dict[Kind, Callable[[Any], Any]]] = {Kind.ID: str}
_WRITERS: Final[dict[Format, Callable[[Sequence[Column]], Writer]]] = {
    Format.CSV: _Csv,
    Format.JSON: _Json,
    Format.JSONL: _JsonLines,
    Format.PARQUET: _Parquet,
}


def _arrow(kind: Kind) -> "pa.DataType":
    import pyarrow as pa  # noqa: PLC0415

    types = {
        Kind.WHOLE: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.TRUTH: pa.bool_(),
        Kind.TEXTS: pa.list_(pa.string()),
        Kind.WHOLES: pa.list_(pa.int64()),
        Kind.VECTOR: pa.list_(pa.float32()),
    }
    return types.get(kind, pa.string())
