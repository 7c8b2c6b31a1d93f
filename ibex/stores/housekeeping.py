"""Deletes what is kept for a while only, a little at a time."""

from datetime import datetime
from typing import Final
from uuid import UUID

from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("housekeeping")
_BATCH: Final = 1_000  # rows of one transaction
_MOST: Final = 200_000  # rows of one organization at a time; the next time goes on


class Housekeeping:
    def __init__(self, database: Database, *, batch: int = _BATCH, most: int = _MOST) -> None:
        self._database = database
        self._batch = batch
        self._most = most

    async def prune_idempotency_keys(self, before: datetime) -> int:
        """How many went, of all organizations. A row that somebody holds is left for the next time.

        Each organization's rows are deleted as that tenant: `ibex_system` has no right to them.
        """
        async with self._database.system() as connection:
            organizations: list[UUID] = [
                row["id"] for row in await connection.fetch(_SQL["organizations"])
            ]
        return sum([await self._prune(org_id, before) for org_id in organizations])

    async def _prune(self, org_id: UUID, before: datetime) -> int:
        gone = 0
        while gone < self._most:
            async with self._database.tenant(org_id) as connection:
                done = await connection.execute(
                    _SQL["prune_idempotency_keys"], org_id, before, self._batch
                )
            count = int(done.removeprefix("DELETE "))
            gone += count
            if count < self._batch:
                break
        return gone
