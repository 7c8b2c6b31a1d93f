"""What is stored near new statements: the words that a write has to be judged beside."""

from collections.abc import Iterator, Sequence
from typing import Final

import asyncpg
import pgvector

from ibex.memory.conflicts import Statement
from ibex.memory.model import Category, Source
from ibex.memory.statements import Belief, Neighbour, Stated
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Connection
from ibex.stores.queries import load

_SQL: Final = load("neighbours")

#: Words that one statement is compared with at most: the nearest.
NEIGHBOURS: Final = 32


async def held(
    connection: Connection, owner: Owner, hashes: Sequence[bytes], status: str
) -> frozenset[bytes]:
    """Of words, those that a memory of another status has."""
    rows = await connection.fetch(
        _SQL["held"], owner.org_id, owner.agent_id, owner.user_id, list(hashes), status
    )
    return frozenset(row["content_hash"] for row in rows)


async def near(
    connection: Connection,
    owner: Owner,
    stated: Sequence[Stated],
    embedding_model: str,
    above: float,
    status: str,
) -> list[list[Neighbour]]:
    """For each statement, the nearest words of the owner's memories; for an episode, among
    episodes, and for what is known as it is, only the same words."""
    found: list[list[Neighbour]] = [[] for _ in stated]
    known: dict[Statement, Statement] = {}
    rows = await connection.fetch(
        _SQL["near"],
        owner.org_id,
        owner.agent_id,
        owner.user_id,
        [pgvector.Vector(one.embedding) for one in stated],
        embedding_model,
        above,
        NEIGHBOURS,
        status,
        [one.content_hash for one in stated],
        [one.valid_from for one in stated],
        [one.fact.category is Category.EPISODIC for one in stated],
    )
    for row in rows:
        found[row["number"]] += _neighbours(row, known)
    return found


def _neighbours(row: asyncpg.Record, known: dict[Statement, Statement]) -> Iterator[Neighbour]:
    """One for each time at which the words were said. `known` gives several statements the same
    neighbour, which is read once."""
    belief = Belief(
        row["id"], row["own_hash"], row["own_from"], row["valid_to"], row["superseded_by"]
    )
    for said_from in row["said_from"] or [row["own_from"]]:
        statement = Statement(
            content=row["content"],
            category=Category(row["category"]),
            subject=row["subject"],
            attribute=row["attribute"],
            confidence=row["confidence"],
            valid_from=said_from,
        )
        yield Neighbour(
            belief=belief,
            statement=known.setdefault(statement, statement),
            content_hash=row["content_hash"],
            source=Source(row["source"]),
            cosine=row["cosine"],
        )
