"""`python -m hotpath.embedder.export`: writes the chosen model as ONNX, once, in a few seconds.

The embedder starts this itself when the exported model is missing or unusable; an image calls it
while it is built. It is a process of its own because it needs ten times the embedder's memory.
"""

import argparse
import logging
import time

from safetensors.numpy import load_file

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
from hotpath.embedder.bert_graph import BertShape, build_graph
from hotpath.embedder.model import Vectors, one_by_one
from hotpath.embedder.onnx_model import OnnxModel
from hotpath.embedder.precision import PRECISIONS, likeness, near_enough
from ibex.embedding_models import ModelFolder, chosen_model
from ibex.serving import run_process
from ibex.settings import Settings

_log = logging.getLogger("ibex.embedder")


def ensure_exported(model: ModelFolder, store: ArtefactStore, *, anew: bool = False) -> Artefact:
    """The artefact, exported when it is missing or unusable. `anew`: also when it reads well.

    Raises ExportRefusedError.
    """
    digest = weights_digest(model)
    key = artefact_key(model, digest)
    found = None if anew else _usable(store, key)
    if found:
        return found
    with store.lock(key):
        found = None if anew else _usable(store, key)  # made while we waited
        if found:
            return found
        artefact = export(model, _reference(model, digest))
        store.write(key, artefact)
        return artefact


def export(model: ModelFolder, reference: Vectors) -> Artefact:
    """The model in the smallest precision that is near enough to `reference` on this processor."""
    shape = BertShape.read(model.folder)
    weights = load_file(model.folder / "model.safetensors")
    for precision in PRECISIONS:
        graph = build_graph(shape, weights, precision)
        vectors = one_by_one(OnnxModel(model.folder, graph).encode, sample.TEXTS)
        mean, least = likeness(vectors, reference)
        near = near_enough(vectors, reference)
        _log.info(
            "%s in %s: cosine to the original %.4f on average, %.4f at least%s",
            *(model.name, precision, mean, least, "" if near else ": refused"),
        )
        if near:
            return Artefact(graph, precision, reference)
    raise ExportRefusedError("no precision is near enough to the original")


def _usable(store: ArtefactStore, key: str) -> Artefact | None:
    try:
        return store.read(key)
    except UnusableArtefactError:
        return None


def _reference(model: ModelFolder, digest: str) -> Vectors:
    known = sample.known_vectors(digest)
    if known is not None:
        return known
    from hotpath.embedder.torch_model import TorchModel  # noqa: PLC0415  takes seconds

    return one_by_one(TorchModel(model.folder).encode, sample.TEXTS)


def main(settings: Settings) -> int:
    parser = argparse.ArgumentParser(description="Export the embedding model to ONNX.")
    parser.add_argument("--anew", action="store_true", help="also when it was exported already")
    options = parser.parse_args()
    model, store = chosen_model(settings), ArtefactStore.default(settings.home)
    started = time.monotonic()
    try:
        artefact = ensure_exported(model, store, anew=options.anew)
    except ExportRefusedError as reason:
        _log.warning("%s cannot be exported: %s", model.name, reason)
        return REFUSED_STATUS
    _log.info(
        "%s in %s lies in %s, %.0f MB, after %.1f s",
        *(model.name, artefact.precision, store.folder, len(artefact.graph) / 1e6),
        time.monotonic() - started,
    )
    return 0


if __name__ == "__main__":
    run_process(main)
