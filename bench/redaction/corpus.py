"""The corpus: as large as wanted, and the same for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from bench.redaction.lookalikes import lookalike
from bench.redaction.sentences import SENTENCES
from bench.redaction.values import FORMS
from ibex.memory.redaction import Kind

PLAIN: Final = "as it is"
_FULL_WIDTH: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_ARABIC: Final = {ord("0") + digit: 0x660 + digit for digit in range(10)}
_NAGARI: Final = {ord("0") + digit: 0x966 + digit for digit in range(10)}
#: A tenth of the values each is written in a way that only a reader understands.
_DISGUISES: Final = ("full-width", "zero-width", "other digits")


class Planted(NamedTuple):
    kind: Kind
    form: str
    start: int
    end: int


@dataclass(frozen=True)
class Sample:
    text: str
    name: str  # language, or what it looks like
    disguise: str
    planted: Planted | None  # None: there is nothing to find


def secrets(count: int, seed: int) -> Iterator[Sample]:
    """`count` samples of each form of each kind."""
    random = Random(seed)
    for kind, forms in FORMS.items():
        for form, make in forms.items():
            for _ in range(count):
                language, sentence = random.choice(SENTENCES[kind])
                disguise = random.choice([*_DISGUISES, *[PLAIN] * 7])
                value = _disguised(make(random), disguise, random)
                before, after = sentence.replace("{{", "{").replace("}}", "}").split("{}")
                start = len(before)
                planted = Planted(kind, form, start, start + len(value))
                yield Sample(before + value + after, language, disguise, planted)


def harmless(count: int, seed: int) -> Iterator[Sample]:
    random = Random(seed)
    for _ in range(count):
        name, text = lookalike(random)
        yield Sample(text, name, PLAIN, None)


def _disguised(value: str, disguise: str, random: Random) -> str:
    match disguise:
        case "full-width":
            return value.translate(_FULL_WIDTH)
        case "other digits":
            return value.translate(random.choice([_ARABIC, _NAGARI]))
        case "zero-width":
            places = sorted(random.sample(range(1, len(value)), min(3, len(value) - 1)))
            parts = [value[a:b] for a, b in zip([0, *places], [*places, len(value)], strict=True)]
            return random.choice("\u200b\u200d\u2060\u00ad").join(parts)
        case _:
            return value
