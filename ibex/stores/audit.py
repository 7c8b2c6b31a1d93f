"""The audit log: who did what to which object. No content."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from ibex.ids import new_id
from ibex.stores.postgres import Connection
from ibex.stores.queries import load

_SQL = load("audit")


@dataclass(frozen=True)
class Actor:
    """Who decides."""

    kind: str  # token | cli
    id: str


async def audit(
    connection: Connection,
    org_id: UUID,
    actor: Actor,
    what: str,
    kind: Literal["memory", "backfill"],
    object_id: UUID,
    details: Mapping[str, Any] | None = None,
) -> None:
    """In the transaction of what is done. `what` was done to the object of this kind."""
    await connection.execute(
        _SQL["add"],
        org_id,
        new_id(),
        actor.kind,
        actor.id,
        f"{kind}.{what}",
        kind,
        str(object_id),
        details or {},
    )
