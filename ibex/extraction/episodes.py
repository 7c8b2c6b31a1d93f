"""Turns into episodic memories without a model: who said it, and the words.

    Caroline: I went to the support group yesterday, and it was so powerful.

A message is one episode, a long one several; what a user pasted is one of its own. What only
greets, thanks or agrees is none; neither is what a tool, the system or the developer said, nor an
answer that only says again what the user said, or what a memory said that the request was given:
else a memory would come back as another one, and outlive what supersedes it. They are there before
a model has read the session, and stay when none can.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Final

from ibex.extraction.sources import origin_of, spoken_by
from ibex.extraction.transcript import TurnMessage, TurnText
from ibex.memory.model import Category, Fact, Source
from ibex.memory.terms import terms_of

EXTRACTOR: Final = "episodes/1"
#: What is recorded in place of a prompt's version and a model's name.
NO_MODEL: Final = "none"

_PIECE_CHARACTERS: Final = 700  # about 150 tokens; the embedding model reads 256
_PIECES: Final = 12  # of one message; the rest of a long text is left to the archive
_PLACES: Final = 1000  # of one turn
_NAME_CHARACTERS: Final = 60
_SPEAKERS: Final = {"user": "User", "assistant": "Assistant", "document": "Document"}

# How surely an episode is worth its place: a statement of some length, a question, two words.
_STATEMENT: Final = 0.9
_LESS_FOR_ASKING: Final = 0.6
_LESS_FOR_SHORT: Final = 0.3
_SHORT: Final = 12  # terms
_LEAST: Final = 0.1
_NEWS: Final = 0.2  # of an answer's terms, the least share that is new

_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]]*\s*(?=\S)|\n+")
_CUTS: Final = ("\n\n", "\n", ". ", "! ", "? ", "; ", ", ", " ")
_ASKING: Final = ("?", "\uff1f", "\u061f")
_BLANKS = re.compile(r"\s+")
# "Hey Mel!", "Thanks, Dr. Miller,": whom one greets is no news.
_ADDRESS = re.compile(
    r"\b(?i:hi|hey|hello|thanks|thank you|bye|goodbye|hallo|danke|bonjour|merci|hola|gracias)"
    r"[\s,]+(?:[A-Z]\w*\.?\s?){1,2}(?=[,.!?]|$)"
)
_SMALL_TALK: Final = frozenset(
    terms_of(
        """
        hi hey hello hiya dear welcome bye goodbye cheers morning afternoon evening night day
        weekend thanks thank thx ty please sorry okay ok k sure yes yeah yep yup no nope nah right
        alright great good nice cool fine perfect awesome amazing wonderful excellent lovely
        sounds sound agreed exactly absolutely definitely indeed true wow oh ah aw hmm haha lol
        got it see noted understood done go going well much lot really appreciate glad happy
        i'm i'll i'd i've you're we're it's that's let's what's how's
        hope take care later soon talk chat let know help need anything else course problem worries
        hallo danke bitte guten tag morgen abend tschüss ja nein gut prima bonjour salut merci oui
        non bien hola gracias adiós sí vale bueno ciao grazie prego
        """
    )
)
_WORD = re.compile(r"\w+")


def episodes(
    turns: Sequence[TurnText],
    *,
    imported: bool,
    given: Mapping[int, Sequence[str]] = MappingProxyType({}),
) -> list[Fact]:
    """In the order of the turns; each rests on the one turn and message that it is from.

    `imported`: the conversation was brought in by `ibex import`, and so is what it says. `given`:
    by turn, what the memories said that its request carried.
    """
    made: list[Fact] = []
    known: set[str] = set()
    for turn in turns:
        for text in given.get(turn.number, ()):
            known.update(terms_of(text))
        pieces = ((one, piece) for one in turn.messages for piece in _pieces_of(one))
        for number, (message, piece) in enumerate(pieces):
            answers = message.role == "assistant" and not imported
            if number >= _PLACES or (answers and says_again(piece, known)):
                continue
            if not answers:
                known.update(terms_of(piece))
            source = origin_of(spoken_by(message), imported=imported)
            made.append(_episode(turn.number, number, message, piece, source))
    return made


def says_again(text: str, known: Set[str]) -> bool:
    """Are its words hardly more than those of what is known already?"""
    said = set(terms_of(text)) - _SMALL_TALK
    return len(said - known) < _NEWS * len(said)


def says_little(text: str) -> bool:
    """Does it only greet, thank, agree or ask how one is?"""
    words = len(_WORD.findall(text))
    said = set(terms_of(_ADDRESS.sub(" ", text))) - _SMALL_TALK
    return not said or (len(said) == 1 and words < 3)


def confidence_in(text: str) -> float:
    """In [0.1, 0.9]; less for the share of its sentences that ask, and for a few words."""
    sentences = [one.strip() for one in _SENTENCE_END.split(text) if one.strip()]
    asking = sum(one.endswith(_ASKING) for one in sentences) / max(1, len(sentences))
    short = max(0.0, 1 - len(terms_of(text)) / _SHORT)
    confidence: float = _STATEMENT - _LESS_FOR_ASKING * asking - _LESS_FOR_SHORT * short
    return round(max(_LEAST, confidence), 3)


def _episode(turn: int, number: int, message: TurnMessage, piece: str, source: Source) -> Fact:
    return Fact(
        category=Category.EPISODIC,
        content=f"{_speaker(message)}: {piece}",
        confidence=confidence_in(piece),
        source=source,
        turns=(turn,),
        message_ids=(message.message_id,) if message.message_id else (),
        place=turn * _PLACES + number,
    )


def _speaker(message: TurnMessage) -> str:
    name = _BLANKS.sub(" ", message.name or "").strip()[:_NAME_CHARACTERS]
    return name or _SPEAKERS[message.role]


def _pieces_of(message: TurnMessage) -> Iterable[str]:
    if message.role not in _SPEAKERS or says_little(message.text):
        return ()
    return [piece for piece in _pieces(message.text.strip()) if not says_little(piece)][:_PIECES]


def _pieces(text: str) -> Iterator[str]:
    """At most _PIECE_CHARACTERS each, cut where a paragraph, a sentence or a word ends."""
    while len(text) > _PIECE_CHARACTERS:
        window = text[:_PIECE_CHARACTERS]
        places = (window.rfind(cut) + len(cut.rstrip()) for cut in _CUTS if cut in window[200:])
        cut = next(places, _PIECE_CHARACTERS)
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
