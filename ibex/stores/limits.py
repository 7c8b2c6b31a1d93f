"""The rate limits that operators set, in PostgreSQL."""

from uuid import UUID

from ibex.errors import NotFoundError
from ibex.rate_limits import Limits
from ibex.stores.postgres import Database
from ibex.stores.queries import load
from ibex.stores.rules import RuleStore

_SQL = load("limits")


class LimitStore(RuleStore[Limits]):
    """Whoever sets one tells `Invalidations`, or it takes hold when the caches expire."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "limits", Limits.of)

    async def token(self, org_id: UUID, token_id: UUID) -> Limits:
        """Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["token"], org_id, token_id)
        if row is None:
            raise NotFoundError("There is no such token.")
        return Limits.of(row["limits"])

    async def set_token(self, org_id: UUID, token_id: UUID, limits: Limits) -> None:
        """Raises NotFoundError when there is no such token that is still valid."""
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["set_token"], org_id, token_id, limits.as_dict())
        if done != "UPDATE 1":
            raise NotFoundError("There is no such token, or it was revoked before.")
