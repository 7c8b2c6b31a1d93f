"""The form of a model's answer: a JSON schema with a name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import orjson

from ibex.errors import MalformedExtractionError

if TYPE_CHECKING:  # half a second to import
    from openai.types.shared_params import ResponseFormatJSONObject, ResponseFormatJSONSchema

_THOUGHTS: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED: Final = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


class AnswerMode(IntEnum):
    """How a server is asked for JSON, from what binds a model most to what every server takes."""

    SCHEMA = 0
    OBJECT = 1
    TEXT = 2


@dataclass(frozen=True)
class AnswerForm:
    name: str
    schema: Mapping[str, Any] = field(repr=False)  # as strict mode accepts it

    def told(self, instructions: str, mode: AnswerMode) -> str:
        """The instructions, with the schema where the server does not take it by itself."""
        if mode is AnswerMode.SCHEMA:
            return instructions
        return f"{instructions}\n\n{self.instruction}"

    def response_format(
        self, mode: AnswerMode
    ) -> "ResponseFormatJSONSchema | ResponseFormatJSONObject | None":
        match mode:
            case AnswerMode.SCHEMA:
                return {
                    "type": "json_schema",
                    "json_schema": {
                        "name": self.name,
                        "strict": True,
                        "schema": dict(self.schema),
                    },
                }
            case AnswerMode.OBJECT:
                return {"type": "json_object"}
        return None

    @cached_property
    def instruction(self) -> str:
        """For servers that know no schema."""
        text = orjson.dumps(self.schema).decode()
        return f"The JSON object follows this JSON schema, named {self.name}:\n{text}"


def read_object(text: str) -> dict[str, Any]:
    """The JSON object in a model's answer. Raises MalformedExtractionError, whose message tells
    where it breaks off and nothing of what it says."""
    problem = ""
    for candidate in _candidates(text):
        try:
            answer = orjson.loads(candidate)
        except orjson.JSONDecodeError as error:
            problem = (
                problem
                or f"The answer is no JSON from line {error.lineno}, column {error.colno} on."
            )
            continue
        if isinstance(answer, dict):
            return answer
        problem = problem or "The answer is JSON, but not an object."
    raise MalformedExtractionError(problem)


def _candidates(text: str) -> Iterator[str]:
    """The answer, and what stands in it for models that are not bound to JSON: they think aloud
    first, wrap it in a Markdown fence, or say something before and after it."""
    text = _THOUGHTS.sub("", text).strip()
    yield text
    if fenced := _FENCED.search(text):
        yield fenced[1]
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        yield text[first : last + 1]
