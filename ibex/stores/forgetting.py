"""Rules of retention in PostgreSQL, and the forgetting that follows them.

What is forgotten is deleted, with its history. What was said is in the sessions as long as these
are kept; a memory that is said again after that is learned anew.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from ibex.errors import NotFoundError
from ibex.memory.forgetting import Retention, Standing, for_agent, least
from ibex.memory.model import Category
from ibex.settings import Settings
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Database
from ibex.stores.queries import load
from ibex.stores.rules import RuleStore

_SQL = load("forgetting")
_BATCH: Final = 1_000  # memories of one transaction
_MOST: Final = 200_000  # of one organization and reason at a time; the next time goes on


class RetentionStore(RuleStore[Retention]):
    """The next forgetting goes by what is set here; nobody has to be told."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "retention", Retention.of)


@dataclass
class Forgotten:
    """How many went, and whose hot lists they may stand in."""

    expired: int = 0
    old: Counter[Category] = field(default_factory=Counter)
    over_limit: int = 0
    owners: set[Owner] = field(default_factory=set, repr=False)


class Forgetting:
    def __init__(
        self, database: Database, settings: Settings, *, batch: int = _BATCH, most: int = _MOST
    ) -> None:
        self._database = database
        self._settings = settings
        self._batch = batch
        self._most = most

    async def forget(self, now: datetime) -> Forgotten:
        """In every organization what has expired, what is older than its category is kept, and
        what is beyond the limits. Each organization's memories are deleted as that tenant.

        Raises DatabaseUnavailableError.
        """
        async with self._database.system() as connection:
            organizations = await connection.fetch(_SQL["organizations"])
        done = Forgotten()
        for row in organizations:
            await self._forget_in(row["id"], now, done)
        return done

    async def _forget_in(self, org_id: UUID, now: datetime, done: Forgotten) -> None:
        done.expired += await self._in_batches("forget_expired", org_id, (now,), done)
        try:
            organization = await RetentionStore(self._database).organization(org_id)
        except NotFoundError:  # it has gone meanwhile
            return
        async with self._database.tenant(org_id) as connection:
            agents = await connection.fetch(_SQL["agents"], org_id)
        rules = {
            one["id"]: for_agent(Retention.of(one["retention"]), organization, self._settings)
            for one in agents
        }
        for agent_id, rule in rules.items():
            for category in Category:
                if days := rule.days(category):
                    wanted = (agent_id, category.value, now - timedelta(days=days))
                    done.old[category] += await self._in_batches("forget_old", org_id, wanted, done)
        limits: dict[UUID | None, int] = {
            agent_id: rule.memories for agent_id, rule in rules.items() if rule.memories
        }
        together = organization.memories
        if together is None:
            together = self._settings.memory_limit_organization
        if together:
            limits[None] = together
        if limits:
            await self._hold(org_id, limits, now, done)

    async def _hold(
        self, org_id: UUID, limits: dict[UUID | None, int], now: datetime, done: Forgotten
    ) -> None:
        """The least valuable memories beyond the limits of agents, then of all of them (None)."""
        for agent_id, limit in sorted(limits.items(), key=lambda one: one[0] is None):
            async with self._database.tenant(org_id) as connection:
                rows = await connection.fetch(_SQL["counts"], org_id)
                counts = {row["agent_id"]: row["memories"] for row in rows}
                count = sum(counts.values()) if agent_id is None else counts.get(agent_id, 0)
                if count <= limit:
                    continue
                rows = await connection.fetch(_SQL["standing"], org_id, agent_id)
            standing = [_standing(row) for row in rows]
            ids = least(standing, min(len(standing) - limit, self._most), now)
            for start in range(0, len(ids), self._batch):
                part = ids[start : start + self._batch]
                async with self._database.tenant(org_id) as connection:
                    gone = await connection.fetch(_SQL["forget_these"], org_id, part)
                done.over_limit += len(gone)
                _note(done, org_id, gone)

    async def _in_batches(
        self, name: str, org_id: UUID, wanted: tuple[Any, ...], done: Forgotten
    ) -> int:
        count = 0
        while count < self._most:
            async with self._database.tenant(org_id) as connection:
                gone = await connection.fetch(_SQL[name], org_id, *wanted, self._batch)
            _note(done, org_id, gone)
            count += len(gone)
            if len(gone) < self._batch:
                break
        return count


def _note(done: Forgotten, org_id: UUID, gone: Sequence[asyncpg.Record]) -> None:
    done.owners.update(Owner(org_id, row["agent_id"], row["user_id"]) for row in gone)


def _standing(row: asyncpg.Record) -> Standing:
    return Standing(
        row["id"],
        Category(row["category"]),
        row["valid_from"],
        row["usefulness"],
        row["confidence"],
        row["access_count"],
    )
