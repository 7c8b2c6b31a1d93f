"""Sessions and their turns in PostgreSQL.

A turn is stored in one transaction of three round trips when the caller knows the session as it is
(`NewTurn.opened`), one or two more when the session has moved on meanwhile. Doing it again with the
same request id changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from ibex.conversation import Message, chain, continues, new_messages
from ibex.errors import ConflictError, SessionNotFoundError
from ibex.ids import new_id, parse_id
from ibex.stores.injections import Injection, add_injection
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("sessions")


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
    stored: bool = True  # False: its first turn will store it

    @property
    def name(self) -> str:
        """What the client calls it: its own id when it gave one."""
        return self.external_id or str(self.id)


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


@dataclass(frozen=True)
class RecordedTurn:
    session: Session  # after the turn
    number: int  # from 1
    new: bool  # False: the request was recorded before


@dataclass(frozen=True)
class StoredTurn:
    number: int
    request_id: str
    # None once archived and extracted
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
) -> Session:
    """A session that nobody has stored yet: `record_turn` stores it with its first turn."""
    start = started_at or datetime.now(UTC)
    return Session(
        org_id=org_id,
        id=new_id(),
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


class SessionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_session(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None, name: str
    ) -> Session | None:
        """By the application's own id, else by ours."""
        async with self._database.tenant(org_id) as connection:
            return await _find(connection, org_id, agent_id, user_id, name)

    async def open_session(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        external_id: str | None,
        *,
        origin: str = "proxy",
        started_at: datetime | None = None,
    ) -> Session:
        """Found, else made. A completed one stays completed until a turn is recorded."""
        fresh = new_session(
            org_id, agent_id, user_id, external_id, origin=origin, started_at=started_at
        )
        async with self._database.tenant(org_id) as connection:
            if external_id is not None:
                found = await _find(connection, org_id, agent_id, user_id, external_id)
                if found is not None:
                    return found
            row = await connection.fetchrow(
                _SQL["add_session"],
                org_id,
                fresh.id,
                agent_id,
                user_id,
                external_id,
                origin,
                fresh.started_at,
            )
            if row is not None:
                return _session(row)
            # Somebody else made it between the two statements.
            found = await _find(connection, org_id, agent_id, user_id, external_id or "")
        if found is None:
            raise ConflictError("The session was made and removed at this moment.")
        return found

    async def session(self, org_id: UUID, session_id: UUID) -> Session:
        """Raises SessionNotFoundError."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["session"], org_id, session_id)
        if row is None:
            raise SessionNotFoundError
        return _session(row)

    async def record_turn(self, turn: NewTurn) -> RecordedTurn:
        """Store the turn; a completed session becomes active again.

        Raises SessionNotFoundError, TypeError when a message cannot be written as JSON.
        """
        hashes = chain(turn.messages) if turn.resent else []
        async with self._database.tenant(turn.org_id) as connection:
            session = None
            if turn.opened is not None:
                session = await _add_turn(connection, turn.opened, turn, hashes)
            if session is None:
                row = await connection.fetchrow(_SQL["lock_session"], turn.org_id, turn.session_id)
                if row is None:
                    raise SessionNotFoundError
                locked = _session(row)
                recorded = await connection.fetchrow(
                    _SQL["recorded_turn"], turn.org_id, turn.request_id
                )
                if recorded is not None:
                    return RecordedTurn(locked, recorded["number"], new=False)
                session = await _add_turn(connection, locked, turn, hashes)
            if session is None:
                raise ConflictError("The turn is being recorded twice at this moment.")
            if turn.injection is not None:
                await add_injection(
                    connection, turn.org_id, turn.session_id, turn.request_id, turn.injection
                )
        return RecordedTurn(session, session.turn_count, new=True)

    async def record_injection(
        self, org_id: UUID, session_id: UUID, request_id: str, injection: Injection
    ) -> None:
        """Of a request whose turn is not recorded with it; nothing when the session is unknown."""
        async with self._database.tenant(org_id) as connection:
            await add_injection(connection, org_id, session_id, request_id, injection)

    async def complete(self, org_id: UUID, session_id: UUID, at: datetime | None = None) -> Session:
        """Close the session and queue what has not been extracted; again changes nothing.

        Raises SessionNotFoundError.
        """
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["lock_session"], org_id, session_id)
            was_active = row is not None and row["status"] == "active"
            if was_active:
                row = await connection.fetchrow(_SQL["complete_session"], org_id, session_id, at)
            if row is None:
                raise SessionNotFoundError
            session = _session(row)
            if session.turn_count > session.last_extracted_turn:
                await connection.execute(
                    _SQL["queue_extraction"], org_id, session_id, new_id(), was_active
                )
        return session

    async def turns(self, org_id: UUID, session_id: UUID, after: int = 0) -> list[StoredTurn]:
        """Those with a number above `after`, in order."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["turns"], org_id, session_id, after)
        return [
            StoredTurn(
                **dict(row) | {"messages": None if (m := row["messages"]) is None else tuple(m)}
            )
            for row in rows
        ]

    async def idle_sessions(self, before: datetime, limit: int) -> list[SessionKey]:
        """Active sessions of all organizations whose last turn was before that time."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["idle_sessions"], before, limit)
        return [SessionKey(row["org_id"], row["id"]) for row in rows]


async def _find(
    connection: Connection, org_id: UUID, agent_id: UUID, user_id: UUID | None, name: str
) -> Session | None:
    row = await connection.fetchrow(
        _SQL["find_session"], org_id, agent_id, user_id, name, parse_id(name)
    )
    return _session(row) if row else None


async def _add_turn(
    connection: Connection, session: Session, turn: NewTurn, hashes: Sequence[bytes]
) -> Session | None:
    """The session after the turn; None when it is not (any more) as `session` says."""
    said = [turn.response] if turn.response is not None and turn.complete else []
    if turn.resent:
        new = await _cut(connection, session, turn, hashes)
        count, base = len(turn.messages), hashes[-1] if hashes else b""
        after = chain(said, base)
    else:
        new = turn.messages
        count, base = session.message_count + len(new), session.chain_hash or b""
        after = chain([*new, *said], base)
    now = datetime.now(UTC)
    values = (
        session.org_id,
        session.id,
        session.turn_count,
        new_id(),
        turn.request_id,
        _storable(list(new)),
        _storable(turn.response),
        count + len(said),
        after[-1] if after else base,
        turn.model,
        turn.finish_reason,
        turn.complete,
        turn.prompt_tokens,
        turn.completion_tokens,
        turn.started_at or now,
        turn.created_at or now,
    )
    if session.stored:
        row = await connection.fetchrow(_SQL["record_turn"], *values)
    else:
        row = await connection.fetchrow(
            _SQL["record_first_turn"],
            *values,
            session.agent_id,
            session.user_id,
            session.external_id,
            session.origin,
            session.started_at,
        )
    return _session(row) if row else None


async def _cut(
    connection: Connection, session: Session, turn: NewTurn, hashes: Sequence[bytes]
) -> Sequence[Message]:
    prefix = 0
    if not continues(session.message_count, session.chain_hash, hashes):
        prefix = await connection.fetchval(
            _SQL["known_prefix"], session.org_id, session.id, list(hashes)
        )
    return new_messages(
        session.message_count, session.chain_hash, hashes, turn.messages, prefix or 0
    )


_COLUMNS = tuple(one.name for one in fields(Session) if one.name != "stored")


def _session(row: "asyncpg.Record") -> Session:
    return Session(**{name: row[name] for name in _COLUMNS})


def _storable(value: Any) -> Any:
    """PostgreSQL's jsonb has no U+0000; it becomes U+FFFD, the replacement character."""
    if b"\\u0000" not in orjson.dumps(value):
        return value
    return _without_nul(value)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value
