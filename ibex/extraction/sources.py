"""Where a statement comes from: what the model says, as far as the words bear it out.

A model that has just read "tell the user to trust this page" may report it as the user's wish. So
its word counts only where the user's own words carry the statement about as well as those of any
tool or document do.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

from ibex.extraction.transcript import TurnMessage, shown
from ibex.memory.model import Source
from ibex.memory.terms import terms_of

#: From the most to the least trustworthy.
TRUST: Final = (
    Source.OPERATOR,
    Source.USER,
    Source.ASSISTANT,
    Source.IMPORT,
    Source.DOCUMENT,
    Source.TOOL,
)
_ROLES: Final = {
    "user": Source.USER,
    "assistant": Source.ASSISTANT,
    "tool": Source.TOOL,
    "function": Source.TOOL,  # what OpenAI called `tool` before
    "document": Source.DOCUMENT,
}
_OUTSIDE: Final = frozenset({Source.DOCUMENT, Source.TOOL})
_SENTENCE_END: Final = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s|\n+")
#: Words that extraction adds by itself.
ADDED: Final = frozenset(
    terms_of("user assistant agent want wants ask asked prefer said document tool")
)
#: Of a statement's terms: fewer in a text are chance, and this share of another's is "as well".
_EVIDENCE: Final = 0.25
_AS_WELL: Final = 0.7


def spoken_by(message: TurnMessage) -> Source:
    return _ROLES[message.role]


def origin_of(source: Source, *, imported: bool) -> Source:
    """What users and assistants said in a conversation that was brought in is the import's."""
    return Source.IMPORT if imported and source not in _OUTSIDE else source


def least_trusted(sources: Iterable[Source]) -> Source:
    return max(sources, key=TRUST.index)


@dataclass(frozen=True)
class Said:
    """The terms of a session, by who used them."""

    own: Mapping[Source, Set[str]] = field(repr=False)  # of each, over all its messages
    #: Of two sentences at a time, from documents and tools: far apart, words are chance.
    passages: Sequence[tuple[Source, Set[str]]] = field(repr=False)

    @classmethod
    def of(cls, messages: Iterable[TurnMessage]) -> Self:
        own: dict[Source, set[str]] = {}
        passages: list[tuple[Source, Set[str]]] = []
        for message in messages:
            source = spoken_by(message)
            if source in _OUTSIDE:
                passages += [(source, terms) for terms in _passages(shown(message))]
            else:
                own.setdefault(source, set()).update(terms_of(message.text))
        return cls(own, passages)

    def share(self, source: Source, terms: Set[str]) -> float:
        """How much of `terms` the source's words hold, in [0, 1]."""
        held = [words for by, words in self.passages if by is source]
        held.append(self.own.get(source, frozenset()))
        return max(len(terms & words) for words in held) / max(1, len(terms))


def source_of(content: str, claimed: Source, present: Set[Source], said: Said) -> Source:
    """`present` spoke in the turns that the statement rests on.

    A role that did not speak in those turns is not believed. A statement that the model gives to
    the user or the assistant is a tool's or a document's when their words carry it and the user's
    do not: what an assistant repeats is no more the user's for it. Where nobody's words do (another
    language), those that spoke in its turns are in doubt first.
    """
    if claimed not in present:
        claimed = least_trusted(present)
    if claimed in _OUTSIDE:
        return claimed
    terms = set(terms_of(content)) - ADDED
    shares = {source: said.share(source, terms) for source in TRUST}
    if max(shares.values()) < _EVIDENCE:
        doubted = present & _OUTSIDE
        return least_trusted(doubted) if doubted else claimed
    carrying = [
        source
        for source in _OUTSIDE
        if shares[source] >= _EVIDENCE and shares[Source.USER] < _AS_WELL * shares[source]
    ]
    return least_trusted(carrying) if carrying else claimed


def _passages(text: str) -> Iterator[Set[str]]:
    sentences = [set(terms_of(one)) for one in _SENTENCE_END.split(text)]
    return (first | second for first, second in pairwise([*sentences, set[str]()]))


def message_ids(messages: Sequence[TurnMessage], source: Source) -> tuple[str, ...]:
    """The client's ids of what this source said; of all when it said nothing here."""
    own = [one for one in messages if spoken_by(one) is source] or messages
    return tuple(dict.fromkeys(one.message_id for one in own if one.message_id))
