"""Sessions and their turns in PostgreSQL.

A turn is stored, with what was injected, by one call when the caller knows the session as it is
(`NewTurn.opened`), in a transaction of a few statements when the session has moved on meanwhile.
Doing it again with the same request id changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from ibex.conversation import Message, Outline, chain, continues, new_messages
from ibex.errors import ConflictError, SessionNotFoundError
from ibex.ids import new_id, parse_id
from ibex.sessions import (
    NewTurn,
    Place,
    RecordedTurn,
    Session,
    SessionKey,
    StoredTurn,
    checkpoint,
    may_be_same,
    new_session,
    place_of,
    supersedes,
)
from ibex.stores.injections import Injection, add_injection, injection_columns
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

__all__ = [
    "Injection",
    "NewTurn",
    "RecordedTurn",
    "Session",
    "SessionKey",
    "SessionStore",
    "StoredTurn",
    "new_session",
]

_SQL = load("sessions")
# How many of a conversation's last messages may be where its session ends.
_PLACES: Final = 32


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

    async def find_conversation(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None, asked: Outline
    ) -> Session | None:
        """The session that this conversation goes on with: the one that ends where it began to."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(
                _SQL["find_conversation"],
                org_id,
                agent_id,
                user_id,
                asked.ends[-_PLACES:],
                asked.tails[-_PLACES:],
            )
        return _session(row) if row else None

    async def find_request(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        asked: Outline,
        *,
        key: bytes | None,
        within: timedelta,
    ) -> Session | None:
        """The session whose last request was this one: sent with the same key, or not long ago."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(
                _SQL["find_request"], org_id, agent_id, user_id, asked.end, key, within
            )
        return _session(row) if row else None

    async def record_turn(self, turn: NewTurn) -> RecordedTurn:
        """Store the turn; a completed session becomes active again. Another try of the session's
        last turn is not a turn of its own, and what goes on elsewhere than the session does (only
        of a session that was found by its content) is recorded in a session of its own.

        Raises SessionNotFoundError, TypeError when a message cannot be written as JSON.
        """
        hashes = chain(turn.messages) if turn.resent else []
        opened = turn.opened
        if opened is not None and not may_be_same(opened, turn):
            session = await self._record_at_once(opened, turn, hashes)
            if session is not None:
                return RecordedTurn(session, session.turn_count, new=True)
        async with self._database.tenant(turn.org_id) as connection:
            recorded = await _record_locked(connection, turn, hashes)
            if turn.injection is not None:
                # Of a try that is no turn of its own; of one that is, it is recorded by now.
                await add_injection(
                    connection, turn.org_id, recorded.session.id, turn.request_id, turn.injection
                )
        return recorded

    async def _record_at_once(
        self, opened: Session, turn: NewTurn, hashes: Sequence[bytes]
    ) -> Session | None:
        """None when the session is not (any more) as `opened` says, or more has to be asked."""
        new: Sequence[Message] | None = turn.messages
        if turn.resent:
            new = _continuation(opened, turn, hashes)
        if new is None:
            return None
        name, values = _turn_values(opened, turn, hashes, new)
        row = await self._database.call(_SQL[name], *values)
        return _session(row) if row else None

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


async def _record_locked(
    connection: Connection, turn: NewTurn, hashes: Sequence[bytes]
) -> RecordedTurn:
    row = await connection.fetchrow(_SQL["lock_session"], turn.org_id, turn.session_id)
    if row is None:
        raise SessionNotFoundError
    locked = _session(row)
    recorded = await connection.fetchrow(_SQL["recorded_turn"], turn.org_id, turn.request_id)
    if recorded is not None:
        return RecordedTurn(locked, recorded["number"] or locked.turn_count, new=False)
    place = place_of(locked, turn)
    if place is Place.SAME:
        settled = await _settle_tries(connection, locked, turn, hashes)
        if settled is not None:
            return settled
    elif place is Place.FORK:
        locked = new_session(
            locked.org_id, locked.agent_id, locked.user_id, started_at=turn.started_at
        )
    session = await _add_turn(connection, locked, turn, hashes)
    if session is None:
        raise ConflictError("The turn is being recorded twice at this moment.")
    return RecordedTurn(session, session.turn_count, new=True)


async def _settle_tries(
    connection: Connection, session: Session, turn: NewTurn, hashes: Sequence[bytes]
) -> RecordedTurn | None:
    """Which of two tries is the turn; None when the pipeline knows the earlier one already, so
    that the later answer must follow it."""
    org_id, number = session.org_id, session.turn_count
    last = await connection.fetchrow(_SQL["last_turn"], org_id, session.id, number)
    if last is None:
        return None
    if not supersedes(turn, session, last["started_at"]):
        await connection.execute(_SQL["note_try"], org_id, turn.request_id, session.request_hash)
        return RecordedTurn(session, number, new=False)
    after = checkpoint(session, turn, hashes)
    now = datetime.now(UTC)
    row = await connection.fetchrow(
        _SQL["replace_turn"],
        org_id,
        session.id,
        number,
        turn.request_id,
        _storable(turn.response),
        after.message_count,
        after.chain_hash,
        turn.model,
        turn.finish_reason,
        turn.complete,
        turn.prompt_tokens,
        turn.completion_tokens,
        turn.started_at or now,
        turn.created_at or now,
        after.dialogue_hash,
        after.tail_hash,
        after.request_hash,
        turn.request_key,
    )
    if row is None:
        return None if turn.answered else RecordedTurn(session, number, new=False)
    await connection.execute(_SQL["note_try"], org_id, last["request_id"], session.request_hash)
    return RecordedTurn(_session(row), number, new=True)


async def _add_turn(
    connection: Connection, session: Session, turn: NewTurn, hashes: Sequence[bytes]
) -> Session | None:
    """The session after the turn, which is recorded with its injection; None when it is not (any
    more) as `session` says."""
    new: Sequence[Message] | None = turn.messages
    if turn.resent:
        new = _continuation(session, turn, hashes)
    if new is None:
        prefix = await connection.fetchval(
            _SQL["known_prefix"], session.org_id, session.id, list(hashes)
        )
        new = new_messages(
            session.message_count, session.chain_hash, hashes, turn.messages, prefix or 0
        )
    name, values = _turn_values(session, turn, hashes, new)
    row = await connection.fetchrow(_SQL[name], *values)
    return _session(row) if row else None


def _continuation(
    session: Session, turn: NewTurn, hashes: Sequence[bytes]
) -> Sequence[Message] | None:
    """The new messages of a conversation that goes on where the session ends; None: it does not,
    or not all of it is known."""
    if not continues(session.message_count, session.chain_hash, hashes):
        return None
    return new_messages(session.message_count, session.chain_hash, hashes, turn.messages, 0)


def _turn_values(
    session: Session, turn: NewTurn, hashes: Sequence[bytes], new: Sequence[Message]
) -> tuple[str, tuple[Any, ...]]:
    """Which statement records the turn, and with which values."""
    after = checkpoint(session, turn, hashes if turn.resent else None)
    now = datetime.now(UTC)
    values = (
        session.org_id,
        session.id,
        session.turn_count,
        new_id(),
        turn.request_id,
        _storable(list(new)),
        _storable(turn.response),
        after.message_count,
        after.chain_hash,
        turn.model,
        turn.finish_reason,
        turn.complete,
        turn.prompt_tokens,
        turn.completion_tokens,
        turn.started_at or now,
        turn.created_at or now,
        after.dialogue_hash,
        after.tail_hash,
        after.request_hash,
        turn.request_key,
        *injection_columns(turn.injection),
    )
    if session.stored:
        return "record_turn", values
    return "record_first_turn", (
        *values,
        session.agent_id,
        session.user_id,
        session.external_id,
        session.origin,
        session.started_at,
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
