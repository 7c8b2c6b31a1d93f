"""A BERT sentence encoder as an ONNX graph, written from its weights.

Nothing is traced: the architecture is fixed, so building the graph takes a second and needs no
PyTorch. In int8, all dense layers multiply integers, and none has a scale for more than one token:
a scale per tensor, as onnxruntime's own dynamic quantisation has it, lets the texts of a batch
change each other's vectors (cosine down to 0.94 between alone and together).

- The query, key and value projections have a scale for every 64 numbers of weights and activations
  alike: they are a quarter of the work and two thirds of the loss, because softmax magnifies what
  rounding does to them.
- The three layers after them have one scale per output channel of the weights, rounded once, and
  one per token of the activations, found at run time: less exact, and a third faster.

The operators of com.microsoft are onnxruntime's contrib operators (docs/ContribOperators.md there).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from hotpath.embedder.artefact import ExportRefusedError
from hotpath.embedder.precision import Precision

_CONTRIB: Final = "com.microsoft"
_OPSET: Final = 20
_IR_VERSION: Final = 10
# GELU is never below -0.17, so its zero may lie low, which leaves more steps for what counts.
_GELU_MINIMUM: Final = 0.17
_GELU_ZERO: Final = 16
_MIDDLE: Final = 128
_LEAST_SCALE: Final = 1e-12  # a row of zeros
_BLOCK: Final = 64  # numbers with one scale
_INT8_ACTIVATIONS: Final = 4  # MatMulNBits' accuracy level

Array = npt.NDArray[Any]
Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class BertShape:
    layers: int
    heads: int
    hidden: int
    epsilon: float

    @classmethod
    def read(cls, folder: Path) -> "BertShape":
        """From config.json and modules.json. Raises ExportRefusedError."""
        config = orjson.loads((folder / "config.json").read_bytes())
        wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        defaults = {"position_embedding_type": "absolute"}
        for key, value in wanted.items():
            if config.get(key, defaults.get(key)) != value:
                raise ExportRefusedError(f"{key} is {config.get(key)!r}, not {value!r}")
        modules = orjson.loads((folder / "modules.json").read_bytes())
        kinds = [module["type"].rpartition(".")[2] for module in modules]
        if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            raise ExportRefusedError(f"its modules are {kinds}")
        pooling = orjson.loads((folder / modules[1]["path"] / "config.json").read_bytes())
        modes = {key for key, value in pooling.items() if key.startswith("pooling_mode") and value}
        if modes not in ({"pooling_mode_mean_tokens"}, {"pooling_mode"}) or (
            pooling.get("pooling_mode", "mean") != "mean"
        ):
            raise ExportRefusedError(f"its pooling is {sorted(modes)}, not the mean")
        return cls(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            epsilon=config["layer_norm_eps"],
        )


def build_graph(shape: BertShape, weights: Weights, precision: Precision) -> bytes:
    """The serialized model. Inputs: `input_ids` and `attention_mask`, int64 (texts, tokens);
    output: `embedding`, float32 (texts, hidden), each row of unit length.

    Raises ExportRefusedError when a weight is missing.
    """
    try:
        content: bytes = _Graph(shape, weights, precision).model().SerializeToString()
    except KeyError as missing:
        raise ExportRefusedError(f"there is no weight {missing}") from None
    return content


class _Graph:
    """Values are names of ONNX tensors. Between attention blocks a row is a token of any text."""

    def __init__(self, shape: BertShape, weights: Weights, precision: Precision) -> None:
        self._shape, self._weights = shape, weights
        self._int8 = precision == "int8"
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        hidden = self._shape.hidden
        ids, mask = "input_ids", "attention_mask"
        size = self._op("Shape", ids)
        padding = self._op("Cast", mask, to=TensorProto.INT32)
        whole = self._op("Concat", size, self._ints(hidden), axis=0)  # (texts, tokens, hidden)
        rows = self._op("Reshape", self._embedded(ids, size), self._ints(-1, hidden))
        for number in range(self._shape.layers):
            rows = self._layer(f"encoder.layer.{number}.", rows, whole, padding)
        tokens = self._op("Reshape", rows, whole)
        weight = self._op("Unsqueeze", self._op("Cast", mask, to=TensorProto.FLOAT), self._ints(2))
        # The mean's length does not matter, since the vector is normalised: the sum will do.
        pooled = self._op("ReduceSum", self._op("Mul", tokens, weight), self._ints(1), keepdims=0)
        length = self._op("ReduceL2", pooled, self._ints(1), keepdims=1)
        self._nodes.append(helper.make_node("Div", [pooled, length], ["embedding"]))
        graph = helper.make_graph(
            self._nodes,
            "sentence-encoder",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
                for name in (ids, mask)
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", hidden])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _embedded(self, ids: str, size: str) -> str:
        table = "embeddings.{}_embeddings.weight"
        words = self._op("Gather", self._weight(table.format("word")), ids)
        # Every token is of the first type: a text is never a pair here.
        positions = self._weights[table.format("position")]
        places = self._constant(positions + self._weights[table.format("token_type")][0])
        tokens = self._op("Slice", size, self._ints(1), self._ints(2))
        here = self._op("Slice", places, self._ints(0), tokens, self._ints(0))
        return self._op(
            "LayerNormalization",
            self._op("Add", words, here),
            self._weight("embeddings.LayerNorm.weight"),
            self._weight("embeddings.LayerNorm.bias"),
            axis=-1,
            epsilon=self._shape.epsilon,
        )

    def _layer(self, layer: str, rows: str, whole: str, padding: str) -> str:
        attended = self._dense(
            self._attention(f"{layer}attention.self.", rows, whole, padding),
            f"{layer}attention.output.dense.weight",
        )
        rows = self._normalised(f"{layer}attention.output.", attended, rows)
        raised = self._dense(rows, f"{layer}intermediate.dense.weight")
        bias = self._weight(f"{layer}intermediate.dense.bias")
        active = self._op("BiasGelu", raised, bias, domain=_CONTRIB)
        lowered = self._dense(active, f"{layer}output.dense.weight", after_gelu=True)
        return self._normalised(f"{layer}output.", lowered, rows)

    def _attention(self, layer: str, rows: str, whole: str, padding: str) -> str:
        parts = ("query", "key", "value")
        weight = np.concatenate([self._weights[f"{layer}{part}.weight"] for part in parts])
        bias = np.concatenate([self._weights[f"{layer}{part}.bias"] for part in parts])
        projected = self._projected(rows, weight.T)
        hidden = self._shape.hidden
        split = self._ops("Split", 3, projected, self._ints(hidden, hidden, hidden), axis=-1)
        attended = self._op(
            "MultiHeadAttention",
            *(self._op("Reshape", part, whole) for part in split),
            self._constant(bias),
            padding,
            domain=_CONTRIB,
            num_heads=self._shape.heads,
        )
        return self._op("Reshape", attended, self._ints(-1, hidden))

    def _normalised(self, layer: str, rows: str, residual: str) -> str:
        # SkipLayerNormalization is all of this in one, and takes twice the time.
        biased = self._op("Add", rows, self._weight(f"{layer}dense.bias"))
        return self._op(
            "LayerNormalization",
            self._op("Add", biased, residual),
            self._weight(f"{layer}LayerNorm.weight"),
            self._weight(f"{layer}LayerNorm.bias"),
            axis=-1,
            epsilon=self._shape.epsilon,
        )

    # --- matrix products ---

    def _projected(self, rows: str, weight: Array) -> str:
        """`weight` (in, out)."""
        inner, outer = weight.shape
        if not self._int8 or inner % _BLOCK:
            return self._op("MatMul", rows, self._constant(weight))
        steps, rounded = per_block(weight)
        return self._op(
            "MatMulNBits",
            *(rows, self._constant(rounded), self._constant(steps)),
            domain=_CONTRIB,
            K=inner,
            N=outer,
            bits=8,
            block_size=_BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def _dense(self, rows: str, name: str, *, after_gelu: bool = False) -> str:
        weight = self._weights[name].T  # (in, out)
        if not self._int8:
            return self._op("MatMul", rows, self._constant(weight))
        # A row is divided by its largest value, so that one scale is right for all of them.
        largest = self._largest(rows, after_gelu=after_gelu)
        zero = _GELU_ZERO if after_gelu else _MIDDLE
        step = self._floats(1 / (255 - zero))
        zeros = self._bytes(zero)
        integers = self._op("QuantizeLinear", self._op("Div", rows, largest), step, zeros)
        steps, rounded = per_channel(weight)
        product = self._op(
            "MatMulIntegerToFloat",
            *(integers, self._constant(rounded), step, self._constant(steps), zeros),
            domain=_CONTRIB,
        )
        return self._op("Mul", product, largest)

    def _largest(self, rows: str, *, after_gelu: bool) -> str:
        """Of each row, (rows, 1); never so small that what lies below zero is cut off."""
        if after_gelu:
            least = _GELU_MINIMUM * (255 - _GELU_ZERO) / _GELU_ZERO
        else:
            rows, least = self._op("Abs", rows), _LEAST_SCALE
        highest = self._op("ReduceMax", rows, self._ints(1), keepdims=1)
        return self._op("Max", highest, self._floats(least))

    # --- names ---

    def _op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self._ops(kind, 1, *inputs, domain=domain, **attributes)[0]

    def _ops(
        self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        name = f"{kind}_{len(self._nodes)}"
        names = [f"{name}_{number}" for number in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes)
        )
        return names

    def _constant(self, values: Array) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _weight(self, name: str) -> str:
        return self._constant(self._weights[name])

    def _ints(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def _floats(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _bytes(self, value: int) -> str:
        return self._constant(np.array(value, np.uint8))


def per_channel(
    weight: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """`weight` (in, out) as one scale per output channel and integers from -127 to 127."""
    steps = np.maximum(np.abs(weight).max(axis=0), _LEAST_SCALE) / 127
    rounded = np.clip(np.rint(weight / steps), -127, 127).astype(np.int8)
    return steps.astype(np.float32), rounded


def per_block(
    weight: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """`weight` (in, out) as MatMulNBits takes it: scales (out · in / 64,) and bytes (out, in / 64,
    64) around 128. `in` is a multiple of 64."""
    inner, outer = weight.shape
    blocks = weight.T.reshape(outer, inner // _BLOCK, _BLOCK)
    steps = np.maximum(np.abs(blocks).max(axis=-1), _LEAST_SCALE) / 127
    rounded = np.clip(np.rint(blocks / steps[..., None]), -127, 127) + _MIDDLE
    return steps.reshape(-1).astype(np.float32), rounded.astype(np.uint8)
