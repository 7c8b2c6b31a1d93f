"""Which session a request belongs to, and the end of one."""

from uuid import UUID

from hotpath.proxy.caller import Caller
from hotpath.proxy.exchange import Exchange
from hotpath.proxy.responses import send_json
from hotpath.proxy.users import UserDirectory
from hotpath.proxy.wishes import MemorySwitch, Wishes
from ibex.errors import InvalidRequestError, SessionNotFoundError
from ibex.stores.sessions import Session, SessionStore, new_session


class SessionFinder:
    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def find(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None, wishes: Wishes
    ) -> Session:
        """By X-IBEX-Session-ID; without it, or when nothing shall be recorded and there is none, a
        session that only its first turn will store. Raises DatabaseUnavailableError."""
        fresh = new_session(org_id, agent_id, user_id, wishes.session)
        if wishes.session is None or wishes.memory is MemorySwitch.OFF:
            return fresh
        if wishes.memory is MemorySwitch.READ_ONLY:
            found = await self._store.find_session(org_id, agent_id, user_id, wishes.session)
            return found or fresh
        return await self._store.open_session(org_id, agent_id, user_id, wishes.session)


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
