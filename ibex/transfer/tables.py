"""What a row of each table has when it leaves: the columns, in their order."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Kind(StrEnum):
    """Of the values of a column; every one may be missing."""

    TEXT = "text"
    ID = "id"
    WHOLE = "whole"
    NUMBER = "number"
    TIME = "time"  # aware; written in UTC
    TRUTH = "truth"
    TEXTS = "texts"
    WHOLES = "wholes"
    DOCUMENT = "document"  # JSON, as text
    VECTOR = "vector"  # float32


class Table(StrEnum):
    MEMORIES = "memories"
    SESSIONS = "sessions"
    INJECTIONS = "injections"


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind = Kind.TEXT


EMBEDDING: Final = Column("embedding", Kind.VECTOR)

#: A row a memory, with the statements that it rests on and the edges that leave it.
MEMORIES: Final = (
    Column("id", Kind.ID),
    Column("agent"),
    Column("user"),
    Column("category"),
    Column("subject"),
    Column("attribute"),
    Column("content"),
    Column("confidence", Kind.NUMBER),
    Column("usefulness", Kind.NUMBER),
    Column("observed_usefulness", Kind.NUMBER),
    Column("access_count", Kind.WHOLE),
    Column("last_accessed_at", Kind.TIME),
    Column("status"),
    Column("quarantine_reason"),
    Column("source"),
    Column("version", Kind.WHOLE),
    Column("valid_from", Kind.TIME),
    Column("valid_to", Kind.TIME),
    Column("expires_at", Kind.TIME),
    Column("superseded_by", Kind.ID),
    Column("session_id", Kind.ID),
    Column("turns", Kind.WHOLES),
    Column("message_ids", Kind.TEXTS),
    Column("place", Kind.WHOLE),
    Column("extractor"),
    Column("prompt_version"),
    Column("model"),
    Column("run_id"),
    Column("redactions", Kind.DOCUMENT),
    Column("tags", Kind.TEXTS),
    Column("statements", Kind.DOCUMENT),
    Column("edges", Kind.DOCUMENT),
    Column("embedding_model"),
    Column("created_at", Kind.TIME),
    Column("updated_at", Kind.TIME),
)

#: A row a session, with its turns as they were said.
SESSIONS: Final = (
    Column("id", Kind.ID),
    Column("agent"),
    Column("user"),
    Column("external_id"),
    Column("status"),
    Column("origin"),
    Column("turn_count", Kind.WHOLE),
    Column("message_count", Kind.WHOLE),
    Column("prompt_tokens", Kind.WHOLE),
    Column("completion_tokens", Kind.WHOLE),
    Column("models", Kind.TEXTS),
    Column("started_at", Kind.TIME),
    Column("last_turn_at", Kind.TIME),
    Column("completed_at", Kind.TIME),
    Column("turns", Kind.DOCUMENT),
)

#: A row a memory that a request was given.
INJECTIONS: Final = (
    Column("request_id"),
    Column("created_at", Kind.TIME),
    Column("agent"),
    Column("user"),
    Column("session_id", Kind.ID),
    Column("memory_id", Kind.ID),
    Column("version", Kind.WHOLE),
    Column("category"),
    Column("score", Kind.NUMBER),
    Column("relevance", Kind.NUMBER),
    Column("recency", Kind.NUMBER),
    Column("usefulness", Kind.NUMBER),
    Column("confidence", Kind.NUMBER),
    Column("access_frequency", Kind.NUMBER),
    Column("tokens", Kind.WHOLE),
    Column("origin"),
    Column("insertion", Kind.WHOLE),
    Column("support", Kind.NUMBER),
    Column("directive_version", Kind.WHOLE),
)

_COLUMNS: Final = MappingProxyType(
    {Table.MEMORIES: MEMORIES, Table.SESSIONS: SESSIONS, Table.INJECTIONS: INJECTIONS}
)


def columns_of(table: Table, *, embeddings: bool = False) -> tuple[Column, ...]:
    """`embeddings`: of memories the vectors as well."""
    columns = _COLUMNS[table]
    return (*columns, EMBEDDING) if embeddings and table is Table.MEMORIES else columns
