"""Facts that several users said become the agent's own."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from ibex.ids import new_id
from ibex.memory.conflicts import Statement, judge
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.promotion import Told, agreed
from ibex.memory.writing import MemoryWriter
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("promotion")

EXTRACTOR: Final = "promotion/1"
_NEAR: Final = 0.92  # cosine above which statements may say the same
_MOST: Final = 200  # memories that one is compared with


@dataclass(frozen=True)
class Promotions:
    created: tuple[UUID, ...]  # the agent's own memories


class Promotion:
    def __init__(self, database: Database, writer: MemoryWriter, users: int) -> None:
        """`users` who must say the same; 0: nothing is ever promoted."""
        self._database = database
        self._writer = writer
        self._users = users

    async def promote(
        self, org_id: UUID, agent_id: UUID, memory_ids: Sequence[UUID], run_id: str | None
    ) -> Promotions:
        """What these new memories of users make the agent's own, written like every other fact: the
        earliest one's words, with edges to all that say the same. Doing it again changes nothing.

        Raises EmbedderUnavailableError, DatabaseUnavailableError.
        """
        if not self._users or not memory_ids:
            return Promotions(())
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["near"], org_id, agent_id, list(memory_ids), _NEAR, _MOST
            )
        created: list[UUID] = []
        for told, near in _asked(rows):
            same = agreed(told, near, judge, self._users)
            if same:
                created += await self._write(org_id, agent_id, same, run_id)
        return Promotions(tuple(created))

    async def _write(
        self, org_id: UUID, agent_id: UUID, same: Sequence[Told], run_id: str | None
    ) -> Sequence[UUID]:
        statement = same[0].statement
        fact = Fact(
            category=statement.category,
            content=statement.content,
            confidence=max(one.statement.confidence for one in same),
            source=Source.USER,
            turns=(),
            subject=statement.subject,
            attribute=statement.attribute,
            valid_from=statement.valid_from,
        )
        provenance = Provenance(None, EXTRACTOR, "none", "none", run_id)
        written = await self._writer.write(org_id, agent_id, None, [fact], provenance, {})
        async with self._database.tenant(org_id) as connection:
            for made in written.created:
                await connection.execute(
                    _SQL["derive"],
                    org_id,
                    made,
                    [one.id for one in same],
                    [new_id() for _ in same],
                )
        return written.created


def _asked(rows: Sequence[asyncpg.Record]) -> list[tuple[Told, list[tuple[Told, float]]]]:
    """Each memory that was asked about, with those that lie near."""
    told: dict[UUID, Told] = {}
    near: defaultdict[UUID, list[tuple[Told, float]]] = defaultdict(list)
    for row in rows:
        one = Told(
            row["id"],
            row["user_id"],
            Statement(
                content=row["content"],
                category=Category.DECLARATIVE,
                subject=row["subject"],
                attribute=row["attribute"],
                confidence=row["confidence"],
                valid_from=row["valid_from"],
            ),
        )
        if row["id"] == row["asked"]:
            told[one.id] = one
        else:
            near[row["asked"]].append((one, row["cosine"]))
    return [(one, near[one.id]) for one in told.values()]
