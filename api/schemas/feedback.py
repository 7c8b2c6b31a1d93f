"""What people say about answers and memories."""

from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output


class MemoryVote(Input):
    helpful: bool


class AnswerVote(Input):
    helpful: bool
    memories: list[UUID] | None = Field(
        None,
        max_length=200,
        description="Of those that the request was given. Null: those that its answer rests on.",
    )


class Feedback(Output):
    request_id: str
    helpful: bool
    memories: list[UUID] = Field(description="Whom it counts for; the vote before it is forgotten.")
