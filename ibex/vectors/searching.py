"""Time travel: what a search would have found on an earlier day, by that day's snapshot."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from ibex.errors import NotFoundError
from ibex.memory.model import Vector
from ibex.vectors.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lancedb.table import AsyncTable


_MAKE: Final = "'ibex vectors snapshot' makes one; the schedule does every night."


@dataclass(frozen=True)
class Hit:
    memory_id: str
    version: int
    user_id: str | None
    category: str
    content: str = field(repr=False)
    confidence: float
    valid_from: datetime
    similarity: float  # cosine


def as_of(snapshots: "Sequence[Snapshot]", day: date) -> Snapshot:
    """The newest of that day or before. Raises NotFoundError."""
    earlier = [one for one in snapshots if one.day <= day]
    if earlier:
        return max(earlier, key=lambda one: one.day)
    hint = f"The first one is of {snapshots[0].day}." if snapshots else _MAKE
    raise NotFoundError(f"There is no snapshot of {day} or before.", hint=hint)


def recalled(agent_id: UUID, user_id: UUID | None, made_at: datetime, model: str) -> str:
    """What recall may see (ibex/stores/sql/memories.sql), as a condition of a snapshot's rows: of
    one agent, its own and at most one user's; believed, active and not at its end when the snapshot
    was made; with a vector of the model."""
    whose = "user_id IS NULL"
    if user_id is not None:
        whose = f"({whose} OR user_id = '{user_id}')"
    return (
        f"agent_id = '{agent_id}' AND {whose} AND status = 'active' AND valid_to IS NULL "
        f"AND (expires_at IS NULL OR expires_at > TIMESTAMP '{made_at:%Y-%m-%d %H:%M:%S.%f}') "
        f"AND embedding_model = {quoted(model)}"
    )


async def search(
    table: "AsyncTable",
    snapshot: Snapshot,
    agent_id: UUID,
    user_id: UUID | None,
    vector: Vector,
    model: str,
    limit: int,
) -> list[Hit]:
    """The `limit` memories nearest to the vector, nearest first; exact."""
    found = await (
        table.query()
        .nearest_to(vector)
        .distance_type("cosine")
        .where(recalled(agent_id, user_id, snapshot.made_at, model))
        .select(
            [
                *("memory_id", "version", "user_id", "category", "content", "confidence"),
                *("valid_from", "_distance"),
            ]
        )
        .limit(limit)
        .to_list()
    )
    return [Hit(similarity=1.0 - one.pop("_distance"), **one) for one in found]


def quoted(text: str) -> str:
    """A text in a condition."""
    return "'" + text.replace("'", "''") + "'"
