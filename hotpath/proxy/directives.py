"""The agents' directives as the proxy itself knows them, for requests without assembled context."""

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

from hotpath.proxy.lookup import Lookup
from ibex.errors import DatabaseUnavailableError
from ibex.stores.identity import IdentityStore

_AGENTS: Final = 10_000


class Directives:
    def __init__(self, identity: IdentityStore, ttl: float) -> None:
        """`ttl` in seconds."""
        self._identity = identity
        self._known: Lookup[tuple[UUID, UUID], tuple[UUID, str]] = Lookup(_AGENTS, ttl)

    async def text(self, org_id: UUID, agent_id: UUID, limit: float) -> str:
        """Empty when the agent has none, or when it is not known within `limit` seconds."""
        key = (org_id, agent_id)
        known = self._known.known.get(key)
        if known is None:
            with suppress(TimeoutError, DatabaseUnavailableError):
                async with asyncio.timeout(max(limit, 0.0)):
                    known = await self._known.get(key, lambda: self._ask(org_id, agent_id))
        return known[1] if known else ""

    def warm(self, org_id: UUID, agent_id: UUID) -> None:
        """Know it soon: when it is needed, there is no time left to ask."""
        self._known.warm((org_id, agent_id), lambda: self._ask(org_id, agent_id))

    def forget(self, agent_id: UUID | None = None) -> None:
        self._known.forget(None if agent_id is None else lambda one: one[0] == agent_id)

    async def _ask(self, org_id: UUID, agent_id: UUID) -> tuple[UUID, str]:
        directive = await self._identity.directive(org_id, agent_id)
        return agent_id, directive.content if directive else ""
