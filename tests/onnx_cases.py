"""Small single-purpose graphs for the operators of the importer, each with odd attributes.

The files onnx_cases_*.py enter them in `CASES`, to be taken and to equal the oracle, and in
`REFUSED`, each with the sentence that refuses it.  The values build the models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from onnx import ModelProto, TensorProto
from onnx_judge import Graph

Body = Callable[[Graph, str], str]
CASES: dict[str, Callable[[], ModelProto]] = {}
REFUSED: dict[str, tuple[Callable[[], ModelProto], str]] = {}
IMAGE, LINE, ROW = (3, 7, 6), (4, 9), (10,)
PADDED = {"pads": [1, 1, 1, 1]}
EIGHT = (8, 5, 5)
SIGNS = np.float32([0.5, -2, 0.25]).reshape(3, 1, 1)
PADS = [0, 0, 1, 2, 0, 0, 3, 0]
FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
INT64 = {"end": None, "output": TensorProto.INT64}
SCALES = np.float32([0.1, 0.25, 0.7]).reshape(3, 1, 1)
UNEVEN, POWER = 0.0371, 0.5


def case(
    name: str,
    body: Body,
    shape: tuple[int, ...] = IMAGE,
    *,
    end: float | None = UNEVEN,
    scale: float = 1 / 16,
    zero: int = 0,
    kind: str = "int8",
    opset: int = 17,
    batch: int | str = "N",
    output: int = TensorProto.FLOAT,
    known: bool = True,
) -> None:
    """Enter a graph: a dequantised input, `body`, and a quantiser of the scale `end` if any."""

    def build() -> ModelProto:
        g = Graph(shape, kind, opset, batch, seed=crc32(name.encode()))
        y = body(g, g.start(scale, zero))
        return g.finished(y if end is None else g.quant(y, end), output, known)

    assert name not in CASES
    CASES[name] = build


def weights(g: Graph, *shape: int, per_channel: bool = True, axis: int = 0) -> str:
    """Quantised weights behind a DequantizeLinear."""
    values = g.constant(g.random.integers(-7, 8, shape), np.int8)
    scale = g.random.uniform(0.01, 0.05, shape[axis] if per_channel else ())
    return g.node("DequantizeLinear", values, g.constant(scale), axis=axis)


def conv(
    g: Graph, x: str, outputs: int, inputs: int, kernel: Sequence[int], bias: bool = True,
    **more: Any,
) -> str:  # fmt: skip
    w = weights(g, outputs, inputs, *kernel, per_channel=more.pop("per_channel", True))
    return g.node("Conv", x, w, *([g.bias(outputs)] if bias else []), **more)


def one(op: str, **attributes: Any) -> Body:
    """One node without parameters."""
    return lambda g, x: g.node(op, x, **attributes)


def gemm(g: Graph, x: str, outputs: int, inputs: int, **more: Any) -> str:
    w = (outputs, inputs) if more.get("transB") else (inputs, outputs)
    w = weights(g, *w, axis=0 if more.get("transB") else 1)
    return g.node("Gemm", x, w, g.bias(outputs), **more)


def resize(scales: Sequence[float] = (), sizes: Sequence[int] = (), **attributes: Any) -> Body:
    def body(g: Graph, x: str) -> str:
        rest = [g.constant([]), g.constant(scales) if scales else ""]
        return g.node("Resize", x, *rest, *([g.ints(*sizes)] if sizes else []), **attributes)

    return body


def branches(op: str, a: Any, b: Any, add: float = 0.0) -> Body:
    """Two quantised branches, scaled by `a` and `b`, joined."""

    def body(g: Graph, x: str) -> str:
        left = g.node("Mul", g.quant(x, 0.11, 6), g.constant(a))
        right = g.node("Mul", g.quant(x, 0.07, 5, rounding_mode="FLOOR"), g.constant(b))
        if add:
            right = g.node("Add", right, g.constant(add))
        return g.node(op, left, right)

    return body


def linear(kind: str, scale: Any, zero: Any, **more: Any) -> Body:
    """QuantizeLinear and DequantizeLinear."""

    def body(g: Graph, x: str) -> str:
        dtype = np.dtype(kind)
        step, point = g.constant(scale), g.constant(zero, dtype)
        x = g.node("QuantizeLinear", x, step, point, **more)
        return g.node("DequantizeLinear", x, step, point, **more)

    return body


def refused(
    name: str, body: Body, sentence: str, shape: tuple[int, ...] = IMAGE, **more: Any
) -> None:
    """Enter a graph that must be refused in these words."""
    case(name, body, shape, known=False, **more)
    REFUSED[name] = CASES.pop(name), sentence
