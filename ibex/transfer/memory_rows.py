"""A row of memories as it comes: checked, redacted, and trusted no more than it deserves. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ibex.errors import InvalidRequestError
from ibex.ids import new_id
from ibex.importing import Name
from ibex.memory.model import Category, Fact, Source
from ibex.memory.trust import Reason, Status, assess
from ibex.memory.writing import content_hash
from ibex.memory.writing.redacting import redact_fact, says_something
from ibex.memory.writing.validating import MAX_CONTENT, MAX_LABEL, MAX_TAGS

EXTRACTOR = "import/1"
Label = Annotated[str, Field(max_length=MAX_LABEL)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    subject: Label = ""
    attribute: Label = ""
    confidence: Share = 0.9
    source: Source = Source.IMPORT
    session_id: UUID | None = None
    turns: tuple[Whole, ...] = ()
    message_ids: tuple[str, ...] = ()
    extractor: Name = EXTRACTOR
    prompt_version: Annotated[str, Field(max_length=200)] = ""
    model: Annotated[str, Field(max_length=200)] = ""
    run_id: Annotated[str | None, Field(max_length=200)] = None
    redactions: dict[str, Whole] = {}


class StatementRow(_Said):
    """One time that somebody said it."""

    id: UUID = Field(default_factory=new_id)
    category: Category = Category.DECLARATIVE
    content: Annotated[str | None, Field(min_length=1, max_length=MAX_CONTENT)] = None
    valid_from: AwareDatetime


class EdgeRow(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    to: UUID
    kind: Literal["supersedes", "contradicts", "undecided", "supports", "derived_from", "related"]
    reason: str | None = None


class MemoryRow(_Said):
    """What an export writes; of a file from elsewhere `content` is enough."""

    id: UUID = Field(default_factory=new_id)
    agent: Name | None = None
    user: Name | None = None
    category: Category = Category.DECLARATIVE
    content: Annotated[str, Field(min_length=1, max_length=MAX_CONTENT)]
    usefulness: Share = 0.5
    observed_usefulness: Share = 0.5
    access_count: Whole = 0
    last_accessed_at: AwareDatetime | None = None
    status: Status = Status.ACTIVE
    quarantine_reason: Reason | None = None
    version: Annotated[int, Field(ge=1, lt=2**31)] = 1
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    superseded_by: UUID | None = None
    place: Whole | None = None
    tags: Annotated[tuple[Label, ...], Field(max_length=MAX_TAGS)] = ()
    statements: tuple[StatementRow, ...] = ()
    edges: tuple[EdgeRow, ...] = ()
    embedding: tuple[float, ...] | None = None
    embedding_model: str | None = None
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_to and self.valid_from and self.valid_to < self.valid_from:
            raise ValueError("valid_to is before valid_from")
        return self


@dataclass(frozen=True)
class Statement:
    row: StatementRow = field(repr=False)
    fact: Fact = field(repr=False)
    content_hash: bytes
    is_own: bool  # in the memory's own words


@dataclass(frozen=True)
class Incoming:
    """A memory that may be stored."""

    row: MemoryRow = field(repr=False)
    fact: Fact = field(repr=False)
    content_hash: bytes
    redactions: dict[str, int]
    status: Status
    reason: Reason | None
    statements: tuple[Statement, ...]
    is_doubted: bool  # the file calls it active; it waits for a review now


def incoming(values: dict[str, Any], now: datetime, *, reviewed: bool) -> Incoming:
    """`reviewed`: what the file calls active was looked at. Raises InvalidRequestError that names
    the field and never its value."""
    try:
        row = MemoryRow.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "row"
        raise InvalidRequestError(f"{place}: {first['msg']}.") from None
    redacted = redact_fact(_fact(row))
    fact = redacted.fact
    if not says_something(fact):
        raise InvalidRequestError("content: it says nothing.")
    status, reason = row.status, row.quarantine_reason
    trust = assess(fact.content, source=fact.source, category=fact.category)
    is_doubted = status is Status.ACTIVE and trust.status is not Status.ACTIVE and not reviewed
    if is_doubted:
        status, reason = trust.status, trust.reason
    digest = content_hash(fact.content)
    since = row.valid_from or row.created_at or now
    said = [
        statement
        for one in row.statements or (_own(row, since),)
        if (statement := _statement(one, fact, digest, reviewed=reviewed)) is not None
    ]
    return Incoming(
        row,
        fact,
        digest,
        dict(Counter(row.redactions) + Counter(redacted.redactions)),
        status,
        None if status is Status.ACTIVE else reason,
        tuple(said),
        is_doubted,
    )


def _fact(row: MemoryRow) -> Fact:
    return Fact(
        category=row.category,
        content=row.content,
        confidence=row.confidence,
        source=row.source,
        turns=row.turns,
        subject=row.subject,
        attribute=row.attribute,
        tags=row.tags,
    )


def _own(row: MemoryRow, since: datetime) -> StatementRow:
    """The one statement of a memory that comes without any."""
    return StatementRow(
        category=row.category,
        valid_from=since,
        **row.model_dump(include=set(_Said.model_fields)),
    )


def _statement(row: StatementRow, memory: Fact, own: bytes, *, reviewed: bool) -> Statement | None:
    """None: its words are not the memory's, and would not be believed."""
    said = Fact(
        category=row.category,
        content=memory.content if row.content is None else row.content,
        confidence=row.confidence,
        source=row.source,
        turns=row.turns,
        subject=row.subject,
        attribute=row.attribute,
    )
    fact = redact_fact(said).fact
    digest = own if row.content is None else content_hash(fact.content)
    if digest != own:
        trust = assess(fact.content, source=fact.source, category=fact.category)
        if not says_something(fact) or (trust.status is not Status.ACTIVE and not reviewed):
            return None
    return Statement(row, fact, digest, digest == own)
