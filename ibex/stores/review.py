"""An operator's decisions about memories: approve, reject, let end, make a user's the agent's own.

A decision is one transaction: the memory's status, a version of it, a row in the audit log with who
decided and what it was before. Recall follows at once: the index by its triggers, the hot list by a
refresh here.
"""

import logging
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from ibex.errors import CacheUnavailableError, ConflictError, MemoryNotFoundError
from ibex.ids import new_id
from ibex.memory.trust import Status
from ibex.stores.audit import Actor, audit
from ibex.stores.hot import HotCache
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("review")
_log = logging.getLogger("ibex.review")
_CHANGES: Final = {Status.ACTIVE: "approved", Status.REJECTED: "rejected"}


class MemoryReview:
    def __init__(self, database: Database, hot: HotCache) -> None:
        self._database = database
        self._hot = hot

    async def approve(
        self, org_id: UUID, memory_id: UUID, actor: Actor, *, version: int | None = None
    ) -> None:
        """From now on it is recalled. Approving it again changes nothing.

        `version` is the one that was read. Raises MemoryNotFoundError, and ConflictError when it
        has another version by now, or is no longer valid.
        """
        await self._decide(org_id, memory_id, Status.ACTIVE, actor, version)

    async def reject(
        self, org_id: UUID, memory_id: UUID, actor: Actor, *, version: int | None = None
    ) -> None:
        """It is never recalled, and its words do not become a memory again. Also for one that was
        active. Raises as `approve`."""
        await self._decide(org_id, memory_id, Status.REJECTED, actor, version)

    async def promote(
        self, org_id: UUID, memory_id: UUID, actor: Actor, *, version: int | None = None
    ) -> UUID:
        """The id of a memory of the agent's own with the words of a user's memory, which stays.

        Raises MemoryNotFoundError, and ConflictError when it is not an active memory of a user, or
        the agent knows these words already.
        """
        promoted = new_id()
        async with self._database.tenant(org_id) as connection:
            before = await _lock(connection, org_id, memory_id, version)
            if before["user_id"] is None or before["status"] != Status.ACTIVE:
                raise ConflictError("Only an active memory of a user can become the agent's own.")
            made = await connection.fetchval(
                _SQL["promote"], org_id, memory_id, promoted, new_id(), new_id()
            )
            if made is None:
                raise ConflictError("The agent has a memory with these words already.")
            await audit(
                connection,
                org_id,
                actor,
                "promoted",
                "memory",
                memory_id,
                {"promoted_to": str(promoted)},
            )
        await self._refresh(org_id, before["agent_id"], None)
        return promoted

    async def expire(
        self,
        org_id: UUID,
        memory_id: UUID,
        expires_at: datetime | None,
        actor: Actor,
        *,
        version: int | None = None,
    ) -> None:
        """From `expires_at` on it is not recalled, and the next forgetting deletes it; None: never.

        Raises as `approve`."""
        async with self._database.tenant(org_id) as connection:
            before = await _lock(connection, org_id, memory_id, version)
            if before["expires_at"] == expires_at:
                return
            await connection.execute(_SQL["expire"], org_id, memory_id, expires_at, new_id())
            details = {"expires_at": _written(before["expires_at"]), "version": before["version"]}
            await audit(connection, org_id, actor, "expiry_set", "memory", memory_id, details)
        await self._refresh(org_id, before["agent_id"], before["user_id"])

    async def _decide(
        self, org_id: UUID, memory_id: UUID, status: Status, actor: Actor, version: int | None
    ) -> None:
        change = _CHANGES[status]
        async with self._database.tenant(org_id) as connection:
            before = await _lock(connection, org_id, memory_id, version)
            if before["status"] == status:
                return
            await connection.execute(_SQL["decide"], org_id, memory_id, status, new_id(), change)
            details = {
                "status": before["status"],
                "reason": before["quarantine_reason"],
                "version": before["version"],
            }
            await audit(connection, org_id, actor, change, "memory", memory_id, details)
        await self._refresh(org_id, before["agent_id"], before["user_id"])

    async def _refresh(self, org_id: UUID, agent_id: UUID, user_id: UUID | None) -> None:
        try:
            await self._hot.refresh(org_id, agent_id, user_id)
        except CacheUnavailableError as error:
            _log.warning("a hot list is stale: %s", type(error).__name__)


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


async def _lock(
    connection: Connection, org_id: UUID, memory_id: UUID, version: int | None
) -> asyncpg.Record:
    """What it is before the decision."""
    row = await connection.fetchrow(_SQL["lock"], org_id, memory_id)
    if row is None:
        raise MemoryNotFoundError
    if version is not None and row["version"] != version:
        raise ConflictError(
            f"The memory has version {row['version']} by now.", hint="Read it again."
        )
    if row["valid_to"] is not None:
        raise ConflictError("The memory is no longer valid.", hint="Decide about its successor.")
    return row
