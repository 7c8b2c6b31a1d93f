"""Hand-written scenes: a memory, a question, and four answers, of which two rest on the memory."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import orjson

_FILE: Final = Path(__file__).parent / "scenes.json"


class Kind(StrEnum):
    """Of an answer."""

    SAID = "said"  # in the memory's words
    PARAPHRASED = "paraphrased"  # in others
    ECHOED = "echoed"  # it does not know, and says the question again
    GENERAL = "general"  # what anybody could have said

    @property
    def rests(self) -> bool:
        return self in (Kind.SAID, Kind.PARAPHRASED)


@dataclass(frozen=True)
class Scene:
    memory: str
    question: str
    answers: dict[Kind, str]


def scenes() -> list[Scene]:
    return [
        Scene(one["memory"], one["question"], {kind: one[kind] for kind in Kind})
        for one in orjson.loads(_FILE.read_bytes())
    ]
