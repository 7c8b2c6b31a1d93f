"""The words of backfills as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from ibex.backfills.quality import Quality


class State(StrEnum):
    WAITING = "waiting"  # for a worker
    RUNNING = "running"  # sessions are read again
    PAUSED = "paused"  # stopped by hand; `ibex backfill run` goes on
    READY = "ready"  # the difference is known
    SWITCHING = "switching"  # asked for; agent by agent
    SWITCHED = "switched"
    REVERTING = "reverting"
    DISCARDED = "discarded"


class Kind(StrEnum):
    ADDED = "added"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True)
class Wish:
    """Which sessions, and what shall read them."""

    agent_id: UUID | None  # None: of all agents
    since: datetime  # sessions that began from here on
    until: datetime | None  # and before this
    prompt: str  # its name
    prompt_version: str
    model: str


@dataclass(frozen=True)
class Backfill:
    id: UUID
    wish: Wish
    agent: str | None  # its name
    status: State
    last_error: str | None  # a code
    worker_until: datetime | None  # somebody works on it until then at least
    created_at: datetime
    compared_at: datetime | None
    switched_at: datetime | None
    revert_until: datetime | None
    sessions: int
    done: int
    dead: int
    switched: int  # sessions whose facts are believed
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None  # None: no price is set for the model
    seconds: float  # of the model and the embedder, over all sessions
    unchanged: int  # memories of these sessions that stay as they are


@dataclass(frozen=True)
class UnreadSession:
    session_id: UUID
    agent_id: UUID
    user_id: UUID | None
    imported: bool
    through_turn: int  # the last that the pipeline has read


@dataclass(frozen=True)
class ReadSession:
    """What reading a session again gave, apart from its facts."""

    session_id: UUID
    through_turn: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None
    seconds: float
    before: Quality
    after: Quality


@dataclass(frozen=True)
class Change:
    """What a switch changes about one memory."""

    id: UUID
    kind: Kind
    differs: tuple[str, ...]  # words | category | validity | status
    memory_id: UUID | None  # before; None: there was none
    session_id: UUID | None  # of the words afterwards
    content: str | None = field(repr=False)
    category: str | None
    status: str | None
    confidence: float | None
    valid_from: datetime | None
    valid_to: datetime | None


@dataclass(frozen=True)
class ShownChange:
    change: Change
    agent_id: UUID
    agent: str
    user: str | None  # the application's id
    before: str | None = field(repr=False)  # the memory's words
    before_category: str | None
    before_status: str | None

    @property
    def id(self) -> UUID:
        return self.change.id


@dataclass(frozen=True)
class AgentDifference:
    agent_id: UUID
    agent: str
    added: int
    gone: int
    changed: int
    quarantined: int  # of those that are added or changed, those that would wait for a review


@dataclass(frozen=True)
class Spent:
    """What was asked of models."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None


@dataclass(frozen=True)
class Difference:
    agents: tuple[AgentDifference, ...]
    before: Quality
    after: Quality
    spent_before: Spent  # by the pipeline, on the same sessions
    errors: Mapping[str, int]  # codes of sessions that could not be read, and how many


@dataclass(frozen=True)
class Exchanged:
    """What an exchange of one agent's or user's facts did."""

    changes: tuple[Change, ...]
    unchanged: int  # memories of these facts that are as they were
