"""What passes between those who ask a model and those who call it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Completion:
    text: str = field(repr=False)
    model: str  # as the server names it
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Rejected:
    """An answer that could not be used, and why, for the model to do better."""

    answer: str = field(repr=False)
    complaint: str = field(repr=False)


@dataclass
class Meter:
    """What was asked of a model, also by calls whose answer was of no use."""

    model: str | None = None  # as its server names it
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0  # that the calls took; waiting for a slot is not among them

    def add(self, completion: Completion) -> None:
        self.model = completion.model
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
