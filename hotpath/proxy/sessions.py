"""Which session a request belongs to, and the end of one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

from hotpath.proxy.availability import Availability
from hotpath.proxy.caller import Caller
from hotpath.proxy.exchange import Exchange
from hotpath.proxy.known import KnownSessions, Owner
from hotpath.proxy.responses import send_json
from hotpath.proxy.retries import Retry
from hotpath.proxy.users import UserDirectory
from hotpath.proxy.wishes import MemorySwitch
from ibex.conversation import Message, Outline, outline
from ibex.errors import DatabaseUnavailableError, InvalidRequestError, SessionNotFoundError
from ibex.sessions import Session, new_session
from ibex.spool import Spool
from ibex.spooled_turns import key_of
from ibex.stores.sessions import SessionStore

# A client that says it sends again did not wait longer than this since the answer it did not get.
_RESENT: Final = timedelta(seconds=60)


@dataclass(frozen=True)
class FoundSession:
    session: Session
    asked: Outline = field(repr=False)
    retry: Retry
    by_content: bool  # nobody named it
    user: str | None = None  # the application's id of a user whom PostgreSQL could not be asked for
    begins: bool = False  # with this request; its id has just been made


class SessionFinder:
    """By X-IBEX-Session-ID; else by what was said before; else a session that only its first turn
    will store. While PostgreSQL is away, or turns wait for it, by what this process knows: a
    session that it does not know begins anew, and a name is looked up when its turn is drained."""

    def __init__(
        self,
        store: SessionStore,
        users: UserDirectory,
        known: KnownSessions,
        availability: Availability,
        spool: Spool,
    ) -> None:
        self._store = store
        self._users = users
        self._known = known
        self._availability = availability
        self._spool = spool

    async def find(self, caller: Caller, messages: Sequence[Message], retry: Retry) -> FoundSession:
        """Does not need PostgreSQL."""
        org_id, wishes = caller.token.org_id, caller.wishes
        user_id, unknown = await self._user(org_id, wishes.user)
        owner = org_id, caller.agent.id, user_id
        asked = outline(messages)
        begins = False
        if wishes.memory is MemorySwitch.OFF:
            session = new_session(*owner, wishes.session)
        elif wishes.session is not None:
            session = await self._named(owner, wishes.session, wishes.memory)
        else:
            known = await self._by_content(owner, asked, retry)
            begins = known is None
            session = known or new_session(*owner)
            if begins and wishes.memory.writes:
                self._known.began(session, asked, retry.key)
        return FoundSession(session, asked, retry, wishes.session is None, unknown, begins)

    def ended(self, found: FoundSession) -> None:
        """Nothing of the request will be recorded."""
        self._known.ended(found.session, found.asked)

    async def _user(self, org_id: UUID, name: str | None) -> tuple[UUID | None, str | None]:
        if name is None:
            return None, None
        try:
            return await self._availability.within(self._users.find(org_id, name)), None
        except DatabaseUnavailableError:
            self._availability.lost()
            # Somebody of whom nothing is known: an id that no row has keeps users apart.
            return uuid5(org_id, name), name

    async def _named(self, owner: Owner, name: str, memory: MemorySwitch) -> Session:
        fresh = new_session(*owner, name)
        known = self._known.named(owner, name)
        if known is not None and self._spool.holds(key_of(known)):
            return known
        if not self._availability.away:
            try:
                within = self._availability.within
                if memory is MemorySwitch.READ_ONLY:
                    return await within(self._store.find_session(*owner, name)) or fresh
                return await within(self._store.open_session(*owner, name))
            except DatabaseUnavailableError:
                self._availability.lost()
        return known or fresh

    async def _by_content(self, owner: Owner, asked: Outline, retry: Retry) -> Session | None:
        found = self._known.first_try(owner, asked, retried=retry.retried, key=retry.key)
        if found is None and (self._availability.away or not self._spool.empty):
            known = self._known.going_on(owner, asked)
            if known is not None and (self._availability.away or self._spool.holds(key_of(known))):
                found = known
        if found is None and not self._availability.away:
            try:
                if retry.signs or asked.answered:  # a first message alone goes on with nothing
                    found = await self._availability.within(self._stored(owner, asked, retry))
            except DatabaseUnavailableError:
                self._availability.lost()
                found = self._known.going_on(owner, asked)
        return found

    async def _stored(self, owner: Owner, asked: Outline, retry: Retry) -> Session | None:
        found = None
        if asked.end is not None and retry.signs:
            found = await self._store.find_request(
                *owner, asked, key=retry.key, within=_RESENT if retry.retried else timedelta()
            )
        if found is None and asked.answered:
            found = await self._store.find_conversation(*owner, asked)
        return found


class SessionCompletion:
    """`POST /v1/sessions/{id}/complete`: the conversation is over, learn from it."""

    def __init__(self, store: SessionStore, users: UserDirectory) -> None:
        self._store = store
        self._users = users

    async def __call__(self, exchange: Exchange, caller: Caller, name: str) -> None:
        """`name` is the application's id of the session or ours. Raises SessionNotFoundError."""
        if not name.isprintable():
            raise InvalidRequestError("The session's id is not printable.")
        org_id = caller.token.org_id
        user_id = await self._users.find(org_id, caller.wishes.user)
        session = await self._store.find_session(org_id, caller.agent.id, user_id, name)
        if session is None:
            raise SessionNotFoundError(
                hint="Send the X-IBEX-Agent-ID and X-IBEX-User-ID that the session was held with."
            )
        done = await self._store.complete(org_id, session.id)
        exchange.facts.session_id = done.id
        exchange.set_header(b"x-ibex-session-id", done.name)
        await send_json(
            exchange, 200, {"id": done.name, "status": done.status, "turns": done.turn_count}
        )
