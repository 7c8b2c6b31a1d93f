"""What every table shares: the schema, names of constraints, the tenant's part of the key."""

from datetime import date, datetime
from typing import Annotated, Any, ClassVar, TypeAlias
from uuid import UUID

from sqlalchemy import DateTime, ForeignKeyConstraint, LargeBinary, MetaData, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

SCHEMA = "ibex_core"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)

# `org_id` comes first in every primary key: a lookup by id alone does not exist.
OrgId = Annotated[UUID, mapped_column(Uuid, primary_key=True, sort_order=-2)]
Id = Annotated[UUID, mapped_column(Uuid, primary_key=True, sort_order=-1)]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=text("now()"))]
Time = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Day: TypeAlias = date  # for columns named `date`
Json = Annotated[dict[str, Any], mapped_column(JSONB, server_default=text("'{}'"))]
Bytes = Annotated[bytes, mapped_column(LargeBinary)]


class Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        bytes: LargeBinary,
    }


def one_of(column: str, *values: str) -> str:
    """SQL of a check that `column` is one of `values`."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def tenant_reference(column: str, table: str, *, ondelete: str = "CASCADE") -> ForeignKeyConstraint:
    """A foreign key that cannot leave the organization: it includes `org_id`."""
    # Only the reference is cleared, never `org_id` (PostgreSQL 15's column list).
    action = f"SET NULL ({column})" if ondelete == "SET NULL" else ondelete
    return ForeignKeyConstraint(
        ["org_id", column], [f"{SCHEMA}.{table}.org_id", f"{SCHEMA}.{table}.id"], ondelete=action
    )


#: Tables with an `org_id`: row-level security is enabled and forced on each.
TENANT_TABLES = (
    "users",
    "agents",
    "api_tokens",
    "directives",
    "directive_versions",
    "sessions",
    "session_turns",
    "extraction_jobs",
    "extraction_usage",
    "context_injections",
    "session_memories",
    "archive_files",
    "archive_uploads",
    "lake_days",
    "check_results",
    "memories",
    "memory_changes",
    "memory_embeddings",
    "memory_statements",
    "memory_versions",
    "memory_relationships",
    "memory_tags",
    "memory_feedback",
    "backfills",
    "backfill_sessions",
    "backfill_facts",
    "backfill_changes",
    "erasure_requests",
    "tombstones",
    "audit_log",
    "idempotency_keys",
    "behavioral_fingerprints",
)
