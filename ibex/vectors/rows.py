"""A row of a snapshot: one memory and its vector of one model. A memory with vectors of two models
has two rows."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ibex.embedding import DIMENSIONS, Matrix

if TYPE_CHECKING:
    import asyncpg
    import pyarrow as pa

#: A later one only adds columns; `with_all_columns` reads what an earlier one wrote.
SCHEMA_VERSION: Final = 1
VECTOR: Final = "vector"


@cache
def schema() -> "pa.Schema":
    """Ids are UUIDs as text, times UTC. Vectors are float16, half the size of PostgreSQL's: a
    cosine of two moves by about 0.0001."""
    import pyarrow as pa  # noqa: PLC0415 — a tenth of a second, and not every process needs it

    time = pa.timestamp("us", tz="UTC")
    return pa.schema(
        {
            "memory_id": pa.string(),
            "version": pa.int32(),
            "agent_id": pa.string(),
            "user_id": pa.string(),  # null: the agent's own
            "session_id": pa.string(),
            "category": pa.string(),
            "content": pa.string(),
            "confidence": pa.float32(),
            "usefulness": pa.float32(),
            "status": pa.string(),
            "source": pa.string(),
            "valid_from": time,
            "valid_to": time,
            "expires_at": time,
            "created_at": time,
            "embedding_model": pa.string(),
            VECTOR: pa.list_(pa.float16(), DIMENSIONS),
        }
    )


def table(records: "Sequence[asyncpg.Record]") -> "pa.Table":
    """Records of the statement `memories` (sql/vectors.sql) as a table of `schema()`."""
    import pyarrow as pa  # noqa: PLC0415

    vectors = np.empty((len(records), DIMENSIONS), np.float16)
    for place, record in enumerate(records):
        vectors[place] = record[VECTOR].to_numpy()
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS)
        if field.name == VECTOR
        else pa.array([record[field.name] for record in records], field.type)
        for field in schema()
    ]
    return pa.Table.from_arrays(columns, schema=schema())


def with_all_columns(batch: "pa.RecordBatch") -> "pa.Table":
    """A batch that any version wrote, in today's columns: null where it had none."""
    import pyarrow as pa  # noqa: PLC0415

    columns = [
        batch.column(field.name)
        if field.name in batch.schema.names
        else pa.nulls(len(batch), field.type)
        for field in schema()
    ]
    return pa.Table.from_arrays(columns, schema=schema())


def vectors_of(column: "pa.FixedSizeListArray") -> Matrix:
    """Shape (n, 384), each row of unit length again after float16."""
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    matrix: Matrix = flat.reshape(-1, DIMENSIONS)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return matrix
