"""An agent's policy: which models it may use, who is asked for them, and who when that fails.

Kept as JSON in `agents.policy`. A member that this version does not know is left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ibex.errors import InvalidRequestError

DEFAULT_PROVIDER: Final = "default"
MOST_FALLBACKS: Final = 5
MOST_RETRIES: Final = 5


@dataclass(frozen=True)
class Fallback:
    provider: str
    model: str


@dataclass(frozen=True)
class AgentPolicy:
    default_model: str | None = None  # None: the deployment's
    allowed_models: frozenset[str] = frozenset()  # empty: all; fallbacks are always allowed
    provider: str = DEFAULT_PROVIDER
    fallbacks: tuple[Fallback, ...] = ()  # in this order
    retries: int = 0  # further tries at one provider, before the first byte only
    first_byte_timeout: float | None = (
        None  # seconds for one try; None: the deployment's idle limit
    )


def policy_of(document: Mapping[str, Any]) -> AgentPolicy:
    """What `agents.policy` says; whatever is not understood counts as not said."""
    return AgentPolicy(
        default_model=document.get("default_model"),
        allowed_models=frozenset(document.get("allowed_models") or ()),
        provider=document.get("provider") or DEFAULT_PROVIDER,
        fallbacks=tuple(
            Fallback(one["provider"], one["model"])
            for one in document.get("fallbacks") or ()
            if isinstance(one, Mapping) and one.keys() >= {"provider", "model"}
        ),
        retries=min(max(int(document.get("retries") or 0), 0), MOST_RETRIES),
        first_byte_timeout=document.get("first_byte_timeout"),
    )


def policy_document(
    *,
    default_model: str | None = None,
    allowed_models: Sequence[str] = (),
    provider: str | None = None,
    fallbacks: Sequence[Fallback] = (),
    retries: int = 0,
    first_byte_timeout: float | None = None,
) -> dict[str, Any]:
    """The JSON of a policy; what is not said is left out."""
    document = {
        "allowed_models": list(allowed_models),
        "default_model": default_model,
        "provider": provider,
        "fallbacks": [{"provider": one.provider, "model": one.model} for one in fallbacks],
        "retries": retries,
        "first_byte_timeout": first_byte_timeout,
    }
    return {"allowed_models": [], **{name: value for name, value in document.items() if value}}


def check_policy(default_model: str | None, allowed_models: Sequence[str]) -> None:
    """Raises InvalidRequestError."""
    if default_model and allowed_models and default_model not in allowed_models:
        raise InvalidRequestError("'default_model' is not one of 'allowed_models'.")
