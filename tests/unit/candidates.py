"""Memories for tests of what is decided about them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np

from ibex.memory.model import Candidate, Category, ScoredMemory, ScoreParts, Vector

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def direction(*parts: float) -> Vector:
    """A unit vector with these first components."""
    vector = np.zeros(384, np.float32)
    vector[: len(parts)] = parts
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


def candidate(number: int = 1, **changes: Any) -> Candidate:
    """Number n points into direction n: no two are alike."""
    vector = np.zeros(384, np.float32)
    vector[number % 384] = 1.0
    values: dict[str, Any] = {
        "id": UUID(int=number),
        "version": 1,
        "category": Category.DECLARATIVE,
        "content": f"Fact {number}.",
        "confidence": 0.9,
        "usefulness": 0.5,
        "access_count": 0,
        "valid_from": NOW,
        "embedding": vector,
    }
    return Candidate(**(values | changes))


def scored(
    number: int, score: float, tokens: int, relevance: float = 1.0, **changes: Any
) -> ScoredMemory:
    parts = ScoreParts(relevance, 1.0, 0.5, 0.9, 0.0)
    return ScoredMemory(candidate(number, **changes), parts, score, tokens)
