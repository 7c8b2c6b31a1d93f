"""The exported model on disk: `KEY.onnx`, and `KEY.json`, written last, which says what it is.

The key covers everything the file depends on, so a new onnxruntime or new weights make a new one.
Writing is atomic, and one process at a time writes: the others wait and read what it wrote.
"""

import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import orjson

from hotpath.embedder import sample
from hotpath.embedder.model import Vectors
from hotpath.embedder.precision import PRECISIONS, Precision
from ibex.embedding_models import ModelFolder
from ibex.errors import EmbedderUnavailableError

REFUSED_STATUS: Final = 3  # with which `hotpath.embedder.export` ends when it is refused
_FORMAT: Final = "2"  # of the graph; another number makes everybody export anew
_LOOK: Final = 0.1  # seconds between two tries for the lock
_PATIENCE: Final = 120.0  # seconds for another process's export


class UnusableArtefactError(Exception):
    """It is not there, damaged, or does not compute on this processor what it did elsewhere."""


class ExportRefusedError(UnusableArtefactError):
    """The model cannot be exported, or is not near enough to the original afterwards."""


@dataclass(frozen=True, eq=False)
class Artefact:
    graph: bytes
    precision: Precision
    reference: Vectors  # what the original makes of sample.TEXTS


@dataclass(frozen=True)
class ArtefactStore:
    folder: Path
    shared: Path | None = None  # read only, and only what `folder` does not have

    @classmethod
    def default(cls, home: Path) -> "ArtefactStore":
        """In the virtual environment, so that every home shares one. Where that cannot be written,
        as in an image, the home comes before it."""
        shared = Path(sys.prefix) / "share" / "ibex" / "models"
        try:
            shared.mkdir(parents=True, exist_ok=True)
            writable = os.access(shared, os.W_OK)
        except OSError:
            writable = False
        return cls(shared) if writable else cls(home / "models", shared)

    def read(self, key: str) -> Artefact:
        """Raises UnusableArtefactError."""
        try:
            folder = self._where(key)
            about = orjson.loads((folder / f"{key}.json").read_bytes())
            graph = (folder / f"{key}.onnx").read_bytes()
            if hashlib.sha256(graph).hexdigest() != about["sha256"]:
                raise UnusableArtefactError("the exported model is damaged")
            if about["precision"] not in PRECISIONS:
                raise UnusableArtefactError("the exported model has an unknown precision")
            return Artefact(graph, about["precision"], sample.unpack(about["reference"]))
        except FileNotFoundError:
            raise UnusableArtefactError("the model was not exported yet") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnusableArtefactError(
                f"the exported model cannot be read ({type(error).__name__})"
            ) from None

    def write(self, key: str, artefact: Artefact) -> None:
        """Only under `lock`."""
        self._replace(self.folder / f"{key}.onnx", artefact.graph)
        about = {
            "sha256": hashlib.sha256(artefact.graph).hexdigest(),
            "precision": artefact.precision,
            "reference": sample.pack(artefact.reference),
        }
        self._replace(self.folder / f"{key}.json", orjson.dumps(about, option=orjson.OPT_INDENT_2))

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """For one process at a time. Raises EmbedderUnavailableError after two minutes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _PATIENCE
        with (self.folder / f"{key}.lock").open("wb") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbedderUnavailableError(
                            "Another process has been exporting the model for two minutes."
                        ) from None
                    time.sleep(_LOOK)
            yield

    def _where(self, key: str) -> Path:
        if self.shared and not (self.folder / f"{key}.json").exists():
            return self.shared
        return self.folder

    def _replace(self, path: Path, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise


def artefact_key(model: ModelFolder, digest: str) -> str:
    """`digest` is that of the weights."""
    made_of = (_FORMAT, digest, version("onnx"), version("onnxruntime"))
    name = "".join(each if each.isalnum() or each in "-." else "-" for each in model.name)
    return f"{name}-{hashlib.sha256('|'.join(made_of).encode()).hexdigest()[:16]}"


def weights_digest(model: ModelFolder) -> str:
    with (model.folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
