"""The tables of the lake and the columns of each, by version.

A version only adds columns, at the end: `versions[0]` are those of version 1, `versions[1]` those
that version 2 added, and so on. What a file of an earlier version does not have is null when it is
read. A column is never renamed, retyped or removed, and no file has to be written anew; the tests
read a file of every version that there ever was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

VERSION_KEY: Final = b"ibex.schema_version"  # in a file's own metadata


class Kind(Enum):
    """A column's type, by its name in DuckDB. Ids are text: every engine reads it alike."""

    TEXT = "VARCHAR"
    BOOL = "BOOLEAN"
    INT = "INTEGER"
    BIG = "BIGINT"
    FLOAT = "DOUBLE"
    DATE = "DATE"
    TIME = "TIMESTAMP WITH TIME ZONE"  # UTC, microseconds
    TEXTS = "VARCHAR[]"
    INTS = "INTEGER[]"
    COUNTS = "STRUCT(kind VARCHAR, count INTEGER)[]"
    MESSAGES = 'STRUCT("role" VARCHAR, "name" VARCHAR, "text" VARCHAR)[]'


Columns = Mapping[str, Kind]


@dataclass(frozen=True)
class LakeTable:
    name: str
    about: str  # a line for whoever looks for it
    time: str  # of a row: the column that `date` is the UTC day of
    key: str  # the last of the columns that rows are sorted by, after agent and time
    versions: tuple[Columns, ...]

    @property
    def version(self) -> int:
        """The one that is written."""
        return len(self.versions)

    @property
    def sort(self) -> tuple[str, str, str]:
        return ("agent_id", self.time, self.key)

    def columns(self, version: int | None = None) -> dict[str, Kind]:
        """All columns of a version, by default of the newest. Raises ValueError for one that there
        is not."""
        wanted = self.version if version is None else version
        if not 1 <= wanted <= self.version:
            raise ValueError(f"{self.name} has no schema version {wanted}")
        return {name: kind for added in self.versions[:wanted] for name, kind in added.items()}


_WHO: Final = {
    "agent_id": Kind.TEXT,
    "agent": Kind.TEXT,  # its name
    "user_id": Kind.TEXT,
    "end_user": Kind.TEXT,  # the application's own id of the user
}

