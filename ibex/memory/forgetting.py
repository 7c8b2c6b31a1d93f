"""What is forgotten: how long memories are kept, how many, and which go first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np

from ibex.memory import scoring
from ibex.memory.model import CATEGORY_NUMBER, Category
from ibex.settings import Settings

LONGEST: Final = 36_500  # days
MOST: Final = 10**9  # memories


@dataclass(frozen=True)
class Retention:
    """None: nothing is said here, so the default holds. 0: without end, without limit."""

    procedural_days: int | None = None  # since it was last said
    declarative_days: int | None = None
    episodic_days: int | None = None
    memories: int | None = None  # in force; of the agent, or of an organization's agents together

    @classmethod
    def of(cls, stored: object) -> "Retention":
        """From the JSON of a policy. What is not a count says nothing: a hand-edited row must not
        make an agent forget."""
        if not isinstance(stored, Mapping):
            return cls()
        return cls(**{one.name: _count(stored.get(one.name)) for one in fields(cls)})

    def as_dict(self) -> dict[str, int]:
        """The JSON of a policy, without what is not said."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in said.items() if value is not None}

    def over(self, default: "Retention") -> "Retention":
        return Retention(**{**default.as_dict(), **self.as_dict()})

    def days(self, category: Category) -> int:
        """0: without end."""
        return getattr(self, f"{category.value}_days") or 0


class Standing(NamedTuple):
    """What says how much a memory matters before there is a question."""

    id: UUID
    category: Category
    valid_from: datetime
    usefulness: float
    confidence: float
    access_count: int


def for_agent(own: Retention, organization: Retention, settings: Settings) -> Retention:
    """What holds for an agent: its own rules, else the organization's for all its agents, else the
    deployment's. The number of an organization's memories is no rule for one agent."""
    shared = Retention(**{**organization.as_dict(), "memories": None})
    return own.over(shared.over(defaults(settings)))


def defaults(settings: Settings) -> Retention:
    """Of every agent."""
    return Retention(
        procedural_days=settings.retention_procedural_days,
        declarative_days=settings.retention_declarative_days,
        episodic_days=settings.retention_episodic_days,
        memories=settings.memory_limit_agent,
    )


def least(standing: Sequence[Standing], count: int, now: datetime) -> list[UUID]:
    """The `count` with the lowest static score (`ibex.memory.scoring`), the lowest first; of equal
    ones those with lower ids, which are older."""
    if count <= 0 or not standing:
        return []
    parts = scoring.static_parts(
        np.array([CATEGORY_NUMBER[one.category] for one in standing], np.int8),
        np.array([one.valid_from.timestamp() for one in standing]),
        np.array([one.usefulness for one in standing]),
        np.array([one.confidence for one in standing]),
        np.array([one.access_count for one in standing]),
        now.timestamp(),
    )
    scores = scoring.static_scores(parts).tolist()
    order = sorted(range(len(standing)), key=lambda place: (scores[place], standing[place].id))
    return [standing[place].id for place in order[:count]]


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
