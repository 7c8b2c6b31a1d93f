"""Which memories hold which terms, and how well they meet those of a question: BM25.

Two parts: a packed one, three arrays sorted by term, and what was added since. Statistics (how many
memories hold a term, how long they are) are taken over the rows that the asker may see, so that
nobody's score tells of another's memories.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

# Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
SATURATION: Final = 1.2  # k1
LENGTH_WEIGHT: Final = 0.3  # b: memories are short; recall@10 on LoCoMo .617 at .75, .632 at .3
#: Lifts what meets a part of the question, so that the relevance floor means what it does for the
#: share of words that SQL computes: as many strangers above it, and more of the evidence first.
LIFT: Final = 0.7
#: So many memories without any of the words are taken to be there as well. Otherwise a store of a
#: few memories would call a word rare that none of them has, and common what one of them has.
BACKGROUND: Final = 100


class Postings:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # of the terms
        # Packed: term t stands in rows[starts[t]:starts[t + 1]], counts[the same].
        self._starts = np.zeros(1, np.int64)
        self._rows: Rows = np.empty(0, np.int32)
        self._counts: npt.NDArray[np.uint16] = np.empty(0, np.uint16)
        self._late: dict[int, list[int]] = {}  # term → row, count, row, count, …
        self._late_size = 0

    @property
    def late(self) -> int:
        """How many pairs of term and row are not packed."""
        return self._late_size

    @property
    def nbytes(self) -> int:
        # A key of the vocabulary costs about 120 bytes, a late number about 8.
        packed = self._starts.nbytes + self._rows.nbytes + self._counts.nbytes
        return packed + 120 * len(self._numbers) + 120 * len(self._late) + 16 * self._late_size

    def add(self, row: int, terms: Iterable[str]) -> None:
        """`row` is higher than every row added before."""
        counts = Counter(terms)
        for term, count in counts.items():
            number = self._numbers.setdefault(term, len(self._numbers))
            self._late.setdefault(number, []).extend((row, min(count, 65_535)))
        self._late_size += len(counts)

    def packed(self, places: Rows) -> "Postings":
        """A copy in which all is packed; `places` has the new number of each row, -1: dropped."""
        terms, rows, counts = self._all()
        rows = places[rows]
        kept = rows >= 0
        terms, rows, counts = terms[kept], rows[kept], counts[kept]
        order = np.lexsort((rows, terms))
        terms, rows, counts = terms[order], rows[order], counts[order]
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
        copy._rows, copy._counts = rows, counts
        return copy

    def scores(
        self, terms: Iterable[str], visible: Mask, lengths: Floats, count: int, mean: float
    ) -> Floats:
        """Of each row, in [0, 1]: how much of the question's weight it meets; 0 where not visible.

        `count` visible rows of `mean` length (in terms). 1 is a memory of mean length that has
        every term of the question once.
        """
        scores = np.zeros(len(visible), np.float32)
        whole = 0.0
        for term in dict.fromkeys(terms):
            rows, counts = self._of(term)
            if len(rows):
                seen = visible[rows]
                rows, counts = rows[seen], counts[seen]
            weight = term_weight(len(rows), count)
            whole += weight
            if len(rows):
                scores[rows] += met(counts, lengths[rows], mean) * np.float32(weight)
        if whole:
            some = np.flatnonzero(scores)
            scores[some] = np.minimum(scores[some] / np.float32(whole), 1) ** np.float32(LIFT)
        return scores

    def _of(self, term: str) -> tuple[Rows, npt.NDArray[np.uint16]]:
        number = self._numbers.get(term, -1)
        rows, counts = _NO_ROWS, _NO_COUNTS
        if 0 <= number < len(self._starts) - 1:
            place = slice(self._starts[number], self._starts[number + 1])
            rows, counts = self._rows[place], self._counts[place]
        late = self._late.get(number)
        if late:
            added = np.array(late, np.int32).reshape(-1, 2)
            rows = np.concatenate((rows, added[:, 0]))
            counts = np.concatenate((counts, added[:, 1].astype(np.uint16)))
        return rows, counts

    def _all(self) -> tuple[npt.NDArray[np.int64], Rows, npt.NDArray[np.uint16]]:
        numbers = np.arange(len(self._starts) - 1, dtype=np.int64)
        terms = [np.repeat(numbers, np.diff(self._starts))]
        rows, counts = [self._rows], [self._counts]
        if self._late:
            sizes = [len(late) // 2 for late in self._late.values()]
            terms.append(np.repeat(np.fromiter(self._late, np.int64, len(sizes)), sizes))
            added = np.concatenate([np.array(late, np.int32) for late in self._late.values()])
            rows.append(added[::2])
            counts.append(added[1::2].astype(np.uint16))
        return np.concatenate(terms), np.concatenate(rows), np.concatenate(counts)


def term_weight(holders: int, count: int) -> float:
    """The rarer the more: of a term that `holders` of `count` memories have."""
    total = count + BACKGROUND
    known = max(holders, 1)
    return float(np.log1p((total - known + 0.5) / (known + 0.5)))


def met(counts: npt.NDArray[np.uint16], lengths: Floats, mean: float) -> Floats:
    """How well a term is met by rows of these lengths that have it so often; 1: a row of mean
    length that has it once."""
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * lengths / np.float32(mean))
    met: Floats = (counts * (SATURATION + 1) / (counts + damping)).astype(np.float32)
    return met


_NO_ROWS: Rows = np.empty(0, np.int32)
_NO_COUNTS: npt.NDArray[np.uint16] = np.empty(0, np.uint16)