_TABLES: Final = (
    LakeTable(
        "sessions",
        "Conversations: whose, how long, how many tokens.",
        "started_at",
        "session_id",
        (
            {
                "date": Kind.DATE,
                "session_id": Kind.TEXT,
                **_WHO,
                "external_id": Kind.TEXT,
                "status": Kind.TEXT,
                "origin": Kind.TEXT,
                "turns": Kind.INT,
                "messages": Kind.INT,
                "prompt_tokens": Kind.BIG,
                "completion_tokens": Kind.BIG,
                "models": Kind.TEXTS,
                "started_at": Kind.TIME,
                "last_turn_at": Kind.TIME,
                "completed_at": Kind.TIME,
            },
        ),
    ),
    LakeTable(
        "turns",
        "Requests and their answers, with the words.",
        "started_at",
        "turn_id",
        (
            {
                "date": Kind.DATE,
                "turn_id": Kind.TEXT,
                "session_id": Kind.TEXT,
                **_WHO,
                "number": Kind.INT,
                "request_id": Kind.TEXT,
                "model": Kind.TEXT,
                "finish_reason": Kind.TEXT,
                "complete": Kind.BOOL,
                "prompt_tokens": Kind.INT,
                "completion_tokens": Kind.INT,
                "roles": Kind.TEXTS,  # of `messages`
                "messages": Kind.MESSAGES,  # the new ones, the answer last
                "said": Kind.TEXT,  # the user's words
                "answer": Kind.TEXT,  # the model's
                "started_at": Kind.TIME,
                "created_at": Kind.TIME,
            },
        ),
    ),
    LakeTable(
        "memories",
        "Memories as they are, with where each comes from.",
        "created_at",
        "memory_id",
        (
            {
                "date": Kind.DATE,
                "memory_id": Kind.TEXT,
                **_WHO,
                "category": Kind.TEXT,
                "subject": Kind.TEXT,
                "attribute": Kind.TEXT,
                "content": Kind.TEXT,
                "confidence": Kind.FLOAT,
                "usefulness": Kind.FLOAT,
                "access_count": Kind.INT,
                "last_accessed_at": Kind.TIME,
                "status": Kind.TEXT,
                "quarantine_reason": Kind.TEXT,
                "source": Kind.TEXT,
                "version": Kind.INT,
                "valid_from": Kind.TIME,
                "valid_to": Kind.TIME,
                "expires_at": Kind.TIME,
                "superseded_by": Kind.TEXT,
                "session_id": Kind.TEXT,
                "turns": Kind.INTS,
                "message_ids": Kind.TEXTS,
                "extractor": Kind.TEXT,
                "prompt_version": Kind.TEXT,
                "model": Kind.TEXT,
                "run_id": Kind.TEXT,
                "statements": Kind.INT,  # how often it was said
                "redactions": Kind.COUNTS,
                "tags": Kind.TEXTS,
                "embedding_model": Kind.TEXT,
                "created_at": Kind.TIME,
                "updated_at": Kind.TIME,
            },
        ),
    ),
    LakeTable(
        "memory_versions",
        "What memories were, each time they changed.",
        "created_at",
        "version_id",
        (
            {
                "date": Kind.DATE,
                "version_id": Kind.TEXT,
                "memory_id": Kind.TEXT,
                **_WHO,
                "version": Kind.INT,
                "change": Kind.TEXT,
                "content": Kind.TEXT,
                "category": Kind.TEXT,
                "status": Kind.TEXT,
                "valid_from": Kind.TIME,
                "valid_to": Kind.TIME,
                "superseded_by": Kind.TEXT,
                "snapshot": Kind.TEXT,  # JSON
                "run_id": Kind.TEXT,
                "created_at": Kind.TIME,
            },
        ),
    ),
    LakeTable(
        "injections",
        "Memories that requests were given, a row each.",
        "created_at",
        "request_id",
        (
            {
                "date": Kind.DATE,
                "request_id": Kind.TEXT,
                "session_id": Kind.TEXT,
                **_WHO,
                "memory_id": Kind.TEXT,
                "version": Kind.INT,
                "place": Kind.INT,  # among the request's memories, from 1
                "category": Kind.TEXT,
                "score": Kind.FLOAT,
                "relevance": Kind.FLOAT,
                "recency": Kind.FLOAT,
                "usefulness": Kind.FLOAT,
                "confidence": Kind.FLOAT,
                "access_frequency": Kind.FLOAT,
                "tokens": Kind.INT,
                "origin": Kind.TEXT,
                "support": Kind.FLOAT,  # how much the answer rests on it; null: not known yet
                "directive_version": Kind.INT,
                "degraded": Kind.TEXTS,
                "observed_at": Kind.TIME,
                "created_at": Kind.TIME,
            },
        ),
    ),
    LakeTable(
        "traces",
        "Requests in figures: times, tokens, outcomes.",
        "started_at",
        "request_id",
        (
            {
                "date": Kind.DATE,
                "request_id": Kind.TEXT,
                "agent_id": Kind.TEXT,
                "agent": Kind.TEXT,
                "token_id": Kind.TEXT,
                "session_id": Kind.TEXT,
                "has_user": Kind.BOOL,
                "model": Kind.TEXT,
                "provider": Kind.TEXT,
                "provider_host": Kind.TEXT,
                "provider_tries": Kind.INT,
                "status": Kind.INT,
                "error": Kind.TEXT,
                "stream": Kind.BOOL,
                "complete": Kind.BOOL,
                "started_at": Kind.TIME,
                "total_ms": Kind.FLOAT,
                "auth_ms": Kind.FLOAT,
                "session_ms": Kind.FLOAT,
                "context_ms": Kind.FLOAT,
                "upstream_ms": Kind.FLOAT,
                "ttfb_ms": Kind.FLOAT,
                "commit_ms": Kind.FLOAT,
                "memories_injected": Kind.INT,
                "context_tokens": Kind.INT,
                "prompt_tokens": Kind.INT,
                "completion_tokens": Kind.INT,
                "fallback": Kind.BOOL,
                "fallback_reason": Kind.TEXT,
                "degraded": Kind.TEXTS,
            },
        ),
    ),
    LakeTable(
        "usage",
        "Requests, tokens, errors, times and costs by day, agent, provider and model.",
        "first_at",
        "model",
        (
            {
                "date": Kind.DATE,
                "agent_id": Kind.TEXT,
                "agent": Kind.TEXT,
                "provider": Kind.TEXT,
                "model": Kind.TEXT,
                "requests": Kind.BIG,
                "errors": Kind.BIG,
                "fallbacks": Kind.BIG,
                "prompt_tokens": Kind.BIG,
                "completion_tokens": Kind.BIG,
                "context_tokens": Kind.BIG,
                "memories_injected": Kind.BIG,
                "p50_ms": Kind.FLOAT,
                "p95_ms": Kind.FLOAT,
                "p99_ms": Kind.FLOAT,
                "cost_usd": Kind.FLOAT,  # null: no price is known
                "first_at": Kind.TIME,
                "last_at": Kind.TIME,
            },
        ),
    ),
)

TABLES: Final[Mapping[str, LakeTable]] = MappingProxyType({one.name: one for one in _TABLES})


def arrow_schema(table: LakeTable, version: int | None = None) -> "pa.Schema":
    """pyarrow's schema of a version, by default of the newest, with the version in its metadata."""
    import pyarrow as pa  # noqa: PLC0415 — a third of a second, which a service does not need

    wanted = table.version if version is None else version
    return pa.schema(
        [pa.field(name, _arrow_types()[kind]) for name, kind in table.columns(wanted).items()],
        metadata={VERSION_KEY: str(wanted).encode()},
    )


def conform(table: LakeTable, data: "pa.Table") -> "pa.Table":
    """What a file of any version holds, with the columns of the newest; those that it does not have
    are null."""
    import pyarrow as pa  # noqa: PLC0415

    schema = arrow_schema(table)
    columns = [
        data.column(field.name).cast(field.type)
        if field.name in data.column_names
        else pa.nulls(data.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


@cache
def _arrow_types() -> "Mapping[Kind, pa.DataType]":
    import pyarrow as pa  # noqa: PLC0415

    return {
        Kind.TEXT: pa.string(),
        Kind.BOOL: pa.bool_(),
        Kind.INT: pa.int32(),
        Kind.BIG: pa.int64(),
        Kind.FLOAT: pa.float64(),
        Kind.DATE: pa.date32(),
        Kind.TIME: pa.timestamp("us", "UTC"),
        Kind.TEXTS: pa.list_(pa.string()),
        Kind.INTS: pa.list_(pa.int32()),
        Kind.COUNTS: pa.list_(pa.struct([("kind", pa.string()), ("count", pa.int32())])),
        Kind.MESSAGES: pa.list_(
            pa.struct([("role", pa.string()), ("name", pa.string()), ("text", pa.string())])
        ),
    }
