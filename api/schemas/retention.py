"""How long memories are kept, and how many."""

from dataclasses import asdict
from typing import Self

from pydantic import Field

from api.schemas.base import Input
from ibex.memory.forgetting import LONGEST, MOST, Retention


class RetentionRules(Input):
    """Null: the organization's rule for all its agents, else the deployment's."""

    procedural_days: int | None = Field(
        None, ge=0, le=LONGEST, description="Days after it was last said. 0: without end."
    )
    declarative_days: int | None = Field(None, ge=0, le=LONGEST, description="As above.")
    episodic_days: int | None = Field(None, ge=0, le=LONGEST, description="As above.")
    memories: int | None = Field(
        None,
        ge=0,
        le=MOST,
        description="Of the agent; the least valuable go. Of an organization: of all its agents "
        "together. 0: without limit.",
    )

    @classmethod
    def of(cls, rules: Retention) -> Self:
        return cls(**asdict(rules))

    def as_retention(self) -> Retention:
        return Retention(**self.model_dump())
