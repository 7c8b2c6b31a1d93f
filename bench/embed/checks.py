"""What the exported model has to keep of the original, and what a run has to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hotpath.embedder.precision import LEAST, LEAST_MEAN

RECALL_POINTS: Final = 0.5  # how far recall may be off, in points
HIT_RATE: Final = 0.8


@dataclass(frozen=True)
class Check:
    what: str
    value: float
    bound: float
    passed: bool

    def __str__(self) -> str:
        verdict = "kept" if self.passed else "MISSED"
        return f"{self.what}: {self.value:.4f}, bound {self.bound:g}, {verdict}"


def checks(
    mean_cosine: float, least_cosine: float, recall_points: float | None, hit_rate: float
) -> Sequence[Check]:
    """`recall_points`: the served model's recall less PyTorch's, in points; None: not measured."""
    found = [
        _at_least("mean cosine to PyTorch", mean_cosine, LEAST_MEAN),
        _at_least("least cosine to PyTorch", least_cosine, LEAST),
        _at_least("cache hit rate under sustained extraction", hit_rate, HIT_RATE),
    ]
    if recall_points is not None:
        kept = abs(recall_points) <= RECALL_POINTS
        found.append(Check("recall, points off PyTorch's", recall_points, RECALL_POINTS, kept))
    return found


def _at_least(what: str, value: float, bound: float) -> Check:
    return Check(what, value, bound, value >= bound)
