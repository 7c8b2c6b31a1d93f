"""The words of a text that the lexical search goes by.

Lower case, without the English stop words, stemmed (Snowball's English stemmer). What is no word of
a language stays as it is written: a number, and a name with points, dashes, slashes or the like
inside, which is a term as a whole and each of its parts another, so that `db.example.com` is found
by its letters, and by `example` too. Scripts without spaces are cut into pairs of characters.

A date has terms too, those of "8 May 2023", so that what was said then is found by it.
"""

import re
import threading
import unicodedata
from datetime import UTC, datetime
from typing import Final

import Stemmer

#: Words that say nothing about what a text is about. Source: Snowball's English list, as
#: PostgreSQL carries it (https://snowballstem.org/algorithms/english/stop.txt).
STOP_WORDS: Final = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she
    her hers herself it its itself they them their theirs themselves what which who whom this that
    these those am is are was were be been being have has had having do does did doing a an the
    and but if or because as until while of at by for with about against between into through
    during before after above below to from up down in out on off over under again further then
    once here there when where why how all any both each few more most other some such no nor not
    only own same so than too very s t can will just don should now
    """.split()  # noqa: SIM905 - read as words
)
_WHOLE = re.compile(r"[^\W_]+(?:[-._/:@+#'\u2019]+[^\W_]+)*")
_PART = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['\u2019]s?\b")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LONGEST: Final = 100  # characters of a term
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)

_stemmers = threading.local()  # an instance is for one thread


def terms_of(text: str) -> list[str]:
    """In the order of the text, each as often as it occurs."""
    lowered = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    plain: list[str] = []
    for whole in _WHOLE.findall(lowered):
        if whole.isascii() and whole.isalpha():
            if whole not in STOP_WORDS:
                plain.append(whole)
        else:
            _add_special(whole, plain, found)
    found.extend(_stemmer().stemWords(plain))
    return found


def date_terms(moment: datetime) -> list[str]:
    """Of its day in UTC, as one says it in English."""
    day = moment.astimezone(UTC)
    return terms_of(f"{day.day} {_MONTHS[day.month - 1]} {day.year}")


def _add_special(whole: str, plain: list[str], found: list[str]) -> None:
    """Split what is more than one word of ASCII letters: words go to `plain`, the rest to
    `found`."""
    parts = _PART.findall(_POSSESSIVE.sub(" ", whole))
    if len(parts) > 1:
        found.append(whole[:_LONGEST])
    for part in parts:
        if _UNSPACED.search(part):
            found.extend(part[place : place + 2] for place in range(max(1, len(part) - 1)))
        elif not part.isalpha():
            found.append(part[:_LONGEST])
        elif part not in STOP_WORDS:
            plain.append(part[:_LONGEST])


def _stemmer() -> "Stemmer.Stemmer":
    stemmer: Stemmer.Stemmer | None = getattr(_stemmers, "english", None)
    if stemmer is None:
        # No cache of its own: it would keep words of memories that are gone.
        stemmer = _stemmers.english = Stemmer.Stemmer("english", 0)
    return stemmer
