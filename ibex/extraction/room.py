"""How much of a conversation a model may be shown at once.

A model's window holds the instructions, the form of the answer, the lines, the answer, and when it
has to be asked again that answer and what was wrong with it. Tokens are counted with OpenAI's
encoding, of which other models' make up to a third more.
"""

from dataclasses import dataclass
from typing import Final

from ibex.errors import ModelTooSlowError, ProviderTimeoutError
from ibex.extraction.form import AnswerForm, AnswerMode
from ibex.memory import tokens

WINDOW_CHARACTERS: Final = 24_000  # about 6,000 tokens of English: models find less in more
_AMPLE: Final = 100_000  # tokens; a model's window that so many characters never fill
_ANSWER: Final = 4_096  # tokens
_LEAST: Final = 100
_HALVINGS: Final = 3
_SLOW: Final = frozenset({ModelTooSlowError.code, ProviderTimeoutError.code})
_OTHER_ENCODINGS: Final = 1.3


@dataclass(frozen=True)
class Room:
    """What one request may hold of a conversation."""

    tokens: int | None = None  # None: as many as its characters have
    model: str = ""
    characters: int = WINDOW_CHARACTERS

    def size(self, line: str) -> tuple[int, int]:
        """Of a line, in characters and tokens."""
        return len(line), 0 if self.tokens is None else tokens.count(line, self.model)

    def holds(self, characters: int, in_tokens: int) -> bool:
        return characters <= self.characters and (self.tokens is None or in_tokens <= self.tokens)

    def part(self, of: int) -> "Room":
        """So much less of everything."""
        fewer = None if self.tokens is None else max(_LEAST, self.tokens // of)
        return Room(fewer, self.model, self.characters // of)


AMPLE: Final = Room()


def room_in(window: int, model: str, instructions: str, form: AnswerForm) -> Room:
    """What `instructions` and `form` leave of the model's window of so many tokens. At least 100
    tokens: a server that has no room even for these says so."""
    if window >= _AMPLE:
        return AMPLE
    told = tokens.history_tokens([form.told(instructions, AnswerMode.TEXT), ""], model)
    left = window - told - min(_ANSWER, window // 4) - quoted_tokens(window)
    return Room(max(_LEAST, int(left / _OTHER_ENCODINGS)), model)


def parts_after(code: str | None, tries: int) -> int:
    """Into how many parts a window is cut, after so many tries of which the last one failed with
    `code`: a model that did not answer in time has half as much to read each time, down to an
    eighth."""
    return 2 ** min(tries, _HALVINGS) if code in _SLOW else 1


def quoted_tokens(window: int) -> int:
    """Tokens that asking again may add to a request."""
    return min(1_300, window // 8)
