"""What an index knows before there is a question: who may see which rows, and what the scores rest
on besides the relevance."""

from dataclasses import dataclass

import numpy as np

from ibex.memory import scoring
from ibex.memory.packing import RELEVANCE_FLOOR
from ibex.memory.postings import Floats, Mask, Rows


@dataclass
class View:
    """What one user, or nobody, may see."""

    mask: Mask
    rows: Rows  # where the mask is true
    whole: bool  # every row is seen
    hot: frozenset[int] = frozenset()  # rows
    hot_size: int = 0
    hot_at: float = float("-inf")  # seconds since 1970


@dataclass(frozen=True)
class Static:
    """Of every row, the dead ones included."""

    parts: Floats  # shape (rows, 4): all parts of the score but the relevance
    scores: Floats  # shape (rows,)
    exempt: Mask  # relevant to every question
    at: float  # seconds since 1970

    def composites(self, relevance: Floats) -> Floats:
        """The score of each row."""
        return self.scores + relevance * np.float32(scoring.WEIGHTS.relevance)

    def keys(self, relevance: Floats) -> Floats:
        """As `composites`, and all that are relevant before all that are not."""
        return self.composites(relevance) + ((relevance >= RELEVANCE_FLOOR) | self.exempt)
