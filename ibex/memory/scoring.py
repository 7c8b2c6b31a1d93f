"""The composite score: the one place that decides which memory matters more.

    score = 0.40·relevance + 0.25·recency + 0.20·usefulness + 0.10·confidence
          + 0.05·access_frequency                                     each part in [0, 1]

relevance         half cosine, half lexical; the cosine calibrated to [0, 1]
recency           0.5 ^ (age / half-life of the category)
usefulness        how often answers rested on the memory; 0.5 as long as nobody knows
confidence        of the extraction
access_frequency  log(1 + accesses) / log(1 + 100)

Source: the design, section 5. Half-lives are long on purpose: with 30 days the recency term alone
pushes what was said last year out of the first ten (recall@10 .62 instead of .81 on LoCoMo).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from ibex.memory.model import (
    Candidate,
    Category,
    Found,
    Ranked,
    ScoreParts,
    Vector,
    vectors_of,
)

WEIGHTS: Final = ScoreParts(
    relevance=0.40, recency=0.25, usefulness=0.20, confidence=0.10, access_frequency=0.05
)
HALF_LIFE_DAYS: Final[Mapping[Category, float]] = MappingProxyType(
    {Category.PROCEDURAL: 3650.0, Category.DECLARATIVE: 1500.0, Category.EPISODIC: 3650.0}
)
ACCESSES_FOR_ONE: Final = 100

# Cosines of all-MiniLM-L6-v2 between a question and a memory: unrelated ones lie around 0.1, with
# their neighbours somewhat above, what answers it around 0.5, the same statement in other words
# around 0.8.
COSINE_ZERO: Final = 0.15
COSINE_ONE: Final = 0.80

_SECONDS_A_DAY = 86_400.0
_DIGITS = 6  # of what is recorded; fewer than float32 tells apart
_HALF_LIVES = np.array([HALF_LIFE_DAYS[category] for category in Category])
_WEIGHTS = np.array(WEIGHTS)

Numbers = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def composite(parts: ScoreParts) -> float:
    """In [0, 1], for parts in [0, 1]."""
    return _clip(
        WEIGHTS.relevance * parts.relevance
        + WEIGHTS.recency * parts.recency
        + WEIGHTS.usefulness * parts.usefulness
        + WEIGHTS.confidence * parts.confidence
        + WEIGHTS.access_frequency * parts.access_frequency
    )


def score_parts(
    candidate: Candidate, *, cosine: float | None, lexical: float | None, now: datetime
) -> ScoreParts:
    """`cosine` in [-1, 1] and `lexical` in [0, 1] with the query; None: not known."""
    return ScoreParts(
        relevance=relevance(cosine, lexical),
        recency=recency(candidate.category, candidate.valid_from, now),
        usefulness=_clip(candidate.usefulness),
        confidence=_clip(candidate.confidence),
        access_frequency=access_frequency(candidate.access_count),
    )


def static_score(candidate: Candidate, now: datetime) -> float:
    """The composite with relevance 0: what is known of a memory before there is a question."""
    return composite(score_parts(candidate, cosine=None, lexical=None, now=now))


def relevance(cosine: float | None, lexical: float | None) -> float:
    """The mean of both; the one that is known when the other part could not be asked."""
    known = [calibrated(cosine)] if cosine is not None else []
    if lexical is not None:
        known.append(_clip(lexical))
    return sum(known) / len(known) if known else 0.0


def calibrated(cosine: float) -> float:
    """A cosine of the embedding model on the scale from unrelated (0) to the same (1)."""
    return _clip((cosine - COSINE_ZERO) / (COSINE_ONE - COSINE_ZERO))


def recency(category: Category, valid_from: datetime, now: datetime) -> float:
    """Exponential decay of the category's half-life; 1 for what lies in the future."""
    age = max(0.0, (now - valid_from).total_seconds()) / _SECONDS_A_DAY
    return _clip(0.5 ** (age / HALF_LIFE_DAYS[category]))


def access_frequency(accesses: int) -> float:
    return _clip(math.log1p(max(0, accesses)) / math.log1p(ACCESSES_FOR_ONE))


@dataclass(frozen=True)
class Scored:
    """Of n memories at once; the same numbers as `score_parts` and `composite` of each."""

    parts: Numbers  # shape (n, 5), columns as in `ScoreParts`; to six digits
    scores: Numbers  # shape (n,); to six digits


