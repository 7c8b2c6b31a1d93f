"""The real model, exported into a folder of the test's own."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from hotpath.embedder import export as exporting
from hotpath.embedder import sample
from hotpath.embedder.artefact import (
    ArtefactStore,
    ExportRefusedError,
    artefact_key,
    weights_digest,
)
from hotpath.embedder.export import ensure_exported, export
from hotpath.embedder.loading import load_model
from hotpath.embedder.model import Vectors, one_by_one
from hotpath.embedder.onnx_model import OnnxModel
from hotpath.embedder.precision import likeness
from ibex.embedding_models import ModelFolder, chosen_model
from ibex.settings import Settings

EXPORT = """
import logging, pathlib, sys
from hotpath.embedder.artefact import ArtefactStore
from hotpath.embedder.export import ensure_exported
from ibex.embedding_models import chosen_model
from ibex.settings import Settings
logging.basicConfig(level="INFO")
store = ArtefactStore(pathlib.Path(sys.argv[1]))
print(ensure_exported(chosen_model(Settings()), store).precision)
"""


@pytest.fixture(scope="module")
def model() -> ModelFolder:
    return chosen_model(Settings())


@pytest.fixture(scope="module")
def key(model: ModelFolder) -> str:
    return artefact_key(model, weights_digest(model))


@pytest.fixture(scope="module")
def reference(model: ModelFolder) -> Vectors:
    known = sample.known_vectors(weights_digest(model))
    assert known is not None
    return known


def test_a_texts_vector_does_not_depend_on_its_company(
    model: ModelFolder, reference: Vectors
) -> None:
    artefact = export(model, reference)
    assert artefact.precision == "int8"
    encode = OnnxModel(model.folder, artefact.graph).encode
    alone = one_by_one(encode, sample.TEXTS)
    mean, least = likeness(alone, reference)
    assert mean >= 0.99
    assert least >= 0.97
    together = encode(list(sample.TEXTS))
    np.testing.assert_allclose(np.stack([one.vector for one in together]), alone, atol=1e-5)
    assert [one.truncated for one in together] == [
        text == sample.TEXTS[-1] for text in sample.TEXTS
    ]


def test_float32_serves_where_int8_is_too_far_away_and_nothing_where_both_are(
    model: ModelFolder, reference: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotpath.embedder.precision.LEAST_MEAN", 0.99999)
    assert export(model, reference).precision == "float32"
    with pytest.raises(ExportRefusedError):
        export(model, np.roll(reference, 1, axis=0))


def test_a_damaged_artefact_is_exported_anew(
    model: ModelFolder,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ArtefactStore(tmp_path)
    whole = ensure_exported(model, store)
    graph = tmp_path / f"{key}.onnx"
    graph.write_bytes(whole.graph[:-1])
    assert ensure_exported(model, store).graph == whole.graph == graph.read_bytes()

    def never(*args: object) -> None:
        pytest.fail("it was exported although it is whole")

    monkeypatch.setattr(exporting, "export", never)
    ensure_exported(model, store)


def test_two_processes_at_once_export_once(tmp_path: Path, key: str) -> None:
    command = [sys.executable, "-c", EXPORT, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=90) for process in processes]
    assert [output for output, _ in outputs] == ["int8\n", "int8\n"]
    assert sum(log.count("cosine to the original") for _, log in outputs) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{key}.{suffix}" for suffix in ("json", "lock", "onnx")
    ]


def test_the_first_start_exports_and_the_second_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The export's process finds the same folder through the same rule: a venv of its own."""
    caplog.set_level(logging.INFO)
    settings = Settings(home=tmp_path, embedding_backend="onnx")
    monkeypatch.setattr(sys, "prefix", "/proc")  # where nothing can be written
    monkeypatch.setattr(
        "hotpath.embedder.loading._COMMAND",
        (sys.executable, "-c", _UNWRITABLE),
    )
    for _ in range(2):
        assert load_model(settings).backend == "onnx int8"
    assert caplog.text.count("exporting all-MiniLM-L6-v2 once") == 1
    assert (tmp_path / "models").is_dir()


_UNWRITABLE = """
import sys
sys.prefix = "/proc"
from hotpath.embedder.export import main
from ibex.serving import run_process
run_process(main)
"""


@pytest.mark.slow
def test_weights_that_did_not_come_with_ibex_are_compared_on_pytorch(
    model: ModelFolder, reference: Vectors, tmp_path: Path
) -> None:
    """And the vectors that are kept for the others' sake are PyTorch's too."""
    own = tmp_path / "own"
    own.mkdir()
    for path in model.folder.iterdir():
        if path.name != "model.safetensors":
            (own / path.name).symlink_to(path)
    # The same weights in another file: one byte of the header's padding more.
    content = (model.folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length] + b" " * 8
    (own / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + content[8 + length :]
    )
    home = tmp_path / "home"
    env = {
        **os.environ,
        "IBEX_HOME": str(home),
        "IBEX_EMBEDDING_MODEL": "own",
        "IBEX_EMBEDDING_MODELS": orjson.dumps({"own": str(own)}).decode(),
    }
    done = subprocess.run(
        [sys.executable, "-c", _UNWRITABLE],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "own in int8: cosine to the original 0.99" in done.stderr
    (key,) = (path.stem for path in (home / "models").glob("own-*.onnx"))
    np.testing.assert_allclose(
        ArtefactStore(home / "models").read(key).reference, reference, atol=1e-5
    )
