"""What the model answered, read on the side from what passes through."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Answer:
    """None wherever the provider did not say."""

    message: dict[str, Any] | None = field(default=None, repr=False)  # of the first choice
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str | None = None  # by the provider's own name


def read_completion(body: bytes) -> Answer:
    """Of a `chat.completion` object; an empty answer for anything else."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Answer()
    if not isinstance(value, Mapping):
        return Answer()
    choice = first_choice(value)
    message = choice.get("message")
    prompt, completion = token_counts(value.get("usage"))
    return Answer(
        message=dict(message) if isinstance(message, Mapping) else None,
        finish_reason=short_text(choice.get("finish_reason")),
        prompt_tokens=prompt,
        completion_tokens=completion,
        model=short_text(value.get("model")),
    )


def first_choice(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choice with index 0; an empty mapping when there is none."""
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and choice.get("index", 0) == 0:
            return choice
    return {}


def token_counts(usage: object) -> tuple[int | None, int | None]:
    if not isinstance(usage, Mapping):
        return None, None
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def short_text(value: object) -> str | None:
    """A word that may be stored as it is."""
    return value if isinstance(value, str) and value.isprintable() and len(value) < 100 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
