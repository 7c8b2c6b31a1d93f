"""A session, its turns, and what is decided about them without asking anybody.

A request that is sent again (the client saw no answer, or only half of it) is the same turn: the
same session, the same messages, and a sign that it was sent again. See docs/adr/0051.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cached_property
from typing import Any
from uuid import UUID

from ibex.conversation import Message, Outline, chain, outline
from ibex.ids import new_id
from ibex.stores.injections import Injection


@dataclass(frozen=True)
class Session:
    org_id: UUID
    id: UUID
    agent_id: UUID
    user_id: UUID | None
    external_id: str | None
    status: str  # active | completed
    origin: str  # proxy | import
    turn_count: int
    message_count: int
    chain_hash: bytes | None  # of the first `message_count` messages
    last_extracted_turn: int
    archived_turn: int
    started_at: datetime
    last_turn_at: datetime
    completed_at: datetime | None
    # Of the dialogue (ibex.conversation.Outline); None when no whole conversation was sent.
    dialogue_hash: bytes | None = None  # of all of it
    tail_hash: bytes | None = None  # of its last messages
    request_hash: bytes | None = None  # of the last request, without its answer
    request_key: bytes | None = None  # of the last request's Idempotency-Key, SHA-256
    stored: bool = True  # False: its first turn will store it

    @property
    def name(self) -> str:
        """What the client calls it: its own id when it gave one."""
        return self.external_id or str(self.id)

    @property
    def unanswered(self) -> bool:
        """The last request got no whole answer."""
        return self.request_hash is not None and self.request_hash == self.dialogue_hash


@dataclass(frozen=True)
class SessionKey:
    org_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class NewTurn:
    org_id: UUID
    session_id: UUID
    request_id: str  # unique in the organization
    messages: Sequence[Message] = field(repr=False)
    response: Message | None = field(repr=False)  # the assistant's message
    model: str
    resent: bool = False  # `messages` is the whole conversation: only what is new is stored
    complete: bool = True  # False: the answer was cut off
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    started_at: datetime | None = None  # default: now
    created_at: datetime | None = None  # when the answer was whole; default: now
    injection: Injection | None = None
    opened: Session | None = None  # the session as it was when the request came
    found_by_content: bool = False  # nobody named the session
    retried: bool = False  # the client says that it sent this before
    request_key: bytes | None = None  # of its Idempotency-Key, SHA-256
    outline: Outline | None = field(default=None, repr=False)  # of `messages`, when it is known

    @cached_property
    def asked(self) -> Outline:
        return outline(self.messages) if self.outline is None else self.outline

    @property
    def answered(self) -> bool:
        """Its answer is whole and will be sent back with the next request."""
        return self.complete and self.response is not None


@dataclass(frozen=True)
class RecordedTurn:
    session: Session  # after the turn
    number: int  # from 1
    new: bool  # False: the request was recorded before


@dataclass(frozen=True)
class StoredTurn:
    number: int
    request_id: str
    # None: in the archive only, see ibex.stores.turns
    messages: tuple[dict[str, Any], ...] | None = field(repr=False)
    response: dict[str, Any] | None = field(repr=False)
    model: str
    finish_reason: str | None
    complete: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    started_at: datetime
    created_at: datetime


def new_session(
    org_id: UUID,
    agent_id: UUID,
    user_id: UUID | None,
    external_id: str | None = None,
    *,
    origin: str = "proxy",
    started_at: datetime | None = None,
    session_id: UUID | None = None,
) -> Session:
    """A session that nobody has stored yet: `record_turn` stores it with its first turn."""
    start = started_at or datetime.now(UTC)
    return Session(
        org_id=org_id,
        id=session_id or new_id(),
        agent_id=agent_id,
        user_id=user_id,
        external_id=external_id,
        status="active",
        origin=origin,
        turn_count=0,
        message_count=0,
        chain_hash=None,
        last_extracted_turn=0,
        archived_turn=0,
        started_at=start,
        last_turn_at=start,
        completed_at=None,
        stored=False,
    )


@dataclass(frozen=True)
class Checkpoint:
    """What a session knows itself by after a turn."""

    message_count: int
    chain_hash: bytes
    dialogue_hash: bytes | None
    tail_hash: bytes | None
    request_hash: bytes | None


def checkpoint(
    session: Session, turn: NewTurn, hashes: Sequence[bytes] | None = None
) -> Checkpoint:
    """`hashes` is `chain(turn.messages)` of a conversation, when it is known.

    Raises TypeError when a message cannot be written as JSON.
    """
    answer = [turn.response] if turn.response is not None and turn.answered else []
    if not turn.resent:
        # Only a whole conversation says how the next request will begin.
        hashes = chain([*turn.messages, *answer], session.chain_hash or b"")
        count = session.message_count + len(turn.messages) + len(answer)
        last = hashes[-1] if hashes else session.chain_hash or b""
        return Checkpoint(count, last, None, None, None)
    asked = turn.asked
    said = asked.then(answer)
    known = chain(turn.messages) if hashes is None else hashes
    hashes = [*known, *chain(answer, known[-1] if known else b"")]
    return Checkpoint(
        message_count=len(turn.messages) + len(answer),
        chain_hash=hashes[-1] if hashes else b"",
        dialogue_hash=said.end,
        tail_hash=said.tail,
        request_hash=asked.end,
    )


def advanced(session: Session, turn: NewTurn) -> Session:
    """The session as it will be once the turn is recorded in it."""
    after = checkpoint(session, turn)
    return replace(
        session,
        stored=True,
        status="active",
        completed_at=None,
        turn_count=session.turn_count + 1,
        message_count=after.message_count,
        chain_hash=after.chain_hash,
        dialogue_hash=after.dialogue_hash,
        tail_hash=after.tail_hash,
        request_hash=after.request_hash,
        request_key=turn.request_key,
        last_turn_at=max(session.last_turn_at, turn.created_at or session.last_turn_at),
    )


class Place(Enum):
    """Where a turn belongs in the session that it was meant for."""

    NEXT = auto()
    SAME = auto()  # another try of the session's last turn
    FORK = auto()  # in a session of its own


def may_be_same(session: Session, turn: NewTurn) -> bool:
    """Is the turn another try of the session's last one, for all that the turn itself says?"""
    return _same_content(session, turn) and (
        session.unanswered
        or turn.retried
        or (turn.request_key is not None and turn.request_key == session.request_key)
    )


def place_of(session: Session, turn: NewTurn) -> Place:
    """`session` as it is stored at this moment."""
    overtaken = turn.opened is not None and session.turn_count > turn.opened.turn_count
    # Two at once: the last turn was not there yet when this request came.
    if may_be_same(session, turn) or (overtaken and _same_content(session, turn)):
        return Place.SAME
    if turn.found_by_content and overtaken and session.dialogue_hash not in turn.asked.ends:
        return Place.FORK
    return Place.NEXT


def supersedes(turn: NewTurn, session: Session, last_started: datetime) -> bool:
    """Of two tries: a whole answer before one that was cut off, then the try that began later,
    which is the one the client still listens to."""
    if turn.answered is session.unanswered:
        return turn.answered
    return turn.started_at is None or turn.started_at >= last_started


def _same_content(session: Session, turn: NewTurn) -> bool:
    asked = turn.asked.end if turn.resent else None
    return session.turn_count > 0 and asked is not None and asked == session.request_hash
