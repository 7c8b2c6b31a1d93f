"""A model on onnxruntime: no PyTorch, ready in under a second."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
from tokenizers import Encoding, Tokenizer

from hotpath.embedder.model import MAX_CHARACTERS, MAX_TOKENS, Embedding
from ibex.embedding import DIMENSIONS


class OnnxModel:
    """Any number of threads may run it at once; a run stays in its thread. Two threads for one
    short text save a tenth of its time and take half as much processor again."""

    def __init__(self, folder: Path, graph: bytes) -> None:
        """`folder` holds the tokenizer; `graph` is a model as `bert_graph` writes it."""
        self._tokenizer = load_tokenizer(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: list[str]) -> list[Embedding]:
        """One forward pass over all of them."""
        encodings = self._tokenizer.encode_batch_fast([text[:MAX_CHARACTERS] for text in texts])
        inputs = {
            "input_ids": np.array([one.ids for one in encodings], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encodings], np.int64),
        }
        vectors = np.asarray(self._session.run(["embedding"], inputs)[0], np.float32)
        if vectors.shape != (len(texts), DIMENSIONS):
            raise RuntimeError(f"the model gave {vectors.shape} for {len(texts)} texts")
        return [
            Embedding(vector, _cut(text, encoding))
            for text, vector, encoding in zip(texts, vectors, encodings, strict=True)
        ]


def load_tokenizer(folder: Path) -> Tokenizer:
    """As sentence-transformers uses it: padded to the longest, cut at what the model was trained
    to read."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    limit = _read(folder / "sentence_bert_config.json").get("max_seq_length") or MAX_TOKENS
    padding = _read(folder / "config.json").get("pad_token_id") or 0
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(min(MAX_TOKENS, limit))
    token = tokenizer.id_to_token(padding)
    tokenizer.enable_padding(pad_id=padding, pad_token=token or "[PAD]")
    return tokenizer


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(file.read_bytes())
    return content


def _cut(text: str, encoding: Encoding) -> bool:
    return bool(encoding.overflowing) or len(text) > MAX_CHARACTERS
