"""What every schema is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

# PostgreSQL's text holds everything but NUL.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=500)]
Name = Annotated[
    str,
    StringConstraints(
        pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=100, strip_whitespace=True
    ),
]
Model = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=200)
]
LongText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=100_000)]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    model_config = ConfigDict(from_attributes=True)
