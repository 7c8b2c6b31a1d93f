"""What is said, what is believed, and what a write makes of both, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from uuid import UUID

from ibex.memory.conflicts import Statement
from ibex.memory.model import Fact, Provenance, Source, Vector
from ibex.memory.trust import BELIEVED, Trust


@dataclass(frozen=True)
class Stated:
    """A statement that is valid, redacted and embedded."""

    id: UUID
    fact: Fact
    content_hash: bytes = field(repr=False)
    redactions: Mapping[str, int]
    valid_from: datetime
    provenance: Provenance
    embedding: Vector = field(repr=False)
    trust: Trust = BELIEVED  # of the memory that it may become; only like meets like

    @cached_property
    def judged(self) -> Statement:
        fact = self.fact
        return Statement(
            content=fact.content,
            category=fact.category,
            subject=fact.subject,
            attribute=fact.attribute,
            confidence=fact.confidence,
            valid_from=self.valid_from,
        )


@dataclass(frozen=True)
class Belief:
    """A stored memory as far as a write may change it."""

    id: UUID
    content_hash: bytes = field(repr=False)
    valid_from: datetime
    valid_to: datetime | None  # exclusive; None: it is in force
    superseded_by: UUID | None


@dataclass(frozen=True)
class Neighbour:
    """Words that a stored memory rests on, said at one time, and near to a new statement's."""

    belief: Belief
    statement: Statement
    content_hash: bytes = field(repr=False)
    source: Source
    cosine: float


@dataclass(frozen=True)
class NewMemory:
    id: UUID
    words: Stated  # which it has; its first statement, or the one that says most
    valid_from: datetime
    valid_to: datetime | None = None
    superseded_by: UUID | None = None


@dataclass(frozen=True)
class Joined:
    """A further statement of what a memory says."""

    memory_id: UUID
    stated: Stated


@dataclass(frozen=True)
class Changed:
    """What a stored memory is from now on."""

    id: UUID
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: UUID | None
    words: Stated | None  # None: as they were
    moved: bool  # its validity is not what it was
    closed: bool  # namely, it ends, or ends sooner


@dataclass(frozen=True)
class Edge:
    from_id: UUID  # the newer
    to_id: UUID
    kind: str  # supersedes | contradicts | undecided | related
    reason: str = field(repr=False)


@dataclass(frozen=True)
class Plan:
    created: Sequence[NewMemory]
    joined: Sequence[Joined]
    changed: Sequence[Changed]
    edges: Sequence[Edge]
    #: Statements that joined a memory whose validity ends before they were said.
    released: Sequence[Stated]
    #: Memories that were set aside and come back as these.
    revived: Sequence[NewMemory] = ()

    def renamed(self, ids: Mapping[UUID, UUID]) -> "Plan":
        """With these new memories revived under the ids that they had. Their words are then a
        statement more of what is stored."""
        if not ids:
            return self

        def named(one: UUID) -> UUID:
            return ids.get(one, one)

        created = [
            replace(
                one,
                id=named(one.id),
                superseded_by=named(one.superseded_by) if one.superseded_by else None,
            )
            for one in self.created
        ]
        back = set(ids.values())
        revived = [one for one in created if one.id in back]
        return replace(
            self,
            created=[one for one in created if one.id not in back],
            joined=[
                *(Joined(one.id, one.words) for one in revived),
                *(replace(one, memory_id=named(one.memory_id)) for one in self.joined),
            ],
            changed=[
                replace(one, superseded_by=named(one.superseded_by) if one.superseded_by else None)
                for one in self.changed
            ],
            edges=[
                replace(one, from_id=named(one.from_id), to_id=named(one.to_id))
                for one in self.edges
            ],
            revived=revived,
        )
