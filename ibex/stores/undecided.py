"""Pairs of memories that no rule could judge, and what a verdict makes of them."""

from typing import Any, Final, Literal
from uuid import UUID

from ibex.memory.conflicts import Statement, Verdict
from ibex.memory.model import Category, Source
from ibex.memory.settling import Held, OpenPair, settlement
from ibex.memory.statements import Changed, Edge
from ibex.memory.writing.writer import refounded
from ibex.stores import memories_write
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL: Final = load("undecided")


class UndecidedStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, owner: Owner, limit: int) -> list[OpenPair]:
        """The oldest `limit` pairs of which both are in force. Raises DatabaseUnavailableError."""
        async with self._database.tenant(owner.org_id) as connection:
            rows = await connection.fetch(
                _SQL["open"], owner.org_id, owner.agent_id, owner.user_id, limit
            )
        return [OpenPair(row["edge_id"], _held(row, "older"), _held(row, "newer")) for row in rows]

    async def settle(
        self, owner: Owner, pair: OpenPair, verdict: Verdict, run_id: str | None
    ) -> bool:
        """Do what the verdict says, and keep it as the reason of an edge, in one transaction.

        False: one of the two is not what was judged any more, and nothing is done. Raises
        DatabaseUnavailableError.
        """
        older, newer = pair.older, pair.newer
        made = settlement(pair, verdict.resolution)
        reason = f"{verdict.rule}: {verdict.resolution}: {verdict.reason}"
        async with self._database.tenant(owner.org_id) as connection:
            await memories_write.lock(connection, owner)
            taken = await connection.fetchval(
                _SQL["take"],
                owner.org_id,
                pair.edge_id,
                newer.id,
                newer.version,
                older.id,
                older.version,
            )
            if taken is None:
                return False
            if made.ended and made.by:
                ended = Changed(
                    made.ended.id,
                    made.ended.statement.valid_from,
                    newer.statement.valid_from,
                    made.by.id,
                    words=None,
                    moved=True,
                    closed=True,
                )
                await memories_write.change(connection, owner.org_id, [ended], run_id)
                if made.ended is newer:  # it never was a memory of its own
                    await _unite(connection, owner.org_id, pair, run_id)
            edge = Edge(newer.id, older.id, made.kind, reason)
            await memories_write.relate(connection, owner.org_id, [edge])
        return True


async def _unite(connection: Connection, org_id: UUID, pair: OpenPair, run_id: str | None) -> None:
    """The older one rests on what the newer one rested on, and is as sure as both make it."""
    await memories_write.hand_over(connection, org_id, pair.newer.id, pair.older.id)
    shown = map(refounded, await memories_write.support(connection, org_id, [pair.older.id]))
    await memories_write.refound(connection, org_id, [one for one in shown if one], run_id)


def _held(row: Any, which: Literal["older", "newer"]) -> Held:
    return Held(
        id=row[f"{which}_id"],
        version=row[f"{which}_version"],
        statement=Statement(
            content=row[f"{which}_content"],
            category=Category(row[f"{which}_category"]),
            subject=row[f"{which}_subject"],
            attribute=row[f"{which}_attribute"],
            confidence=row[f"{which}_confidence"],
            valid_from=row[f"{which}_from"],
        ),
        source=Source(row[f"{which}_source"]),
        last_said=row[f"{which}_said"],
    )
