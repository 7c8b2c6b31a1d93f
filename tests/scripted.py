"""A model that says what a test told it to."""

from dataclasses import dataclass

from ibex.extraction.completion import Completion, Meter, Rejected
from ibex.extraction.form import AnswerForm


@dataclass(frozen=True)
class Asked:
    instructions: str
    text: str
    form: AnswerForm
    rejected: Rejected | None


class ScriptedModel:
    """Gives its answers in their order, the last one for ever, and keeps what it was asked. An
    answer that is an error is raised."""

    model = "scripted"

    def __init__(self, *answers: str | Exception, window: int = 128_000) -> None:
        self.window = window
        self.asked: list[Asked] = []
        self._answers = list(answers)

    async def complete(
        self,
        instructions: str,
        text: str,
        form: AnswerForm,
        *,
        rejected: Rejected | None = None,
        meter: Meter | None = None,
    ) -> Completion:
        self.asked.append(Asked(instructions, text, form, rejected))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        completion = Completion(answer, "scripted-2", 10, 5)
        if meter is not None:
            meter.calls += 1
            meter.add(completion)
        return completion
