"""The form of a model's answer: a JSON schema with a name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from ibex.errors import MalformedExtractionError


@dataclass(frozen=True)
class AnswerForm:
    name: str
    schema: Mapping[str, Any] = field(repr=False)  # as strict mode accepts it

    @cached_property
    def instruction(self) -> str:
        """For servers that know JSON, but no schema."""
        text = orjson.dumps(self.schema).decode()
        return f"The JSON object follows this JSON schema, named {self.name}:\n{text}"


def read_object(text: str) -> dict[str, Any]:
    """The JSON object in a model's answer. Raises MalformedExtractionError."""
    try:
        answer = orjson.loads(_without_fence(text))
    except orjson.JSONDecodeError:
        raise MalformedExtractionError("The model's answer is not JSON.") from None
    if not isinstance(answer, dict):
        raise MalformedExtractionError("The model's answer is not a JSON object.")
    return answer


def _without_fence(text: str) -> str:
    """Models without strict mode like to wrap JSON in a Markdown fence."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json")
    return text
