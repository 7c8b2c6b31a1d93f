"""Which model and backend are chosen, what makes an exported model unusable, how texts are cut."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import orjson
import pytest

from hotpath.embedder import loading, sample
from hotpath.embedder.artefact import (
    Artefact,
    ArtefactStore,
    ExportRefusedError,
    UnusableArtefactError,
    artefact_key,
)
from hotpath.embedder.bert_graph import BertShape, per_channel
from hotpath.embedder.loading import LoadedModel, load_model
from hotpath.embedder.model import Embedding, Vectors
from hotpath.embedder.onnx_model import load_tokenizer
from hotpath.embedder.precision import likeness, near_enough
from ibex.embedding_models import ModelFolder, chosen_model
from ibex.errors import ConfigurationError
from ibex.settings import Settings

KEY = "model-0123"


def unit_rows(seed: int) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(len(sample.TEXTS), 384))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    store = ArtefactStore(tmp_path / "models")
    with store.lock(KEY):
        store.write(KEY, Artefact(b"graph" * 100, "int8", unit_rows(1)))
    return store


# --- the registry ---


def test_a_model_can_be_added_by_name_and_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    settings = Settings(embedding_model="mine", embedding_models={"mine": tmp_path})
    assert chosen_model(settings) == ModelFolder("mine", tmp_path)
    assert chosen_model(Settings()).name == "all-MiniLM-L6-v2"


def test_a_model_nobody_has_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the embedder has all-MiniLM-L6-v2, mine"):
        chosen_model(Settings(embedding_model="x", embedding_models={"mine": tmp_path}))
    with pytest.raises(ConfigurationError, match=r"no model\.safetensors"):
        chosen_model(Settings(embedding_model="mine", embedding_models={"mine": tmp_path}))


def test_other_weights_and_other_names_are_other_artefacts(tmp_path: Path) -> None:
    keys = {
        artefact_key(ModelFolder(name, tmp_path), digest)
        for name in ("a", "b/../c")
        for digest in ("1", "2")
    }
    assert len(keys) == 4
    assert not any("/" in key for key in keys)


def test_what_is_no_bert_with_mean_pooling_is_refused(tmp_path: Path) -> None:
    bert = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "hidden_size": 384,
        "layer_norm_eps": 1e-12,
    }
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": kind}
        for kind in ("Transformer", "Pooling")
    ]
    (tmp_path / "Pooling").mkdir()

    def written(config: Mapping[str, object], pooling: Mapping[str, object]) -> Path:
        (tmp_path / "config.json").write_bytes(orjson.dumps(config))
        (tmp_path / "modules.json").write_bytes(orjson.dumps(modules))
        (tmp_path / "Pooling" / "config.json").write_bytes(orjson.dumps(pooling))
        return tmp_path

    mean = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    assert BertShape.read(written(bert, mean)).layers == 6
    assert BertShape.read(written(bert, {"pooling_mode": "mean"})).heads == 12
    for config, pooling in (
        (bert | {"model_type": "mpnet"}, mean),
        (bert | {"hidden_act": "relu"}, mean),
        (bert | {"position_embedding_type": "relative_key"}, mean),
        (bert, {"pooling_mode_cls_token": True}),
        (bert, {"pooling_mode": "cls"}),
    ):
        with pytest.raises(ExportRefusedError):
            BertShape.read(written(config, pooling))


# --- precision ---


def test_weights_are_rounded_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32)
    weight[:, 5] = 0
    weight[7, 9] = 40  # an outlier costs its own channel only
    steps, rounded = per_channel(weight)
    assert rounded.dtype == np.int8
    assert np.all(np.abs(rounded * steps - weight) <= steps / 2 + 1e-6)


def test_near_enough_looks_at_the_mean_and_at_the_worst() -> None:
    reference = unit_rows(1)
    assert near_enough(reference, reference)
    one_off = reference.copy()
    one_off[3] = unit_rows(2)[3]
    mean, least = likeness(one_off, reference)
    assert least < 0.5 < mean
    assert not near_enough(one_off, reference)
    noisy = reference + 0.012 * np.random.default_rng(4).normal(size=reference.shape)
    noisy = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    mean, least = likeness(noisy, reference)
    assert least >= 0.95
    assert mean < 0.99
    assert not near_enough(noisy, reference)


# --- the artefact ---


def test_what_was_written_is_read(store: ArtefactStore) -> None:
    artefact = store.read(KEY)
    assert (artefact.graph, artefact.precision) == (b"graph" * 100, "int8")
    np.testing.assert_array_equal(artefact.reference, unit_rows(1))
    left = {path.suffix for path in store.folder.iterdir()}
    assert left == {".onnx", ".json", ".lock"}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"{}")


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("onnx", flip),
        ("onnx", halve),
        ("onnx", Path.unlink),
        ("json", halve),
        ("json", empty),
        ("json", Path.unlink),
    ],
)
def test_a_damaged_artefact_is_noticed(
    store: ArtefactStore, suffix: str, damage: Callable[[Path], None]
) -> None:
    damage(store.folder / f"{KEY}.{suffix}")
    with pytest.raises(UnusableArtefactError):
        store.read(KEY)


def test_a_shared_artefact_is_read_until_there_is_one_of_its_own(
    store: ArtefactStore, tmp_path: Path
) -> None:
    own = ArtefactStore(tmp_path / "home", shared=store.folder)
    assert own.read(KEY).precision == "int8"
    with own.lock(KEY):
        own.write(KEY, Artefact(b"other", "float32", unit_rows(2)))
    assert own.read(KEY).graph == b"other"
    assert store.read(KEY).graph == b"graph" * 100


# --- the backend ---


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What loading tried; PyTorch is not loaded, nothing is exported."""
    tried: list[str] = []

    def torch(model: ModelFolder, device: str) -> LoadedModel:
        tried.append(f"torch {device}")
        return LoadedModel(model.name, f"torch {device}", nothing)

    def artefact(model: ModelFolder, store: object, settings: object, *, anew: bool) -> Artefact:
        tried.append("anew" if anew else "artefact")
        return Artefact(b"", "int8", unit_rows(1))

    monkeypatch.setattr(loading, "_on_torch", torch)
    monkeypatch.setattr(loading, "_artefact", artefact)
    monkeypatch.setattr(loading, "gpu_present", lambda: False)
    return tried


