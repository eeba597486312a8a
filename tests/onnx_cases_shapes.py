"""What moves, cuts and compares values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from onnx_build import QONNX
from onnx_cases import (
    EIGHT,
    FLOOR,
    INT64,
    LINE,
    PADS,
    POWER,
    ROW,
    SIGNS,
    Body,
    case,
    conv,
    gemm,
    one,
    resize,
    weights,
)
from onnx_judge import Graph

# Pads and sizes.

case("pad-attribute", one("Pad", pads=PADS), opset=9)
case("pad-attribute-value", one("Pad", pads=PADS, value=0.5, mode="constant"), opset=10)
case("pad-input", lambda g, x: g.node("Pad", x, g.ints(*PADS)), opset=11)
case("pad-value", lambda g, x: g.node("Pad", x, g.ints(*PADS), g.constant(-1.25)), opset=13)
case("pad-value-off-grid", lambda g, x: g.node("Pad", x, g.ints(*PADS), g.constant(0.3)))
case("pad-axes", lambda g, x: g.node("Pad", x, g.ints(1, 2, 3, 0), "", g.ints(-2, 3)), opset=18)
case("pad-newest", lambda g, x: g.node("Pad", x, g.ints(*PADS)), opset=23)
case("pad-crop", lambda g, x: g.node("Pad", x, g.ints(0, 0, -1, 2, 0, 0, 1, -3)))
case("pad-nothing", lambda g, x: g.node("Pad", x, g.ints(*[0] * 8)))
case("pad-1d", lambda g, x: g.node("Pad", x, g.ints(0, 0, 2, 0, 0, -1)), LINE)
case("pad-zero-point", lambda g, x: g.node("Pad", x, g.ints(*PADS)), zero=17, end=None)
case("pad-conv", lambda g, x: conv(g, g.node("Pad", x, g.ints(*PADS)), 4, 3, (3, 3)), zero=-9)


for _transform, _nearest in product(
    ("asymmetric", "half_pixel"), ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
):
    _more = {"coordinate_transformation_mode": _transform, "nearest_mode": _nearest}
    case(f"resize-down-{_transform}-{_nearest}", resize((1, 1, 0.5, 0.5), **_more), (3, 8, 6))
    if _nearest == "floor" if _transform == "asymmetric" else _nearest.startswith("round"):
        case(f"resize-up-{_transform}-{_nearest}", resize((1, 1, 3, 3), **_more))
case("resize-default", resize((1, 1, 2, 2)), opset=13)
case("resize-unequal", resize((1, 1, 2, 3), **FLOOR), opset=11)
case("resize-one-axis", resize((1, 1, 1, 4), **FLOOR), opset=19)
case("resize-sizes", resize((), (1, 3, 14, 6), **FLOOR), batch=1)
case("resize-sizes-down", resize((), (1, 3, 2, 3), **FLOOR), (3, 6, 6), batch=1)
case("resize-old", lambda g, x: g.node("Resize", x, g.constant([1, 1, 2, 2]), mode="nearest"),
     opset=10)  # fmt: skip
case("resize-1d", resize((1, 1, 2), **FLOOR), LINE)
case("upsample", lambda g, x: g.node("Upsample", x, g.constant([1, 1, 3, 2]), mode="nearest"),
     opset=9)  # fmt: skip
case("resize-conv", lambda g, x: conv(g, resize((1, 1, 2, 2), **FLOOR)(g, x), 4, 3, (3, 3)))

# Parts of tensors.


def cut(starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]):
    return lambda g, x: g.node("Slice", x, *(g.ints(*v) for v in (starts, ends, axes, steps)))


case("slice-attributes", one("Slice", starts=[1, 0], ends=[3, 5], axes=[1, 2]), opset=9)
case("slice-channels", cut([0], [8], [1], [2]), EIGHT)
case("slice-rows", cut([1], [7], [2], [2]))
case("slice-columns", cut([-5], [1000], [-1], [3]))
case("slice-box", cut([1, 1], [-1, 5], [2, 3], [2, 1]))
case("slice-all-axes", cut([1, 2, 0], [3, 5, 4], [1, 2, 3], [1, 1, 3]))
case("slice-features", cut([2], [9], [1], [3]), ROW)
case("slice-line", cut([1], [8], [2], [2]), LINE)
case("slice-first-row", cut([0], [1], [2], [1]))
case("slice-flipped", lambda g, x: conv(g, cut([-1], [-99], [1], [-1])(g, x), 4, 3, (2, 2)))
case("slice-newest", cut([0], [8], [1], [3]), EIGHT, opset=23)
case("slice-wide", lambda g, x: cut([0], [4], [1], [1])(g, conv(g, x, 6, 3, (2, 2))), end=None)
case("gather-channels", lambda g, x: g.node("Gather", x, g.ints(0, 3, -1), axis=1), EIGHT)
case("gather-rows", lambda g, x: g.node("Gather", x, g.ints(1, 3, 5), axis=2))
case("gather-one", lambda g, x: g.node("Gather", x, g.constant(2, np.int64), axis=-1))
case("gather-mixed", lambda g, x: conv(g, g.node("Gather", x, g.ints(4, 0, 7), axis=1), 2, 3,
                                       (2, 2)), EIGHT)  # fmt: skip


def parts(op: str, count: int, axis: int, *sizes: int, **attributes: Any) -> Body:
    """A tensor split, and its parts joined in the opposite order."""

    def body(g: Graph, x: str) -> str:
        rest = [g.ints(*sizes)] if sizes else []
        made = g.several(op, count, x, *rest, axis=axis, **attributes)
        made = [g.quant(part, 0.1 * (k + 1)) for k, part in enumerate(made)]
        return g.node("Concat", *reversed(made), axis=axis)

    return body


case("split-attribute", parts("Split", 2, 1, split=[3, 5]), EIGHT, opset=11)
case("split-input", parts("Split", 3, 1, 1, 2, 5), EIGHT)
case("split-alike", parts("Split", 4, 1), EIGHT, opset=9)
case("split-number", parts("Split", 3, 1, num_outputs=3), EIGHT, opset=18)
case("split-rows-kept", lambda g, x: g.several("Split", 2, x, g.ints(3, 4), axis=2)[1])
case("split-features", parts("Split", 2, -1, 4, 6), ROW)


def concat(axis: int, *scales: float) -> Body:
    def body(g: Graph, x: str) -> str:
        tensors = [g.quant(g.node("Mul", x, g.constant(scale)), scale) for scale in scales]
        return g.node("Concat", x, *tensors, axis=axis)

    return body


case("concat-scales", concat(1, 0.3, 0.07))
case("concat-negative-axis", concat(-3, 0.3), end=POWER)
case("concat-many", concat(1, *(0.05 * k for k in range(1, 10))), opset=9)
case("concat-features", concat(1, 0.21, 0.5), ROW)
case("concat-columns-of-one-row", concat(2, 0.3), (3, 1))
case("concat-conv", lambda g, x: conv(g, concat(1, 0.5, 2.0)(g, x), 4, 9, (2, 2)))

# Layouts.

case("flatten", lambda g, x: gemm(g, g.node("Flatten", x), 4, 126))
case("flatten-end", one("Flatten"))
case("flatten-axis", one("Flatten", axis=-3), (3, 7, 6))
case("reshape-zero", lambda g, x: gemm(g, g.node("Reshape", x, g.ints(0, -1)), 4, 126, transB=1))
case("reshape-lines", lambda g, x: g.node("Reshape", x, g.ints(0, 3, 42)))
case("reshape-batch", lambda g, x: gemm(g, g.node("Reshape", x, g.ints(4, 126)), 2, 126), batch=4)
case("squeeze-attribute", one("Squeeze", axes=[2]), (5, 1), opset=11)
case("squeeze-input", lambda g, x: gemm(g, g.node("Squeeze", x, g.ints(3, -2)), 4, 5), (5, 1, 1))
case("unsqueeze-attribute", one("Unsqueeze", axes=[1, 3]), ROW, opset=9)
case("unsqueeze-input", lambda g, x: conv(g, g.node("Unsqueeze", x, g.ints(-1)), 3, 10, (1,)), ROW)
case("transpose-end", one("Transpose", perm=[0, 2, 3, 1]))
case("transpose-flatten", lambda g, x: gemm(
    g, g.node("Flatten", g.node("Transpose", x, perm=[0, 2, 3, 1])), 4, 126))  # fmt: skip
case("transpose-rows", lambda g, x: g.node("MatMul", g.node("Transpose", x, perm=[0, 2, 1]),
                                           weights(g, 4, 3, axis=1)), LINE)  # fmt: skip


def channels_last(g: Graph, x: str) -> str:
    """A graph whose input and output have their channels last."""
    x = g.node("Transpose", x, perm=[0, 3, 1, 2])
    x = conv(g, x, 4, 6, (3, 2), strides=[2, 1])
    return g.node("Transpose", x, perm=[0, 2, 3, 1])


def viewed(g: Graph, x: str) -> str:
    """`x.view(x.size(0), -1)` as PyTorch writes it."""
    x = g.quant(conv(g, x, 2, 3, (3, 3)), 0.1)
    size = g.node("Gather", g.node("Shape", x), g.constant(0, np.int64), axis=0)
    if g.opset < 13:
        size = g.node("Unsqueeze", size, axes=[0])
    else:
        size = g.node("Unsqueeze", size, g.ints(0))
    shape = g.node("Concat", size, g.ints(-1), axis=0)
    return gemm(g, g.node("Reshape", x, shape), 4, 40)


case("channels-last", channels_last, (7, 5, 6))
case("viewed-old", viewed, opset=11, batch=1)
case("viewed", viewed, opset=17, batch=1)
case("viewed-batch", viewed, opset=17, batch=4)

# Blocks of pixels.

CUTE = (8, 3, 2)
DEPTH = one("DepthToSpace", blocksize=2)


def pixels(g: Graph, x: str, mode: str = "CRD", inputs: int = 3, **more: Any) -> str:
    """A convolution whose twelve channels become blocks of two by two."""
    x = conv(g, x, 12, inputs, (1, 1), **more)
    return g.node("DepthToSpace", x, blocksize=2, mode=mode)


def around(g: Graph, x: str) -> str:
    """Blocks into channels and back in the other order, for a product alone."""
    x = conv(g, g.node("SpaceToDepth", x, blocksize=2), 12, 12, (1, 1))
    return g.node("DepthToSpace", g.quant(x, 0.1), blocksize=2, mode="CRD")


def read_twice(g: Graph, x: str) -> str:
    x = g.quant(pixels(g, x), 0.1)
    return g.node("Add", *(g.quant(conv(g, x, 2, 3, (2, 2)), 0.2) for _ in range(2)))


def skipped(g: Graph, x: str) -> str:
    """Pixels of blocks, and pixels repeated, added."""
    return g.node("Add", g.quant(pixels(g, x), 0.1), resize((1, 1, 2, 2), **FLOOR)(g, x))


def twice(op: str, **attributes: Any) -> Body:
    """Two images in blocks, joined."""

    def body(g: Graph, x: str) -> str:
        other = g.quant(DEPTH(g, g.node("Mul", x, g.constant(2.0))), 0.3)
        return g.node(op, DEPTH(g, x), other, **attributes)

    return body


def moved(split: Sequence[int], order: Sequence[int], *shape: int) -> Body:
    """Blocks as Reshape, Transpose and Reshape write them."""

    def body(g: Graph, x: str) -> str:
        x = g.node("Reshape", g.quant(conv(g, x, 12, 3, (1, 1)), 0.1), g.ints(0, *split))
        return g.node("Reshape", g.node("Transpose", x, perm=[0, *order]), g.ints(0, *shape))

    return body


case("depth", DEPTH, CUTE)
case("depth-end", DEPTH, CUTE, end=None)
case("depth-old", DEPTH, CUTE, opset=10)
case("depth-newest", one("DepthToSpace", blocksize=2, mode="DCR"), CUTE, kind="float32", opset=23)
case("depth-of-one", one("DepthToSpace", blocksize=1, mode="CRD"), CUTE)
case("depth-rows", lambda g, x: pixels(g, x, "DCR"), batch=2)
case("depth-crd", pixels)
case("depth-crd-end", lambda g, x: pixels(g, x, per_channel=False, bias=False), end=None)
case("depth-crd-scales", pixels, end=None)
case("depth-crd-signs", lambda g, x: conv(g, g.node("DepthToSpace", g.node(
    "BipolarQuant", conv(g, x, 12, 3, (1, 1)), g.constant(1.0), domain=QONNX),
    blocksize=2, mode="CRD"), 2, 3, (2, 2)))  # fmt: skip
case("depth-crd-tables", lambda g, x: g.node("DepthToSpace", g.quant(g.node(
    "PRelu", g.quant(conv(g, x, 12, 3, (1, 1)), 0.2, 6), g.constant(np.linspace(-1, 1, 12).reshape(
    12, 1, 1))), 0.1), blocksize=2, mode="CRD"))  # fmt: skip
case("depth-by-channel", lambda g, x: g.node("Mul", pixels(g, x), g.constant(SIGNS)))
case("depth-conv", lambda g, x: conv(g, g.quant(pixels(g, x), 0.1), 2, 3, (3, 3), pads=[1] * 4))
case("depth-read-twice", read_twice)
case("depth-features", lambda g, x: gemm(
    g, g.node("Flatten", g.quant(pixels(g, x), 0.1)), 2, 12 * 42))  # fmt: skip
case("depth-skipped", skipped)
case("depth-added", twice("Add"), CUTE)
case("depth-joined", twice("Concat", axis=1), CUTE)
case("depth-cut", lambda g, x: cut([0, 1], [5, 99], [2, 3], [1, 1])(g, DEPTH(g, x)), CUTE)
case("depth-phase", lambda g, x: cut([0, 1], [99, 99], [2, 3], [2, 2])(g, DEPTH(g, x)), CUTE)
case("depth-phase-cut", lambda g, x: cut([2], [6], [2], [2])(g, DEPTH(g, x)), CUTE, end=None)
case("depth-mean", lambda g, x: g.node("ReduceMean", DEPTH(g, x), axes=[1]), CUTE)
case("depth-of-a-vector", lambda g, x: g.node("ReduceMean", g.node("Reshape", g.node(
    "GlobalAveragePool", x), g.ints(0, 2, 2, 2)), axes=[1]), EIGHT)  # fmt: skip
case("depth-argmax", lambda g, x: g.node("ArgMax", DEPTH(g, x), axis=1), CUTE, **INT64)
case("depth-shuffle", moved((3, 2, 2, 7, 6), (1, 4, 2, 5, 3), 3, 14, 12))
case("depth-unequal", moved((2, 3, 2, 7, 6), (3, 4, 1, 5, 2), 2, 14, 18))
case("depth-in-a-row", moved((1, 4, 3, 7, 6), (3, 4, 1, 5, 2), 3, 7, 24))
case("depth-in-a-column", moved((3, 4, 1, 7, 6), (1, 4, 2, 5, 3), 3, 28, 6))
case("depth-line", lambda g, x: g.node("Reshape", g.node("Transpose", g.node(
    "Reshape", conv(g, x, 6, 4, (1,)), g.ints(0, 2, 3, 9)), perm=[0, 1, 3, 2]), g.ints(0, 2, 27)),
    LINE)  # fmt: skip
case("space", one("SpaceToDepth", blocksize=2), (3, 6, 4), kind="float32")
case("space-end", one("SpaceToDepth", blocksize=3), (2, 3, 6), opset=9, end=None)
case("space-conv", lambda g, x: conv(
    g, g.node("SpaceToDepth", x, blocksize=2), 2, 12, (2, 2)), (3, 6, 4))  # fmt: skip
case("space-and-back", lambda g, x: DEPTH(g, g.node("SpaceToDepth", x, blocksize=2)), (3, 6, 4))
case("space-around", around, (3, 6, 4))

# Largest values.

case("argmax", one("ArgMax", axis=1), ROW, **INT64)
case("argmax-dropped", one("ArgMax", axis=-1, keepdims=0), ROW, **INT64)
case("argmax-image", one("ArgMax", axis=1), **INT64)
case("argmax-conv", lambda g, x: g.node("ArgMax", conv(g, x, 5, 3, (2, 2), per_channel=False),
                                        axis=1), **INT64)  # fmt: skip
case("argmax-scales", lambda g, x: g.node("ArgMax", g.node("Mul", x, g.constant(SIGNS)), axis=1),
     **INT64)  # fmt: skip
case("argmax-sigmoid", lambda g, x: g.node("ArgMax", g.node("Sigmoid", x), axis=1), ROW, **INT64)
case("topk", lambda g, x: g.several("TopK", 2, x, g.ints(3))[1], ROW, **INT64)
case("topk-old", lambda g, x: g.several("TopK", 2, x, g.ints(1), axis=1)[1], ROW, opset=10, **INT64)
case("topk-newest", lambda g, x: g.several("TopK", 2, x, g.ints(10), axis=1, sorted=1)[1], ROW,
     opset=24, **INT64)  # fmt: skip
