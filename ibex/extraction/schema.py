"""What the model must answer: JSON of one schema, in the form that strict mode accepts.

Strict mode wants every property required and no others allowed; what may be missing is nullable.
Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from ibex.errors import MalformedExtractionError
from ibex.extraction.form import AnswerForm, read_object
from ibex.memory.model import Category

SCHEMA_NAME: Final = "memory_extraction"
MAX_CONTENT: Final = 2000  # characters of one statement
_MAX_LABEL: Final = 200  # characters of a subject or an attribute

Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=_MAX_LABEL)]
SpokenBy = Literal["user", "assistant", "tool", "document"]

_STATEMENT: Final[dict[str, dict[str, Any]]] = {
    "category": {
        "type": "string",
        "enum": [category.value for category in Category],
        "description": "procedural: how to act; declarative: what is true; episodic: an event.",
    },
    "content": {"type": "string", "description": "The statement; understandable by itself."},
    "subject": {"type": "string", "description": "Whom or what it is about, in a few words."},
    "attribute": {
        "type": "string",
        "description": "Which property of the subject it gives, or an empty text.",
    },
    "confidence": {"type": "number", "description": "0 to 1: how surely the turns say it."},
    "source": {
        "type": "string",
        "enum": ["user", "assistant", "tool", "document"],
        "description": "The role of the messages it rests on.",
    },
    "turns": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "Numbers of the turns it rests on.",
    },
    "valid_from": {
        "type": ["string", "null"],
        "description": "ISO 8601 date from which it holds, when it differs from the turn's.",
    },
}

JSON_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "reasoning": {
            "type": "string",
            "description": "What is worth remembering from these turns, and why, in short.",
        },
        "statements": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": _STATEMENT,
                "required": list(_STATEMENT),
                "additionalProperties": False,
            },
        },
    },
    "required": ["reasoning", "statements"],
    "additionalProperties": False,
}


MEMORIES: Final = AnswerForm(SCHEMA_NAME, JSON_SCHEMA)


class Statement(BaseModel):
    """One statement of the answer, checked by itself: a wrong one does not cost the others."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    category: Category
    content: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CONTENT)
    ]
    subject: Label = ""
    attribute: Label = ""
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)
    source: SpokenBy
    turns: tuple[int, ...] = Field(min_length=1)
    valid_from: datetime | None = None

    @field_validator("content")
    @classmethod
    def _storable(cls, content: str) -> str:
        if "\0" in content:
            raise ValueError("holds a character that PostgreSQL cannot store")
        return content

    @field_validator("valid_from", mode="before")
    @classmethod
    def _moment(cls, value: object) -> datetime | None:
        """A date that cannot be read is no reason to lose the statement."""
        if not isinstance(value, str):
            return None
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            return None


@dataclass(frozen=True)
class Parsed:
    """An answer's valid statements, and what is wrong with each of the others."""

    statements: tuple[Statement, ...]
    problems: tuple[str, ...]  # names of fields and what is expected of them, no values


def parse_answer(text: str) -> Parsed:
    """Raises MalformedExtractionError when the answer is not the object that was asked for."""
    items = read_object(text).get("statements")
    if not isinstance(items, list):
        raise MalformedExtractionError('The answer has no list named "statements".')
    statements, problems = [], []
    for item in items:
        try:
            statements.append(Statement.model_validate(item))
        except ValidationError as error:
            problems.append(_problem(error))
    return Parsed(tuple(statements), tuple(problems))


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"])) or "statement"
    return f"{place}: {first['msg']}"
