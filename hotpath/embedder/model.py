"""What the embedder makes of a text, and the bounds of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_TOKENS: Final = 256  # what a model reads of a text at most
# A tokenizer reads a whole text before it cuts it. 256 tokens never need this many characters, but
# for runs of blanks.
MAX_CHARACTERS: Final = 16_384
MAX_THREADS: Final = 4  # that run the model; its texts are short

Vectors = npt.NDArray[np.float32]  # shape (n, 384), each row of unit length


@dataclass(frozen=True)
class Embedding:
    """The vector of one text."""

    vector: npt.NDArray[np.float32]  # shape (384,), unit length
    truncated: bool  # the text was longer than 256 tokens; the vector is that of its beginning


#: One forward pass over all texts. Not thread-safe, unless its `LoadedModel` says so.
Encode = Callable[[list[str]], list[Embedding]]


def one_by_one(encode: Encode, texts: Sequence[str]) -> Vectors:
    return np.stack([encode([text])[0].vector for text in texts])
