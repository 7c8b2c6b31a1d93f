"""The rate limits that operators set, in PostgreSQL."""

from uuid import UUID

from ibex.errors import AgentNotFoundError, NotFoundError
from ibex.rate_limits import Limits
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("limits")


class LimitStore:
    """Whoever sets one tells `Invalidations`, or it takes hold when the caches expire."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def organization(self, org_id: UUID) -> Limits:
        """Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["organization"], org_id)
        if row is None:
            raise NotFoundError
        return Limits.of(row["limits"])

    async def set_organization(self, org_id: UUID, limits: Limits) -> None:
        """Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["set_organization"], org_id, _stored(limits))
        if done != "UPDATE 1":
            raise NotFoundError

    async def agent(self, org_id: UUID, agent_id: UUID) -> Limits:
        """Raises AgentNotFoundError."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["agent"], org_id, agent_id)
        if row is None:
            raise AgentNotFoundError
        return Limits.of(row["limits"])

    async def set_agent(self, org_id: UUID, agent_id: UUID, limits: Limits) -> None:
        """Raises AgentNotFoundError."""
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["set_agent"], org_id, agent_id, _stored(limits))
        if done != "UPDATE 1":
            raise AgentNotFoundError

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


def _stored(limits: Limits) -> dict[str, dict[str, int]]:
    return {"limits": limits.as_dict()} if limits.as_dict() else {}
