"""Which backend runs the model here, and getting it warm."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Final

import orjson

from hotpath.embedder import sample
from hotpath.embedder.artefact import (
    REFUSED_STATUS,
    Artefact,
    ArtefactStore,
    ExportRefusedError,
    UnusableArtefactError,
    artefact_key,
    weights_digest,
)
from hotpath.embedder.model import MAX_THREADS, Encode, one_by_one
from hotpath.embedder.onnx_model import OnnxModel
from hotpath.embedder.precision import likeness, near_enough
from hotpath.embedder.torch_model import TorchModel, gpu_present
from ibex.embedding_models import ModelFolder, chosen_model
from ibex.settings import Settings

_COMMAND: Final = (sys.executable, "-m", "hotpath.embedder.export")
_EXPORT_LIMIT: Final = 300.0  # seconds; a model that did not come with IBEX is compared on PyTorch
_log = logging.getLogger("ibex.embedder")


@dataclass(frozen=True)
class LoadedModel:
    name: str
    backend: str  # "onnx int8", "onnx float32", "torch cpu", "torch cuda"
    encode: Encode = field(repr=False)
    threads: int = 1  # that may call `encode` at once


def load_model(settings: Settings) -> LoadedModel:
    """The chosen model, warm. Takes about a second, a few at the first start, and many on PyTorch.

    Where the exported model cannot be had, PyTorch runs it, unless IBEX_EMBEDDING_BACKEND is onnx.
    """
    model, backend = chosen_model(settings), settings.embedding_backend
    gpu = backend != "onnx" and gpu_present()
    if backend == "torch" or gpu:
        return _on_torch(model, "cuda" if gpu else "cpu")
    store = ArtefactStore.default(settings.home)
    for anew in (False, True):
        try:
            return _on_onnx(model, _artefact(model, store, settings, anew=anew))
        except UnusableArtefactError as error:
            reason = str(error)
            _log.warning("%s", reason)
            if isinstance(error, ExportRefusedError):
                break
    if backend == "onnx":
        raise UnusableArtefactError(reason)
    _log.warning("%s runs on PyTorch: slower to start, and about 8 ms a text", model.name)
    return _on_torch(model, "cpu")


def _on_torch(model: ModelFolder, device: str) -> LoadedModel:
    return LoadedModel(model.name, f"torch {device}", TorchModel(model.folder, device).encode)


def _on_onnx(model: ModelFolder, artefact: Artefact) -> LoadedModel:
    """Encodes the sample, which warms it and shows that this processor computes what the one that
    exported it did. Raises UnusableArtefactError."""
    encode = OnnxModel(model.folder, artefact.graph).encode
    vectors = one_by_one(encode, sample.TEXTS)
    if not near_enough(vectors, artefact.reference):
        mean, least = likeness(vectors, artefact.reference)
        raise UnusableArtefactError(
            f"the exported model's cosine to the original is {mean:.4f} on average and "
            f"{least:.4f} at least here"
        )
    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)))
    return LoadedModel(model.name, f"onnx {artefact.precision}", encode, threads)


def _artefact(
    model: ModelFolder, store: ArtefactStore, settings: Settings, *, anew: bool
) -> Artefact:
    key = artefact_key(model, weights_digest(model))
    if not anew:
        try:
            return store.read(key)
        except UnusableArtefactError as reason:
            _log.info("exporting %s once, because %s", model.name, reason)
    _export(settings, anew=anew)
    return store.read(key)


def _export(settings: Settings, *, anew: bool) -> None:
    """In a process of its own, with the same settings. Raises UnusableArtefactError, or
    ExportRefusedError when trying again would end the same way."""
    command = [*_COMMAND, *(["--anew"] if anew else [])]
    models = {name: str(folder) for name, folder in settings.embedding_models.items()}
    env = {
        **os.environ,
        "IBEX_HOME": str(settings.home),
        "IBEX_EMBEDDING_MODEL": settings.embedding_model,
        "IBEX_EMBEDDING_MODELS": orjson.dumps(models).decode(),
    }
    try:
        status = subprocess.run(command, env=env, timeout=_EXPORT_LIMIT, check=False).returncode
    except subprocess.TimeoutExpired:
        raise UnusableArtefactError("the export of the model took too long") from None
    if status == REFUSED_STATUS:
        raise ExportRefusedError(f"{settings.embedding_model} cannot be exported")
    if status != 0:
        raise UnusableArtefactError(f"the export of the model ended with {status}")
