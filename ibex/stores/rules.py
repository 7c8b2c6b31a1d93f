"""Rules that operators set for an organization and for an agent: limits, retention."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from ibex.errors import AgentNotFoundError, NotFoundError
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("rules")


class Rules(Protocol):
    def as_dict(self) -> dict[str, int]:
        """What is set; empty: nothing is."""


R = TypeVar("R", bound=Rules)


class RuleStore(Generic[R]):
    def __init__(
        self, database: Database, name: str, read: Callable[[Mapping[str, Any] | None], R]
    ) -> None:
        """`name` of the rules among others; `read` makes them of what is stored, None: nothing."""
        self._database = database
        self._name = name
        self._read = read

    async def organization(self, org_id: UUID) -> R:
        """Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["organization"], org_id, self._name)
        if row is None:
            raise NotFoundError
        return self._read(row["rules"])

    async def set_organization(self, org_id: UUID, rules: R) -> None:
        """Raises NotFoundError."""
        values = org_id, self._name, self._stored(rules)
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["set_organization"], *values)
        if done != "UPDATE 1":
            raise NotFoundError

    async def agent(self, org_id: UUID, agent_id: UUID) -> R:
        """Raises AgentNotFoundError."""
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["agent"], org_id, agent_id, self._name)
        if row is None:
            raise AgentNotFoundError
        return self._read(row["rules"])

    async def set_agent(self, org_id: UUID, agent_id: UUID, rules: R) -> None:
        """Raises AgentNotFoundError."""
        values = org_id, agent_id, self._name, self._stored(rules)
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["set_agent"], *values)
        if done != "UPDATE 1":
            raise AgentNotFoundError

    def _stored(self, rules: R) -> dict[str, dict[str, int]]:
        values = rules.as_dict()
        return {self._name: values} if values else {}
