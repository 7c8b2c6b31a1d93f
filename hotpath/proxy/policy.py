"""Which model answers and where it is asked for, as far as the agent's policy goes."""

from dataclasses import dataclass, field

from ibex.errors import InvalidRequestError, ModelNotAllowedError
from ibex.rpc import VerifiedAgent


@dataclass(frozen=True)
class Target:
    provider: str
    model: str | None  # None: the request names none, or none is meant


@dataclass(frozen=True)
class Plan:
    """Whom to ask, in this order, and how patiently."""

    targets: tuple[Target, ...]
    retries: int = 0  # further tries at each target
    first_byte_timeout: float | None = None  # seconds for each try
    key: str | None = field(default=None, repr=False)  # the caller's own, for the first provider


def choose_model(agent: VerifiedAgent, asked: str | None, default: str) -> str:
    """`default` is the deployment's. A policy without a list allows every model, and its own
    default model is always allowed. Raises ModelNotAllowedError."""
    model = asked or agent.default_model or default
    if agent.allowed_models and model not in agent.allowed_models | {agent.default_model}:
        raise ModelNotAllowedError
    return model


def check_model(agent: VerifiedAgent, asked: str | None) -> None:
    """For a request that goes on as it is. Raises ModelNotAllowedError, and InvalidRequestError
    when the policy lists models and the request leaves the choice to the provider."""
    if asked is None and agent.allowed_models:
        raise InvalidRequestError("The request names no 'model'.")
    if asked is not None:
        choose_model(agent, asked, asked)


def plan_of(
    agent: VerifiedAgent, model: str | None, key: str | None, *, fallbacks: bool = True
) -> Plan:
    """`key` is the caller's own: it belongs to the agent's provider, so that no other is asked."""
    first = Target(agent.provider, model)
    others = tuple(
        Target(one.provider, one.model)
        for one in (agent.fallbacks if fallbacks else ())
        if key is None or one.provider == agent.provider
    )
    targets = tuple(dict.fromkeys((first, *others)))
    return Plan(targets, agent.retries, agent.first_byte_timeout, key)
