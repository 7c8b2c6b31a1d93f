"""Which model answers: what the client asked for, as far as the agent's policy goes."""

from ibex.errors import ModelNotAllowedError
from ibex.rpc import VerifiedAgent


def choose_model(agent: VerifiedAgent, asked: str | None, default: str) -> str:
    """`default` is the deployment's. A policy without a list allows every model, and its own
    default model is always allowed. Raises ModelNotAllowedError."""
    model = asked or agent.default_model or default
    if agent.allowed_models and model not in agent.allowed_models | {agent.default_model}:
        raise ModelNotAllowedError
    return model
