"""A model on PyTorch: the reference that the others are checked against, and the one for GPUs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hotpath.embedder.model import MAX_CHARACTERS, MAX_THREADS, MAX_TOKENS, Embedding
from ibex.embedding import DIMENSIONS

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def gpu_present() -> bool:
    """PyTorch can use a GPU here. It is imported, which takes seconds, only where there is one."""
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/dxg").exists():
        return False
    import torch  # noqa: PLC0415  takes seconds

    return torch.cuda.is_available()


class TorchModel:
    """Not thread-safe: one thread loads it and runs it."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Takes seconds: imports torch, reads the weights and runs once to be warm."""
        self._model = _load(folder, device)
        self._device = device
        self.encode(["warm up", "a longer text, so that padding has been seen once as well"])

    def encode(self, texts: list[str]) -> list[Embedding]:
        """One forward pass over all of them."""
        import torch  # noqa: PLC0415  takes seconds; the socket listens before

        tokens = self._model.tokenizer(
            [text[:MAX_CHARACTERS] for text in texts],
            padding=True,
            truncation=True,
            max_length=min(MAX_TOKENS, self._model.max_seq_length or MAX_TOKENS),
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            output = self._model.forward(dict(tokens))["sentence_embedding"]
            output = torch.nn.functional.normalize(output, dim=1)
        vectors = output.cpu().numpy().astype(np.float32, copy=False)
        if vectors.shape != (len(texts), DIMENSIONS):
            raise RuntimeError(f"the model gave {vectors.shape} for {len(texts)} texts")
        return [
            Embedding(vector, bool(encoding.overflowing) or len(text) > MAX_CHARACTERS)
            for text, vector, encoding in zip(texts, vectors, tokens.encodings, strict=True)
        ]


def _load(folder: Path, device: str) -> "SentenceTransformer":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Threads that spin while they wait for each other lose their cores to the other processes of
    # the machine: 190 ms for one text on two busy cores, against 11 ms when they sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch  # noqa: PLC0415  takes seconds; the socket listens before
    import transformers  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(min(MAX_THREADS, os.cpu_count() or 1))
    return SentenceTransformer(str(folder), device=device)
