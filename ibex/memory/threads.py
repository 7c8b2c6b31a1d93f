"""What was said around a memory, and how much of it counts when the memory is looked for.

"Yes, last Tuesday" says little by itself; what was said before and after says what it is about. So
an episode is searched by its own words and, with less weight, by those of its neighbours: the two
episodes before it and the two after it in the same session. That holds for the vector (the sum of
the vectors, of unit length again) and for the words (the sum of how much each has of a term). A
question lends more to what follows it, which most likely answers it, and borrows less from there.

Nothing of a neighbour is kept with a memory: an index makes the mixture when it takes the memories
in, and again when a neighbour comes or goes. So what is erased, superseded or quarantined is gone
from its neighbours as well, and the own words of each stay apart for whoever looks for duplicates.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np

from ibex.memory.model import Vector
from ibex.memory.postings import amounts_of
from ibex.memory.terms import terms_of

REACH: Final = 2  # episodes before and after
#: Weights beside 1 for the memory's own. Recall@10 on LoCoMo's development questions: .69 without
#: neighbours, .827 with .3 for each of them, .837 with more for a question before its answer.
BESIDE: Final = 0.3
FOR_ANSWER: Final = 0.7
FOR_QUESTION: Final = 0.15
# Signs and a remark in brackets may follow the mark.
_ASKS = re.compile(r"[?\uff1f\u061f][^\w\[]*(?:\[[^\]]*\]\W*)?$")


class Place(NamedTuple):
    """Where an episode stands."""

    session_id: UUID
    user_id: UUID | None
    number: int  # in the order of the session


@dataclass(frozen=True)
class Words:
    """What a memory says itself."""

    content: str = field(repr=False)
    vector: Vector = field(repr=False)
    amounts: Mapping[str, float] = field(repr=False)  # of its terms, see `amounts_of`

    @classmethod
    def of(cls, content: str, vector: Vector) -> "Words":
        return cls(content, vector, amounts_of(terms_of(content)))


class Threads:
    """Which episodes of the sessions of one agent stand beside which."""

    def __init__(self) -> None:
        self._orders: dict[tuple[UUID, UUID | None], list[tuple[int, UUID]]] = {}
        self._places: dict[UUID, Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, memory_id: UUID, place: Place) -> None:
        """The memory has no place yet."""
        self._places[memory_id] = place
        order = self._orders.setdefault((place.session_id, place.user_id), [])
        insort(order, (place.number, memory_id))

    def drop(self, memory_id: UUID) -> None:
        place = self._places.pop(memory_id, None)
        if place is None:
            return
        key = (place.session_id, place.user_id)
        order = self._orders[key]
        del order[bisect_left(order, (place.number, memory_id))]
        if not order:
            del self._orders[key]

    def place(self, memory_id: UUID) -> Place | None:
        return self._places.get(memory_id)

    def beside(self, memory_id: UUID) -> list[tuple[int, UUID]]:
        """Its neighbours, each with its distance: -1 is the one right before it."""
        place = self._places.get(memory_id)
        if place is None:
            return []
        order = self._orders[place.session_id, place.user_id]
        own = bisect_left(order, (place.number, memory_id))
        first = max(0, own - REACH)
        return [
            (number - own, other)
            for number, (_, other) in enumerate(order[first : own + REACH + 1], first)
            if number != own
        ]

    def copy(self) -> "Threads":
        made = Threads()
        made._orders = {key: order.copy() for key, order in self._orders.items()}
        made._places = self._places.copy()
        return made


def weight(distance: int, content: str, neighbour: str) -> float:
    """What a neighbour at this distance lends to the memory that says `content`."""
    if distance == -1 and asks(neighbour):
        return FOR_ANSWER
    if distance == 1 and asks(content):
        return FOR_QUESTION
    return BESIDE


def asks(content: str) -> bool:
    """Does it end with a question?"""
    return _ASKS.search(content) is not None


def together(
    own: Words, neighbours: Sequence[tuple[int, Words]]
) -> tuple[Vector, dict[str, float]]:
    """The unit vector and the amounts of the terms that a memory is searched by. `neighbours`:
    with their distances; none leave its own as they are."""
    vector, amounts = own.vector, dict(own.amounts)
    if not neighbours:
        return vector, amounts
    vector = vector.astype(np.float32, copy=True)
    for distance, other in neighbours:
        share = weight(distance, own.content, other.content)
        vector += np.float32(share) * other.vector
        for term, amount in other.amounts.items():
            amounts[term] = amounts.get(term, 0.0) + share * amount
    length = float(np.linalg.norm(vector))
    return (vector / np.float32(length) if length else vector), amounts
