"""Convolutions, matrix products and pools."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from onnx_cases import EIGHT, IMAGE, LINE, PADDED, ROW, SIGNS, case, conv, gemm, one, weights
from onnx_judge import Graph

# Convolutions.

CONVOLUTIONS: dict[str, tuple[int, int, tuple[int, ...], dict[str, Any]]] = {
    "plain": (4, 3, (3, 3), {}),
    "no-bias": (4, 3, (3, 3), {"bias": False, "kernel_shape": [3, 3]}),
    "per-tensor": (4, 3, (2, 3), {"per_channel": False}),
    "strides": (4, 3, (3, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
    "wide-strides": (4, 3, (2, 2), {"strides": [3, 4]}),
    "dilations": (4, 3, (3, 2), {"dilations": [2, 3]}),
    "dilated-and-padded": (4, 3, (3, 3), {"dilations": [3, 2], "pads": [3, 1, 2, 4]}),
    "unequal-pads": (4, 3, (3, 3), {"pads": [0, 1, 2, 0], "strides": [2, 2]}),
    "large-pads": (2, 3, (2, 2), {"pads": [2, 3, 2, 0]}),
    "pointwise": (5, 3, (1, 1), {}),
    "pointwise-strided": (5, 3, (1, 1), {"strides": [2, 3]}),
    "row": (4, 3, (1, 3), {"pads": [0, 1, 0, 1]}),
    "column": (4, 3, (5, 1), {"pads": [2, 0, 2, 0]}),
    "whole": (4, 3, (7, 6), {}),
    "groups": (6, 1, (3, 3), {"group": 3, "pads": [1] * 4}),
    "depthwise": (3, 1, (3, 3), {"group": 3, "pads": [1, 0, 0, 1]}),
    "upper": (4, 3, (3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "lower": (4, 3, (3, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "upper-dilated": (4, 3, (2, 2), {"auto_pad": "SAME_UPPER", "dilations": [2, 3]}),
    "lower-even": (4, 3, (2, 2), {"auto_pad": "SAME_LOWER"}),
    "valid": (4, 3, (3, 2), {"auto_pad": "VALID", "strides": [1, 2]}),
}
for _name, (_outputs, _inputs, _kernel, _more) in CONVOLUTIONS.items():
    case(
        f"conv-{_name}",
        lambda g, x, o=_outputs, i=_inputs, k=_kernel, m=_more: conv(g, x, o, i, k, **m),
    )

case("conv-zero-point", lambda g, x: conv(g, x, 4, 3, (3, 3), **PADDED), kind="uint8", zero=131)
case("conv-zero-at-the-edge", lambda g, x: conv(g, x, 4, 3, (3, 3), **PADDED), zero=-128)
case("conv-without-quantiser", lambda g, x: conv(g, x, 4, 3, (3, 3)), end=None)
case("conv-batch-of-4", lambda g, x: conv(g, x, 4, 3, (3, 3), **PADDED), batch=4)
case("conv-float-input", lambda g, x: conv(g, x, 4, 3, (3, 3), **PADDED), kind="float32")
case("conv-int16-input", lambda g, x: conv(g, x, 2, 3, (2, 2)), kind="int16", end=99.5)
case("conv-ties", lambda g, x: g.node("Conv", x, g.constant(np.ones((2, 3, 2, 2)))), end=1 / 8)
case("conv-2-groups", lambda g, x: conv(g, x, 6, 4, (3, 3), group=2), EIGHT)
case("conv-depthwise-twice", lambda g, x: conv(g, x, 16, 1, (3, 3), group=8, **PADDED), EIGHT)
case("conv-32-groups", lambda g, x: conv(g, x, 64, 2, (2, 2), group=32), (64, 4, 4))
case(
    "conv-32-groups-zero",
    lambda g, x: conv(g, x, 32, 2, (2, 2), group=32, **PADDED),
    (64, 3, 3),
    zero=5,
)
case("conv-1d", lambda g, x: conv(g, x, 5, 4, (3,)), LINE)
case(
    "conv-1d-all",
    lambda g, x: conv(g, x, 5, 4, (3,), strides=[2], dilations=[2], pads=[3, 1]),
    LINE,
)
case("conv-1d-groups", lambda g, x: conv(g, x, 6, 2, (2,), group=2, auto_pad="SAME_LOWER"), LINE)
case("conv-1d-depthwise", lambda g, x: conv(g, x, 4, 1, (4,), group=4, auto_pad="SAME_UPPER",
                                            strides=[3]), LINE)  # fmt: skip


def shuffled(g: Graph, x: str) -> str:
    """Channels shuffled between two grouped convolutions."""
    x = g.quant(conv(g, x, 8, 4, (3, 3), group=2, **PADDED), 0.1)
    x = g.node("Reshape", x, g.ints(0, 2, 4, 5, 5))
    x = g.node("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = g.node("Reshape", x, g.ints(0, 8, 5, 5))
    x = g.quant(conv(g, x, 8, 1, (3, 3), group=8, **PADDED), 0.1)
    return conv(g, x, 6, 4, (2, 2), group=2)


def scaled_channels(g: Graph, x: str) -> str:
    """Scales that differ between channels of the input of a convolution."""
    factors = g.constant(np.float32([0.5, 2, -0.25]).reshape(3, 1, 1))
    return conv(g, g.node("Mul", x, factors), 4, 3, (3, 3), **PADDED)


case("conv-shuffled", shuffled, EIGHT)
case("conv-scaled-channels", scaled_channels)

# Matrix products.


case("gemm", lambda g, x: gemm(g, x, 4, 10), ROW)
case("gemm-all", lambda g, x: gemm(g, x, 4, 10, transB=1, alpha=-0.3, beta=2.5), ROW)
case("gemm-offset", lambda g, x: gemm(g, x, 4, 10, transB=1), ROW, zero=-31)
case("gemm-scalar-bias", lambda g, x: g.node("Gemm", x, weights(g, 10, 3, axis=1), g.constant(0.7)),
     ROW)  # fmt: skip
case("gemm-no-bias", lambda g, x: g.node("Gemm", x, weights(g, 10, 3, axis=1)), ROW, end=None)
case("matmul", lambda g, x: g.node("MatMul", x, weights(g, 10, 3, axis=1)), ROW)
case("matmul-rows", lambda g, x: g.node("MatMul", x, weights(g, 9, 3, axis=1)), LINE)
case("matmul-one", lambda g, x: g.node("MatMul", x, weights(g, 1, 3, axis=1)), (1,))
case("matmul-zeros", lambda g, x: g.node("MatMul", x, g.constant(np.zeros((10, 2)))), ROW)
case("matmul-scaled", lambda g, x: g.node(
    "MatMul", g.node("Mul", x, g.constant(2.0 ** g.random.integers(-2, 2, 10))),
    g.constant(g.random.integers(-3, 4, (10, 5)))), ROW)  # fmt: skip

# Pools.

POOLS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": (IMAGE, {"kernel_shape": [2, 2]}),
    "strides": (IMAGE, {"kernel_shape": [3, 2], "strides": [2, 2]}),
    "pads": (IMAGE, {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1], "strides": [2, 3]}),
    "ceil": (IMAGE, {"kernel_shape": [2, 4], "strides": [2, 4], "ceil_mode": 1}),
    "ceil-pads": (
        IMAGE,
        {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    "ceil-left-out": (
        IMAGE,
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    "upper": (IMAGE, {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "SAME_UPPER"}),
    "lower": (IMAGE, {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "SAME_LOWER"}),
    "valid": (IMAGE, {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "VALID"}),
    "1d": (LINE, {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "1d-ceil": (LINE, {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}),
    "one": (IMAGE, {"kernel_shape": [1, 1], "strides": [2, 3]}),
    "nothing": (IMAGE, {"kernel_shape": [1, 1]}),
}
for _name, (_shape, _more) in POOLS.items():
    case(f"maxpool-{_name}", one("MaxPool", **_more), _shape)
    for _count in (0, 1):
        case(f"averagepool-{_name}-{_count}", one("AveragePool", count_include_pad=_count, **_more),
             _shape)  # fmt: skip
DILATED = {"kernel_shape": [2, 3], "dilations": [3, 2], "pads": [1, 2, 0, 2]}
case("maxpool-dilated", one("MaxPool", **DILATED))
case("averagepool-dilated", one("AveragePool", **DILATED), opset=19)
case("averagepool-newest", one("AveragePool", **POOLS["ceil-pads"][1]), opset=23)
case("averagepool-zero-point", one("AveragePool", **POOLS["pads"][1]), zero=100)
case("averagepool-end", one("AveragePool", kernel_shape=[2, 2]), end=None)
for _name, _op, _more in (
    ("maxpool", "MaxPool", {"kernel_shape": [2, 2], "pads": [1] * 4}),
    ("globalmaxpool", "GlobalMaxPool", {}),
    ("globalaveragepool", "GlobalAveragePool", {}),
):
    case(
        f"{_name}-signs",
        lambda g, x, op=_op, m=_more: g.node(op, g.node("Mul", x, g.constant(SIGNS)), **m),
    )
    case(f"{_name}-of-relu", lambda g, x, op=_op, m=_more: g.node(op, g.node("Relu", x), **m))
    case(f"{_name}-of-conv", lambda g, x, op=_op, m=_more: g.node(
        op, conv(g, x, 3, 3, (3, 3)), **m), end=None)  # fmt: skip
case("maxpool-of-leaky", lambda g, x: g.node("MaxPool", g.node("LeakyRelu", g.node("Neg", x)),
                                             kernel_shape=[2, 2]))  # fmt: skip
case("maxpool-of-abs", lambda g, x: g.node(
    "MaxPool", g.quant(g.node("Abs", x), 0.3), kernel_shape=[3, 3]))  # fmt: skip
case("globalmaxpool-1d", one("GlobalMaxPool"), LINE)
case("globalaveragepool-1d", one("GlobalAveragePool"), LINE, end=None)

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax")
for _op, _keep in product(REDUCTIONS, (0, 1)):
    case(f"{_op}-attribute-{_keep}", one(_op, axes=[2, 3], keepdims=_keep), opset=11)
    case(
        f"{_op}-input-{_keep}",
        lambda g, x, op=_op, k=_keep: g.node(op, x, g.ints(-1, 2), keepdims=k),
        opset=20,
    )
for _op in REDUCTIONS:
    case(f"{_op}-1d", one(_op, axes=[-1]), LINE, opset=12)
    case(f"{_op}-channels", one(_op, axes=[1]), opset=12)
    case(f"{_op}-channels-1d", one(_op, axes=[1], keepdims=0), LINE, opset=12)