def nothing(texts: list[str]) -> list[Embedding]:
    return []


def a_model_that_computes(rows: Vectors) -> Callable[[Path, bytes], object]:
    class Model:
        def __init__(self, folder: Path, graph: bytes) -> None:
            pass

        def encode(self, texts: list[str]) -> list[Embedding]:
            return [Embedding(rows[sample.TEXTS.index(text)], False) for text in texts]

    return Model


def test_onnx_serves_where_there_is_no_gpu(
    attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "OnnxModel", a_model_that_computes(unit_rows(1)))
    assert load_model(Settings()).backend == "onnx int8"
    assert attempts == ["artefact"]


def test_a_gpu_or_the_setting_chooses_torch(
    attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_model(Settings(embedding_backend="torch"))
    monkeypatch.setattr(loading, "gpu_present", lambda: True)
    load_model(Settings())
    load_model(Settings(embedding_backend="torch"))
    assert attempts == ["torch cpu", "torch cuda", "torch cuda"]


def test_a_processor_that_computes_something_else_exports_anew_and_then_falls_back(
    attempts: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "OnnxModel", a_model_that_computes(unit_rows(2)))
    assert load_model(Settings()).backend == "torch cpu"
    assert attempts == ["artefact", "anew", "torch cpu"]
    assert "all-MiniLM-L6-v2 runs on PyTorch" in caplog.text
    with pytest.raises(UnusableArtefactError):
        load_model(Settings(embedding_backend="onnx"))


def test_a_refused_export_is_not_tried_twice(
    attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, anew: bool) -> Artefact:
        attempts.append("anew" if anew else "artefact")
        raise ExportRefusedError("no")

    monkeypatch.setattr(loading, "_artefact", refused)
    assert load_model(Settings()).backend == "torch cpu"
    assert attempts == ["artefact", "torch cpu"]


# --- the tokenizer ---


@pytest.mark.parametrize(
    ("text", "tokens", "cut"),
    [
        ("hello world", 4, False),
        ("\x00", 2, False),  # nothing is left of it but the frame
        ("你好", 4, False),
        ("🎉", 3, False),
        ("word " * 254, 256, False),
        ("word " * 255, 256, True),
        ("字" * 10_000, 256, True),
    ],
)
def test_texts_are_cut_where_the_model_stops_reading(text: str, tokens: int, cut: bool) -> None:
    tokenizer = load_tokenizer(chosen_model(Settings()).folder)
    alone, padded = tokenizer.encode(text), tokenizer.encode_batch([text, "word " * 300])[0]
    assert (len(alone.ids), bool(alone.overflowing)) == (tokens, cut)
    assert (len(padded.ids), sum(padded.attention_mask)) == (256, tokens)
