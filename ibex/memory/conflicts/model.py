"""The words of a judgement as data."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from ibex.memory.conflicts.reading import Reading, label, read
from ibex.memory.model import Category


class Resolution(StrEnum):
    """What becomes of two statements of one agent and user."""

    DUPLICATE = "duplicate"  # the newer adds nothing: the older stays, surer and better founded
    MERGE = "merge"  # the newer says all of the older and more: one memory, in the newer's words
    SUPERSEDE = "supersede"  # the newer holds in the older's place, whose validity ends
    CONTRADICT = "contradict"  # both cannot hold, and nothing tells which: both stay, with an edge
    KEEP = "keep"  # they say different things
    UNDECIDED = "undecided"  # rules cannot tell: a model may, and until it has, both stay


@dataclass(frozen=True)
class Statement:
    """A memory as far as it is judged by; the words are redacted."""

    content: str = field(repr=False)
    category: Category
    subject: str = field(repr=False)  # may be empty
    attribute: str = field(repr=False)  # may be empty
    confidence: float  # in [0, 1]
    valid_from: datetime

    # What the rules compare, made once: a new statement meets many.

    @cached_property
    def reading(self) -> Reading:
        return read(self.content)

    @cached_property
    def subject_keys(self) -> frozenset[str]:
        return label(self.subject)

    @cached_property
    def attribute_keys(self) -> frozenset[str]:
        return label(self.attribute)


@dataclass(frozen=True)
class Verdict:
    resolution: Resolution
    #: One sentence for people, without a word of either statement where a rule judged.
    reason: str
    #: Who judged: a rule's name, or `model:` and the model's.
    rule: str
