"""A model is asked once more when its answer cannot be used, and told what was wrong with it."""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from ibex.errors import MalformedExtractionError, WindowTooSmallError
from ibex.extraction.completion import Completion, Meter, Rejected
from ibex.extraction.form import AnswerForm

Read = TypeVar("Read")
_NOTHING_WRONG: Final = ""


class Model(Protocol):
    """What `ibex.extraction.llm.ModelClient` is to those who ask."""

    model: str  # that is asked for
    window: int  # tokens

    async def complete(
        self,
        instructions: str,
        text: str,
        form: AnswerForm,
        *,
        rejected: Rejected | None = None,
        meter: Meter | None = None,
    ) -> Completion: ...


async def ask_for(
    read: Callable[[str], Read],
    llm: Model,
    instructions: str,
    text: str,
    form: AnswerForm,
    meter: Meter,
    complaint: Callable[[Read], str] = lambda _: _NOTHING_WRONG,
) -> tuple[Read, Completion]:
    """What `read` makes of the answer. Where it raises MalformedExtractionError, or `complaint`
    about what it made is not empty, the model is asked again, once.

    Raises what `complete` does; MalformedExtractionError when neither answer could be read.
    """
    first: tuple[Read, Completion] | None = None
    completion = await llm.complete(instructions, text, form, meter=meter)
    try:
        first = read(completion.text), completion
        problem = complaint(first[0])
    except MalformedExtractionError as error:
        problem = error.message
    if first is not None and not problem:
        return first
    try:
        again = await llm.complete(
            instructions, text, form, rejected=Rejected(completion.text, problem), meter=meter
        )
        return read(again.text), again
    except WindowTooSmallError:
        if first is None:
            raise MalformedExtractionError from None
        return first
    except MalformedExtractionError:
        if first is None:
            raise
        return first
