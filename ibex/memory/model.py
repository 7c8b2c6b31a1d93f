"""The words of the memory engine as data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ibex.memory.lines import line_of

DIGEST_BYTES: Final = 8

Vector = npt.NDArray[np.float32]  # shape (384,), unit length
#: Of a memory without one of the model that is served: it has nothing in common with any other.
NO_VECTOR: Final[Vector] = np.zeros(384, np.float32)
NO_VECTOR.flags.writeable = False


class Category(StrEnum):
    PROCEDURAL = "procedural"  # how to act: preferences, instructions, workflows
    DECLARATIVE = "declarative"  # what is true
    EPISODIC = "episodic"  # what happened, close to the words


#: The place of a category in columns of numbers.
CATEGORY_NUMBER: Final = MappingProxyType({one: number for number, one in enumerate(Category)})


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
    place: int | None = None  # of an episode: its number in the order of the session
    tags: tuple[str, ...] = field(default=(), repr=False)


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
    """A memory in force, as recall gives it. What is made of it is made once: an index gives the
    same object to every request."""

    id: UUID
    version: int
    category: Category
    content: str = field(repr=False)
    confidence: float
    usefulness: float
    access_count: int
    valid_from: datetime
    embedding: Vector = field(repr=False)
    expires_at: datetime | None = None  # None: never, or looked at by whoever gave it
    #: Of its line, by encoding, as far as they were counted.
    tokens: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    @cached_property
    def line(self) -> str:
        """Its line in a request, without the line break."""
        return line_of(self.valid_from, self.content)

    @cached_property
    def id_text(self) -> str:
        return str(self.id)

    @cached_property
    def digest(self) -> bytes:
        """Of everything that decides about the bytes of its line and their place."""
        said = f"{self.category.value}\n{self.valid_from.timestamp()!r}\n{self.line}"
        return hashlib.blake2b(said.encode(), digest_size=DIGEST_BYTES).digest()

    @cached_property
    def figures(self) -> tuple[float, ...]:
        """What its score rests on before there is a question: the number of its category, when it
        came into force (seconds since 1970), usefulness, confidence, accesses."""
        return (
            CATEGORY_NUMBER[self.category],
            self.valid_from.timestamp(),
            self.usefulness,
            self.confidence,
            self.access_count,
        )


class Found(NamedTuple):
    """A candidate and how a request came to it."""

    candidate: Candidate
    lexical: float  # in [0, 1]: how well the words of the query are met; of a pinned one not known
    origin: str  # hot | cold | both | pinned (only by what the session was given before)


class ScoreParts(NamedTuple):
    """Each in [0, 1]."""

    relevance: float
    recency: float
    usefulness: float
    confidence: float
    access_frequency: float


class Ranked(NamedTuple):
    """A memory that recall found, and what it scores for the question."""

    candidate: Candidate
    parts: ScoreParts
    score: float  # the composite, in [0, 1]
    origin: str  # hot | cold | both | pinned


class ScoredMemory(NamedTuple):
    candidate: Candidate
    parts: ScoreParts
    score: float  # the composite, in [0, 1]
    tokens: int  # of its rendered line
    origin: str = "cold"  # hot | cold | both | pinned


def vectors_of(candidates: Sequence[Candidate]) -> npt.NDArray[np.float32]:
    """Their embeddings as rows, shape (len(candidates), 384)."""
    if not candidates:
        return np.empty((0, 0), np.float32)
    flat = np.concatenate([one.embedding for one in candidates])
    return flat.reshape(len(candidates), -1)
