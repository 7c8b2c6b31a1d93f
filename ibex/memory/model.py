"""The words of the memory engine as data."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]  # shape (384,), unit length


class Category(StrEnum):
    PROCEDURAL = "procedural"  # how to act: preferences, instructions, workflows
    DECLARATIVE = "declarative"  # what is true
    EPISODIC = "episodic"  # what happened, close to the words


class Source(StrEnum):
    """Where the words of a memory came from; trust follows from it."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    DOCUMENT = "document"
    IMPORT = "import"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Fact:
    """One statement that extraction found, not yet redacted, embedded or stored."""

    category: Category
    content: str = field(repr=False)
    confidence: float  # in [0, 1]
    source: Source
    turns: tuple[int, ...]  # numbers of the session's turns that it rests on
    message_ids: tuple[str, ...] = ()  # the client's own ids of those messages, if it sent any
    subject: str = field(default="", repr=False)
    attribute: str = field(default="", repr=False)
    valid_from: datetime | None = None  # None: when it was said


@dataclass(frozen=True)
class Provenance:
    """What made a memory."""

    session_id: UUID | None
    extractor: str  # name and version, e.g. "facts/1"
    prompt_version: str  # hash of the prompt
    model: str
    run_id: str | None  # of Dagster


@dataclass(frozen=True)
class Candidate:
    """A memory that recall found, with what scoring needs."""

    id: UUID
    version: int
    category: Category
    content: str = field(repr=False)
    confidence: float
    usefulness: float
    access_count: int
    valid_from: datetime
    embedding: Vector = field(repr=False)
    lexical: float  # in [0, 1]: how well the words of the query are met
    origin: str  # hot | cold | both


@dataclass(frozen=True)
class ScoreParts:
    """Each in [0, 1]."""

    relevance: float
    recency: float
    usefulness: float
    confidence: float
    access_frequency: float


@dataclass(frozen=True)
class ScoredMemory:
    candidate: Candidate
    parts: ScoreParts
    score: float  # the composite, in [0, 1]
    tokens: int  # of its rendered line
