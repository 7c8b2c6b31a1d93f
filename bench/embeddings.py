"""The vectors of the memories that benchmarks store, kept on disk for the next run.

The first ones are the embedder's own. Further ones, where so many are wanted that the embedder
would take minutes, are made: unit vectors around those, each at a cosine of about 0.8 to the one
that it was made from, from a fixed seed. An exact search takes as long for them as for real ones;
what it finds says nothing about the texts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import track

from ibex.embedding import EmbedderClient, Matrix
from ibex.settings import Settings

_BATCH: Final = 256
_LIMIT: Final = 60.0  # seconds for a batch
_SAME: Final = 0.9999  # cosine of two embeddings of a text by the same model
_SAMPLE: Final = 8
_NOISE: Final = 0.75  # length of what is added to a unit vector: cosine 1 / sqrt(1 + 0.75 ** 2)
_SEED: Final = 1
_CHUNK: Final = 10_000


async def embedded(settings: Settings, texts: Sequence[str], real: int, console: Console) -> Matrix:
    """One row a text; those of the first `real` are the embedder's."""
    own = await _real(settings, texts[:real], console)
    return np.concatenate([own, around(own, len(texts) - len(own))])


async def embed(settings: Settings, texts: Sequence[str]) -> Matrix:
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
    try:
        return await embedder.embed(texts)
    finally:
        await embedder.close()


def around(rows: Matrix, count: int) -> Matrix:
    """`count` unit vectors, each near one of `rows`; always the same ones."""
    chance = np.random.default_rng(_SEED)
    made = np.empty((count, rows.shape[1]), np.float32)
    for start in range(0, count, _CHUNK):
        part = made[start : start + _CHUNK]
        part[:] = _moved(rows[chance.integers(len(rows), size=len(part))], chance)
    return made


def beside(rows: Matrix, seed: int) -> Matrix:
    """A unit vector near each of `rows`; of one seed always the same ones."""
    return _moved(rows, np.random.default_rng(seed))


def _moved(rows: Matrix, chance: np.random.Generator) -> Matrix:
    noise = chance.standard_normal(rows.shape, np.float32)
    noise *= _NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    moved: Matrix = rows + noise
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return moved


async def _real(settings: Settings, texts: Sequence[str], console: Console) -> Matrix:
    digest = hashlib.sha256("\n".join([settings.embedding_model, *texts]).encode()).hexdigest()
    file = settings.home / f"embeddings-{digest[:16]}.npy"
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
    try:
        kept = await _kept(file, texts, embedder)
        if kept is not None:
            return kept
        parts = [
            await embedder.embed(texts[start : start + _BATCH])
            for start in track(
                range(0, len(texts), _BATCH),
                "Embedding memories (kept for the next run)",
                console=console,
                transient=True,
            )
        ]
    finally:
        await embedder.close()
    made: Matrix = np.concatenate(parts)
    np.save(file, made)
    return made


async def _kept(file: Path, texts: Sequence[str], embedder: EmbedderClient) -> Matrix | None:
    """What is on disk, when the embedder still makes the same of a few of the texts."""
    if not file.exists():
        return None
    kept: Matrix = np.load(file)
    places = np.linspace(0, len(texts) - 1, min(_SAMPLE, len(texts))).astype(int)
    now = await embedder.embed([texts[place] for place in places])
    cosines = np.einsum("ij,ij->i", now, kept[places])
    return kept if bool((cosines > _SAME).all()) else None