def score_all(
    candidates: Sequence[Candidate],
    *,
    cosines: npt.NDArray[np.floating] | None,
    lexical: Sequence[float | None] | None,
    now: datetime,
) -> Scored:
    """`cosines` of shape (n,) and `lexical`, n of them, with the query; None: not known."""
    parts = np.zeros((len(candidates), 5))
    if candidates:
        columns = np.array([one.figures for one in candidates], np.float64).T
        category, valid_from, usefulness, confidence, accesses = columns
        parts[:, 0] = _relevances(cosines, lexical, len(candidates))
        parts[:, 1:] = static_parts(
            category.astype(np.int8),
            valid_from,
            usefulness,
            confidence,
            accesses,
            now.timestamp(),
        )
    return Scored(parts.round(_DIGITS), _clipped(parts @ _WEIGHTS).round(_DIGITS))


def rank(
    found: Sequence[Found], vector: Vector | None, now: datetime, *, words: bool = True
) -> list[Ranked]:
    """`vector` of the question, None: not known; `words`: the question's words were looked for."""
    if not found:
        return []
    candidates = [one.candidate for one in found]
    scored = score_all(
        candidates,
        cosines=None if vector is None else vectors_of(candidates) @ vector,
        lexical=[None if one.origin == "pinned" else one.lexical for one in found]
        if words
        else None,
        now=now,
    )
    parts, scores = scored.parts.tolist(), scored.scores.tolist()
    return [
        Ranked(one.candidate, ScoreParts(*parts[place]), scores[place], one.origin)
        for place, one in enumerate(found)
    ]


def static_parts(
    category: npt.NDArray[np.int8],
    valid_from: Numbers,
    usefulness: Numbers,
    confidence: Numbers,
    access_count: npt.NDArray[np.integer] | Numbers,
    now: float,
) -> Numbers:
    """All parts but the relevance of each of n memories, shape (n, 4), from columns of shape (n,).
    Times in seconds since 1970, categories by `CATEGORY_NUMBER`."""
    parts = np.empty((len(category), 4))
    age = np.maximum(0.0, now - valid_from) / _SECONDS_A_DAY
    parts[:, 0] = _clipped(0.5 ** (age / _HALF_LIVES[category]))
    parts[:, 1] = _clipped(usefulness)
    parts[:, 2] = _clipped(confidence)
    accesses = np.log1p(np.maximum(0, access_count))
    parts[:, 3] = _clipped(accesses / math.log1p(ACCESSES_FOR_ONE))
    return parts


def static_scores(parts: Numbers) -> Numbers:
    """`static_score` of each memory, shape (n,), from `static_parts`."""
    scores: Numbers = parts @ _WEIGHTS[1:]
    return scores


def relevances(cosines: Floats | None, lexical: Floats | None, count: int) -> Floats:
    """`relevance` of each of `count` memories, shape (count,); what is None is not known."""
    parts = []
    if cosines is not None:
        scale = np.float32(1 / (COSINE_ONE - COSINE_ZERO))
        parts.append(((cosines - np.float32(COSINE_ZERO)) * scale).clip(0, 1))
    if lexical is not None:
        parts.append(lexical)
    if not parts:
        return np.zeros(count, np.float32)
    return parts[0] if len(parts) == 1 else (parts[0] + parts[1]) * np.float32(0.5)


def _relevances(
    cosines: npt.NDArray[np.floating] | None, lexical: Sequence[float | None] | None, count: int
) -> Numbers:
    total, known = np.zeros(count), np.zeros(count)
    if cosines is not None:
        bounded = np.clip(cosines.astype(np.float64), -1.0, 1.0)
        total += _clipped((bounded - COSINE_ZERO) / (COSINE_ONE - COSINE_ZERO))
        known += 1
    if lexical is not None:
        total += _clipped(np.array([0.0 if one is None else one for one in lexical]))
        known += np.array([one is not None for one in lexical])
    return total / np.maximum(known, 1)


def _clipped(values: Numbers) -> Numbers:
    """`_clip` of each."""
    return np.nan_to_num(np.clip(values, 0.0, 1.0), copy=False, nan=0.0)


def _clip(value: float) -> float:
    """To [0, 1]; what is not a number is 0."""
    return min(1.0, max(0.0, value)) if value == value else 0.0  # noqa: PLR0124 - NaN
