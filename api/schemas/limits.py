"""Rate limits."""

from typing import Self

from pydantic import Field

from api.schemas.base import Input
from ibex.rate_limits import LARGEST, Limits


class RateLimits(Input):
    """What may be used in a minute."""

    requests: int | None = Field(
        None, ge=0, le=LARGEST, description="Null: the deployment's default. 0: no limit."
    )
    tokens: int | None = Field(
        None, ge=0, le=LARGEST, description="Of the model, prompt and answer; as above."
    )

    @classmethod
    def of(cls, limits: Limits) -> Self:
        return cls(requests=limits.requests, tokens=limits.tokens)

    def as_limits(self) -> Limits:
        return Limits(self.requests, self.tokens)
