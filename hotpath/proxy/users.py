"""The application's users: their own opaque ids to rows of ours, which hardly ever change."""

from typing import Final
from uuid import UUID

from hotpath.proxy.lookup import Lookup
from ibex.stores.identity import IdentityStore

_USERS: Final = 50_000


class UserDirectory:
    def __init__(self, identity: IdentityStore, ttl: float) -> None:
        """`ttl` in seconds."""
        self._identity = identity
        self._known: Lookup[tuple[UUID, str], UUID] = Lookup(_USERS, ttl)

    async def find(self, org_id: UUID, external_id: str | None) -> UUID | None:
        """Made when the application names it for the first time; None when it names nobody.

        Raises DatabaseUnavailableError.
        """
        if external_id is None:
            return None
        return await self._known.get(
            (org_id, external_id), lambda: self._identity.user(org_id, external_id)
        )
