"""The one description of the tables (schema `ibex_core`), as SQLAlchemy 2.0 models.

Alembic compares it with the database (`make db-check`). The services themselves use asyncpg and
the named queries in `ibex/stores/sql`.
"""

from ibex.stores.models.backfill import (
    Backfill,
    BackfillChange,
    BackfillFact,
    BackfillSession,
)
from ibex.stores.models.base import SCHEMA, TENANT_TABLES, Base, metadata
from ibex.stores.models.checking import CheckResult, SessionMemory
from ibex.stores.models.conversation import (
    ArchiveFile,
    ArchiveUpload,
    ContextInjection,
    ExtractionJob,
    LakeDay,
    Session,
    SessionTurn,
)
from ibex.stores.models.governance import (
    AuditLog,
    BehavioralFingerprint,
    ErasureRequest,
    IdempotencyKey,
    Tombstone,
)
from ibex.stores.models.identity import (
    Agent,
    ApiToken,
    Directive,
    DirectiveVersion,
    Organization,
    User,
)
from ibex.stores.models.memory import (
    Memory,
    MemoryChange,
    MemoryEmbedding,
    MemoryFeedback,
    MemoryRelationship,
    MemoryStatement,
    MemoryTag,
    MemoryVersion,
)
from ibex.stores.models.usage import ExtractionUsage

__all__ = [
    "SCHEMA",
    "TENANT_TABLES",
    "Agent",
    "ApiToken",
    "ArchiveFile",
    "ArchiveUpload",
    "AuditLog",
    "Backfill",
    "BackfillChange",
    "BackfillFact",
    "BackfillSession",
    "Base",
    "BehavioralFingerprint",
    "CheckResult",
    "ContextInjection",
    "Directive",
    "DirectiveVersion",
    "ErasureRequest",
    "ExtractionJob",
    "ExtractionUsage",
    "IdempotencyKey",
    "LakeDay",
    "Memory",
    "MemoryChange",
    "MemoryEmbedding",
    "MemoryFeedback",
    "MemoryRelationship",
    "MemoryStatement",
    "MemoryTag",
    "MemoryVersion",
    "Organization",
    "Session",
    "SessionMemory",
    "SessionTurn",
    "Tombstone",
    "User",
    "metadata",
]
