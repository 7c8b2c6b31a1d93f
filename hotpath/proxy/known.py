"""The sessions this process held lately: for requests that PostgreSQL cannot say anything about.

Either it is away, or the session's turns wait in the spool, or its first try is still under way.
Elsewhere PostgreSQL decides: other processes hold sessions too.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ibex.conversation import Outline
from ibex.lru import TimedLru
from ibex.sessions import Session

_SESSIONS: Final = 10_000
_KEPT: Final = 3600.0  # seconds
_TRIES_KEPT: Final = 900.0  # seconds

Owner = tuple[UUID, UUID, UUID | None]  # organization, agent, user


@dataclass
class FirstTry:
    """Of a conversation that no session was found for."""

    session: Session
    key: bytes | None  # of its Idempotency-Key
    ended: bool = False


class KnownSessions:
    def __init__(self) -> None:
        self._ends: TimedLru[tuple[Owner, bytes], Session] = TimedLru(_SESSIONS, _KEPT)
        self._names: TimedLru[tuple[Owner, str], Session] = TimedLru(_SESSIONS, _KEPT)
        self._tries: TimedLru[tuple[Owner, bytes], FirstTry] = TimedLru(_SESSIONS, _TRIES_KEPT)

    def recorded(self, session: Session) -> None:
        """As it is after a turn."""
        owner = _owner(session)
        self._names.put((owner, session.name), session)
        if session.dialogue_hash is not None:
            self._ends.put((owner, session.dialogue_hash), session)
        first = self._tries.get((owner, session.request_hash or b""))
        if first is not None and first.session.id == session.id:
            first.session, first.ended = session, True

    def named(self, owner: Owner, name: str) -> Session | None:
        return self._names.get((owner, name))

    def going_on(self, owner: Owner, asked: Outline) -> Session | None:
        """The session that ends where this conversation began to go on."""
        for end in reversed(asked.ends):
            session = self._ends.get((owner, end))
            # Not one that has gone on elsewhere since.
            if session is not None and self.named(owner, session.name) is session:
                return session
        return None

    def began(self, session: Session, asked: Outline, key: bytes | None) -> None:
        """The first try of a conversation is on its way."""
        if asked.end is not None:
            self._tries.put((_owner(session), asked.end), FirstTry(session, key))

    def ended(self, session: Session, asked: Outline) -> None:
        """Nothing of it will be recorded."""
        first = self._tries.get((_owner(session), asked.end or b""))
        if first is not None and first.session.id == session.id:
            first.ended = True

    def first_try(
        self, owner: Owner, asked: Outline, *, retried: bool, key: bytes | None
    ) -> Session | None:
        """The session of an earlier try of the same conversation, when this is another one: the
        client says so, or it ended without an answer, or a user known by name asks twice at once.
        """
        first = self._tries.get((owner, asked.end or b""))
        if first is None:
            return None
        if retried or (key is not None and key == first.key):
            return first.session
        again = first.session.unanswered if first.ended else owner[2] is not None
        return first.session if again else None


def _owner(session: Session) -> Owner:
    return session.org_id, session.agent_id, session.user_id
