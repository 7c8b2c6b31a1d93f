"""What was said in the sessions of this benchmark: turns of the corpus' sentences, always the same
ones. They repeat words more than people do, so they are packed better than people's."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench import corpus

_SEED: Final = 3
_MODELS: Final = ("gpt-4o-mini", "gpt-4o", "claude-sonnet")
_SENTENCES: Final = 20_000
_WORDS_TO_TOKENS: Final = 1.4


@dataclass(frozen=True)
class Turn:
    said: str
    answer: str
    model: str

    @property
    def prompt_tokens(self) -> int:
        return int(len(self.said.split()) * _WORDS_TO_TOKENS)

    @property
    def completion_tokens(self) -> int:
        return int(len(self.answer.split()) * _WORDS_TO_TOKENS)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [{"role": "user", "content": self.said}]

    @property
    def response(self) -> dict[str, Any]:
        return {"role": "assistant", "content": self.answer}


def turns(count: int) -> list[Turn]:
    """`count` different turns of one to four sentences and an answer of two to eight."""
    chance = random.Random(_SEED)
    sentences = [fact.content for fact in corpus.memories(min(count, _SENTENCES))]
    return [
        Turn(
            f"{_some(chance, sentences, 1, 4)} ({number})",
            _some(chance, sentences, 2, 8),
            chance.choice(_MODELS),
        )
        for number in range(count)
    ]


def _some(chance: random.Random, sentences: Sequence[str], least: int, most: int) -> str:
    return " ".join(chance.choices(sentences, k=chance.randint(least, most)))
