"""Which memories hold which terms, and how well they meet those of a question: BM25.

Two parts: a packed one, three arrays sorted by term, and what was added since. How many memories
hold a term is counted over the rows that the asker may see, and a memory's length is measured
against a constant, so that nobody's score tells of another's memories.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

# Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
SATURATION: Final = 1.2  # k1
LENGTH_WEIGHT: Final = 0.3  # b: memories are short; recall@10 on LoCoMo .617 at .75, .632 at .3
#: Terms of a memory that is neither short nor long; recall@10 on LoCoMo .662 at 10, .667 at 14 (its
#: mean), .670 at 20, of the composite score.
TYPICAL_LENGTH: Final = 20.0
#: Lifts what meets a part of the question, so that the relevance floor means what it does for the
#: share of words that SQL computes: as many strangers above it, and more of the evidence first.
LIFT: Final = 0.7
#: So many memories without any of the words are taken to be there as well. Otherwise a store of a
#: few memories would call a word rare that none of them has, and common what one of them has.
BACKGROUND: Final = 100


class Postings:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # of the terms
        # Packed: term t stands in rows[starts[t]:starts[t + 1]], met[the same].
        self._starts = np.zeros(1, np.int64)
        self._rows: Rows = np.empty(0, np.int32)
        self._met: Floats = np.empty(0, np.float32)
        self._late: dict[int, list[tuple[int, float]]] = {}  # term → rows and how well they meet it
        self._late_size = 0

    @property
    def late(self) -> int:
        """How many pairs of term and row are not packed."""
        return self._late_size

    @property
    def nbytes(self) -> int:
        # A key of the vocabulary costs about 120 bytes, and so does a late pair.
        packed = self._starts.nbytes + self._rows.nbytes + self._met.nbytes
        return packed + 120 * (len(self._numbers) + len(self._late) + self._late_size)

    def add(self, row: int, amounts: Mapping[str, float]) -> None:
        """`amounts` of each term, see `amounts_of`. `row` is higher than every row added before."""
        for term, amount in amounts.items():
            number = self._numbers.setdefault(term, len(self._numbers))
            self._late.setdefault(number, []).append((row, met(amount)))
        self._late_size += len(amounts)

    def packed(self, places: Rows) -> "Postings":
        """A copy in which all is packed; `places` has the new number of each row, -1: dropped."""
        terms, rows, met = self._all()
        rows = places[rows]
        kept = rows >= 0
        terms, rows, met = terms[kept], rows[kept], met[kept]
        order = np.lexsort((rows, terms))
        terms, rows, met = terms[order], rows[order], met[order]
        used, sizes = np.unique(terms, return_counts=True)
        renumbered = np.full(len(self._numbers), -1, np.int64)
        renumbered[used] = np.arange(len(used))
        copy = Postings()
        copy._numbers = {
            term: int(renumbered[number])
            for term, number in self._numbers.items()
            if renumbered[number] >= 0
        }
        copy._starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        copy._rows, copy._met = rows, met
        return copy

    def scores(self, terms: Iterable[str], visible: Mask | None, rows: int, count: int) -> Floats:
        """Of each of `rows` rows, in [0, 1]: how much of the question's weight it meets.

        `visible`: which rows the asker may see, `count` of them; the others get 0. None: all. 1 is
        a memory of typical length that has every term of the question once.
        """
        scores = np.zeros(rows, np.float32)
        whole = 0.0
        for term in dict.fromkeys(terms):
            holders, met = self._of(term)
            if visible is not None and len(holders):
                seen = visible[holders]
                holders, met = holders[seen], met[seen]
            weight = term_weight(len(holders), count)
            whole += weight
            if len(holders):
                scores[holders] += met * np.float32(weight)
        if whole:
            scores *= np.float32(1 / whole)
            some = np.flatnonzero(scores)
            scores[some] = np.minimum(scores[some], 1) ** np.float32(LIFT)
        return scores

    def _of(self, term: str) -> tuple[Rows, Floats]:
        number = self._numbers.get(term, -1)
        rows, met = _NO_ROWS, _NONE_MET
        if 0 <= number < len(self._starts) - 1:
            place = slice(self._starts[number], self._starts[number + 1])
            rows, met = self._rows[place], self._met[place]
        late = self._late.get(number)
        if late:
            added, added_met = zip(*late, strict=True)
            rows = np.concatenate((rows, np.array(added, np.int32)))
            met = np.concatenate((met, np.array(added_met, np.float32)))
        return rows, met

    def _all(self) -> tuple[npt.NDArray[np.int64], Rows, Floats]:
        numbers = np.arange(len(self._starts) - 1, dtype=np.int64)
        terms = [np.repeat(numbers, np.diff(self._starts))]
        rows, met = [self._rows], [self._met]
        if self._late:
            sizes = [len(late) for late in self._late.values()]
            terms.append(np.repeat(np.fromiter(self._late, np.int64, len(sizes)), sizes))
            pairs = [pair for late in self._late.values() for pair in late]
            rows.append(np.array([row for row, _ in pairs], np.int32))
            met.append(np.array([value for _, value in pairs], np.float32))
        return np.concatenate(terms), np.concatenate(rows), np.concatenate(met)


def term_weight(holders: int, count: int) -> float:
    """The rarer the more: of a term that `holders` of `count` memories have."""
    total = count + BACKGROUND
    known = max(holders, 1)
    return math.log1p((total - known + 0.5) / (known + 0.5))


def amounts_of(terms: Iterable[str]) -> dict[str, float]:
    """How much a text has of each of its terms: 1 is once in a text of typical length."""
    counts = Counter(terms)
    damping = 1 - LENGTH_WEIGHT + LENGTH_WEIGHT * counts.total() / TYPICAL_LENGTH
    return {term: count / damping for term, count in counts.items()}


def met(amount: float) -> float:
    """How well a memory meets a term of which it has so much; 1 is met by 1."""
    return amount * (SATURATION + 1) / (amount + SATURATION)


_NO_ROWS: Rows = np.empty(0, np.int32)
_NONE_MET: Floats = np.empty(0, np.float32)
