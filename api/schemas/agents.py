"""Agents, their policies and directives."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas.base import Input, LongText, Model, Name, Output, Text
from ibex.policy import MOST_FALLBACKS, MOST_RETRIES, Fallback
from ibex.providers import ProviderName
from ibex.stores.management import AgentRecord


class PolicyFallback(Output):
    model_config = ConfigDict(from_attributes=True, extra="forbid")

    provider: ProviderName = Field(description="As in IBEX_PROVIDERS, or 'default'.")
    model: Model


class _Policy(Input):
    default_model: Model | None = None
    allowed_models: list[Model] = Field([], max_length=100, description="Empty: every model.")
    provider: ProviderName | None = Field(None, description="Null: the deployment's.")
    fallbacks: list[PolicyFallback] = Field(
        [], max_length=MOST_FALLBACKS, description="Asked in this order; always allowed."
    )
    retries: int = Field(
        0, ge=0, le=MOST_RETRIES, description="Further tries at each, before the first byte."
    )
    first_byte_timeout: float | None = Field(
        None, gt=0, le=3600, description="Seconds for one try; null: the deployment's."
    )

    def known_fallbacks(self) -> list[Fallback]:
        return [Fallback(one.provider, one.model) for one in self.fallbacks]


class NewAgent(_Policy):
    name: Name
    description: Text = ""
    memory_token_budget: int | None = Field(
        None, ge=0, le=1_000_000, description="Null: the deployment's."
    )

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        listed = self.allowed_models
        if self.default_model and listed and self.default_model not in listed:
            raise ValueError("default_model must be one of allowed_models")
        return self


class AgentChange(_Policy):
    """What is left out stays as it is."""

    description: Text = ""
    status: Literal["active", "suspended"] = "active"
    memory_token_budget: int | None = Field(
        None, ge=0, le=1_000_000, description="Null: the deployment's."
    )

    def columns(self) -> dict[str, Any]:
        return self._said({"description", "status", "memory_token_budget"})

    def policy(self) -> dict[str, Any]:
        return self._said(set(_Policy.model_fields))

    def _said(self, names: set[str]) -> dict[str, Any]:
        return self.model_dump(include=names & self.model_fields_set)


class Agent(Output):
    id: UUID
    name: str
    description: str
    status: str
    default_model: str | None
    allowed_models: list[str]
    provider: str
    fallbacks: list[PolicyFallback]
    retries: int
    first_byte_timeout: float | None
    memory_token_budget: int | None
    directive_version: int = Field(description="0: it has none.")
    memories: int = Field(description="Active and valid now.")
    sessions: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, record: AgentRecord) -> Self:
        policy = record.policy
        return cls.model_validate(
            {
                **{
                    name: getattr(record, name)
                    for name in cls.model_fields
                    if hasattr(record, name)
                },
                "default_model": policy.default_model,
                "allowed_models": sorted(policy.allowed_models),
                "provider": policy.provider,
                "fallbacks": policy.fallbacks,
                "retries": policy.retries,
                "first_byte_timeout": policy.first_byte_timeout,
            }
        )


class NewDirective(Input):
    content: LongText = Field(min_length=1)


class Directive(Output):
    version: int
    content: str | None
