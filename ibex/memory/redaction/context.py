"""What the words around a number say that it is."""

import re
from typing import Final

from ibex.memory.redaction.folding import fold, lowered
from ibex.memory.redaction.spans import FILLER

_WORD: Final = re.compile(r"[^\W_]+")
# A line, what was taken out, and the end of a sentence; "Tel." ends none.
_BREAK: Final = re.compile(rf"[\n{FILLER}。]|(?<=[^\W\d_]{{5}})[.!?](?=\s)")


class Context:
    """Words for something and words against it; the one nearest before a place counts.

    Words are whole words, but in scripts that leave no spaces between them. What was taken out of
    the text says nothing, and neither does another sentence.
    """

    def __init__(self, *, words: str, against: str = "", parts: str = "", reach: int = 40) -> None:
        """`words` and `against` in lower case, separated by spaces, `_` for the space between two;
        `parts`: the same for `words`, also in the middle of others; `reach` in characters."""
        self._words, self._against, self._parts = _split(words), _split(against), _split(parts)
        self._reach = reach

    def before(self, text: str, place: int) -> bool | None:
        """None: nothing is said."""
        window = lowered(_BREAK.split(text[max(0, place - self._reach) : place])[-1])
        said, previous = None, ""
        for match in _WORD.finditer(window):
            word = match.group()
            pair, previous = f"{previous} {word}", word
            if word in self._words or pair in self._words:
                said = True
            elif word in self._against:
                said = False
        return said or any(part in window for part in self._parts) or said

    def after(self, text: str, place: int) -> bool:
        """A word for it comes soon, in the same line."""
        window = lowered(_BREAK.split(text[place : place + self._reach // 2], maxsplit=1)[0])
        return self.before(window, len(window)) is True


def _split(words: str) -> frozenset[str]:
    return frozenset(fold(word).text.replace("_", " ") for word in words.split())
