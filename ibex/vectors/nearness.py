"""Sums over unit vectors: pure, exact, block by block so that memory stays small."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ibex.embedding import Matrix

Places = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
_BLOCK: Final = 512  # rows that are compared with all others at once
_SAME: Final = 1e-4  # of the distances of all rows to their centres: the rows are the same


@dataclass(frozen=True)
class Clusters:
    labels: Places  # shape (n,): the cluster of each row
    centres: Matrix  # shape (k, 384), of unit length
    nearness: Floats  # shape (n,): the cosine of each row and its centre


def alike(vectors: Matrix, threshold: float) -> list[Places]:
    """Groups of two or more rows, largest first: every row has a cosine above `threshold` with
    another one of its group, and with none outside."""
    labels = np.arange(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        # Each pair once: with the rows of the block and those after it.
        near = vectors[start : start + _BLOCK] @ vectors[start:].T > threshold
        for offset in np.flatnonzero(np.count_nonzero(near, axis=1) > 1):
            found = labels[start + np.flatnonzero(near[offset])]
            met = np.unique(np.append(found, labels[start + offset]))
            if len(met) > 1:
                labels[np.isin(labels, met)] = met[0]
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def nearest(questions: Matrix, vectors: Matrix, count: int) -> tuple[Places, Floats]:
    """Of each question its `count` nearest rows, nearest first, and their cosines: shapes
    (questions, count); fewer where there are fewer rows."""
    count = min(count, len(vectors))
    places = np.empty((len(questions), count), np.intp)
    values = np.empty((len(questions), count), np.float32)
    for start, cosines in _blocks(questions, vectors):
        part = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(cosines, part, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        rows = slice(start, start + len(cosines))
        places[rows] = np.take_along_axis(part, order, axis=1)
        values[rows] = np.take_along_axis(near, order, axis=1)
    return places, values


def clusters(vectors: Matrix, count: int, *, seed: int = 0, rounds: int = 25) -> Clusters:
    """Spherical k-means from centres that lie far apart (k-means++); the same rows and seed give
    the same clusters. Clusters may be empty."""
    random = np.random.default_rng(seed)
    centres = _far_apart(vectors, min(count, len(vectors)), random)
    labels, nearness = _assigned(vectors, centres)
    for _ in range(rounds):
        sums = np.zeros_like(centres)
        order = np.argsort(labels, kind="stable")
        there, starts = np.unique(labels[order], return_index=True)
        sums[there] = np.add.reduceat(vectors[order], starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
        before = labels
        labels, nearness = _assigned(vectors, centres)
        if np.array_equal(before, labels):
            break
    return Clusters(labels, centres, nearness)


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's, of values without many ties; 0 where one of them does not vary."""
    ranks = np.argsort(np.argsort(first)), np.argsort(np.argsort(second))
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _blocks(rows: Matrix, columns: Matrix) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(rows), _BLOCK):
        yield start, rows[start : start + _BLOCK] @ columns.T


def _assigned(vectors: Matrix, centres: Matrix) -> tuple[Places, Floats]:
    parts = [cosines.argmax(axis=1) for _, cosines in _blocks(vectors, centres)]
    labels = np.concatenate(parts)
    return labels, np.einsum("ij,ij->i", vectors, centres[labels])


def _far_apart(vectors: Matrix, count: int, random: np.random.Generator) -> Matrix:
    """k-means++, each centre the best of some that are drawn by their distance from the others."""
    chosen = [int(random.integers(len(vectors)))]
    distance = 1.0 - vectors @ vectors[chosen[0]]
    tries = 2 + int(np.log(max(count, 1)))
    while len(chosen) < count:
        weights = np.maximum(distance, 0.0).astype(np.float64)
        total = weights.sum()
        if total < _SAME:
            break
        drawn = random.choice(len(vectors), size=tries, p=weights / total)
        left = np.minimum(distance[:, None], 1.0 - vectors @ vectors[drawn].T)
        best = int(left.sum(axis=0).argmin())
        chosen.append(int(drawn[best]))
        distance = left[:, best]
    return vectors[chosen].copy()
