"""The books of what extraction asked of models."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from ibex.ids import new_id
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL: Final = load("usage")


class Purpose(StrEnum):
    FACTS = "facts"
    CONFLICTS = "conflicts"
    BACKFILL = "backfill"


@dataclass(frozen=True)
class Usage:
    """What one try of a session, or one look at an owner's undecided pairs, asked of a model."""

    org_id: UUID
    agent_id: UUID
    session_id: UUID | None
    purpose: Purpose
    run_id: str | None
    prompt_version: str
    model: str  # as its server names it
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None  # None: no price is set for the model
    seconds: float  # that the calls took
    succeeded: bool  # a failed try costs as well


class UsageStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, usage: Usage) -> None:
        """Raises DatabaseUnavailableError."""
        async with self._database.tenant(usage.org_id) as connection:
            await connection.execute(
                _SQL["add"],
                usage.org_id,
                new_id(),
                usage.agent_id,
                usage.session_id,
                usage.purpose.value,
                usage.run_id,
                usage.prompt_version,
                usage.model,
                usage.calls,
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.cost_usd,
                usage.seconds,
                usage.succeeded,
            )
