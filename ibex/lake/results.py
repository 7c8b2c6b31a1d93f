"""What a query found, as rows for a table or as a file of any size."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

from ibex.transfer.formats import Format, Row, writer
from ibex.transfer.tables import Column, Kind

if TYPE_CHECKING:
    import pyarrow as pa

BATCH: Final = 5_000  # rows


def write(reader: "pa.RecordBatchReader", form: Format, file: BinaryIO) -> int:
    """All rows, batch by batch; how many. What is nested becomes JSON in CSV."""
    if form is Format.PARQUET:
        return _write_parquet(reader, file)
    columns = columns_of(reader.schema)
    made = writer(form, columns)
    file.write(made.begin())
    rows = 0
    for batch in reader:
        rows += batch.num_rows
        file.write(made.rows(list(rows_of(batch, columns))))
    file.write(made.end())
    return rows


def columns_of(schema: "pa.Schema") -> list[Column]:
    """Names are made different where a query gives two the same."""
    used: set[str] = set()
    columns = []
    for field in schema:
        name, number = field.name, 1
        while name in used:
            name, number = f"{field.name}_{number}", number + 1
        used.add(name)
        columns.append(Column(name, _kind(field.type)))
    return columns


def rows_of(batch: "pa.RecordBatch", columns: Sequence[Column]) -> Iterator[Row]:
    values = [
        [_value(one.as_py(), column.kind) for one in array]
        for array, column in zip(batch.columns, columns, strict=True)
    ]
    return zip(*values, strict=True) if values else iter(())


def _write_parquet(reader: "pa.RecordBatchReader", file: BinaryIO) -> int:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = [column.name for column in columns_of(reader.schema)]
    fields = [field.with_name(name) for field, name in zip(reader.schema, names, strict=True)]
    schema = pa.schema(fields)
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as made:
        for batch in reader:
            rows += batch.num_rows
            made.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    return rows


def _kind(kind: "pa.DataType") -> Kind:
    import pyarrow.types as is_  # noqa: PLC0415

    if is_.is_boolean(kind):
        return Kind.TRUTH
    if is_.is_integer(kind):
        return Kind.WHOLE
    if is_.is_floating(kind) or is_.is_decimal(kind):
        return Kind.NUMBER
    if is_.is_nested(kind):
        return Kind.DOCUMENT
    return Kind.TEXT


def _value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind is Kind.DOCUMENT:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    return value if isinstance(value, str | int | float | bool) else _plain(value)


def _plain(value: object) -> object:
    match value:
        case datetime() | date() | time():
            return value.isoformat().replace("+00:00", "Z")
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)
