"""How exactly a model computes on a processor, and how near to the original it has to stay."""

from typing import Final, Literal

import numpy as np

from hotpath.embedder.model import Vectors

Precision = Literal["int8", "float32"]
PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "float32")  # the first that is near enough
LEAST_MEAN: Final = 0.99
LEAST: Final = 0.97


def likeness(vectors: Vectors, reference: Vectors) -> tuple[float, float]:
    """Mean and smallest cosine between rows of the same number."""
    cosines = np.einsum("ij,ij->i", vectors, reference, dtype=np.float64)
    return float(cosines.mean()), float(cosines.min())


def near_enough(vectors: Vectors, reference: Vectors) -> bool:
    mean, least = likeness(vectors, reference)
    return mean >= LEAST_MEAN and least >= LEAST
