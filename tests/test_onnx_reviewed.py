"""Graphs that were once taken wrongly: each is exact now, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto
from onnx_judge import Graph, assert_exact, inputs, program_of, refusal

Made = Callable[[], tuple[Graph, str, int]]


def pruned(kind: str) -> tuple[Graph, str, int]:
    """A channel of scale 0 that is always 3 meets padding."""
    g = Graph((2, 4, 4))
    m = g.node("Mul", g.start(), g.constant(np.array([0, 1.0]).reshape(2, 1, 1)))
    a = g.node("Add", m, g.constant(np.array([3.0, 0]).reshape(2, 1, 1)))
    if kind == "average":
        y = g.node("AveragePool", a, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)
    else:
        group = 2 if kind == "depthwise" else 1
        weights = np.arange(-9, 9).reshape(2 if group == 2 else 1, 2 // group, 3, 3)
        y = g.node("Conv", a, g.constant(weights), pads=[1] * 4, group=group)
    return g, y, TensorProto.FLOAT


def behind_softmax(op: str) -> tuple[Graph, str, int]:
    g = Graph((2, 3, 4))
    y = g.node("Softmax", g.start(), axis=-1)
    made = {
        "Slice": lambda: g.node("Slice", y, g.ints(0), g.ints(2), g.ints(3)),
        "Reshape": lambda: g.node("Reshape", y, g.ints(-1, 2, 12)),
        "Flatten": lambda: g.node("Flatten", y),
        "Transpose": lambda: g.node("Transpose", y, perm=[0, 1, 3, 2]),
        "Gather": lambda: g.node("Gather", y, g.ints(1, 2), axis=3),
    }
    return g, made[op](), TensorProto.FLOAT


def clipped_and_turned() -> tuple[Graph, str, int]:
    g = Graph((3,), "float32")
    y = g.node("Neg", g.node("Relu", g.node("Neg", "x")))
    return g, g.quant(y, 1 / 16, 8), TensorProto.FLOAT


def levels_off_zero(table: bool) -> tuple[Graph, str, int]:
    g = Graph((3,))
    s = g.start(1.0)
    first = g.node("Abs", s) if table else g.node("Clip", s, g.constant(10.0), g.constant(20.0))
    c = g.node("Clip", g.quant(first, 1.0, 8), g.constant(3.0), g.constant(4.0))
    return g, g.node("Sub", c, g.constant(3.5)), TensorProto.FLOAT


def thresholds_of_rank_three() -> tuple[Graph, str, int]:
    """Without a layout the channels of three axes stand last, as in the qonnx package."""
    g = Graph((2, 3))
    rows = np.array([[0.0], [10.0], [20.0]], np.float32)
    y = g.node("MultiThreshold", g.start(1.0), g.constant(rows), domain="qonnx.custom_op.general")
    return g, y, TensorProto.FLOAT


def divided_integers() -> tuple[Graph, str, int]:
    g = Graph((5,))
    return g, g.node("Div", "x", g.constant(3, np.int8)), TensorProto.INT8


EXACT: dict[str, Made] = {
    "levels off zero, by a table": lambda: levels_off_zero(True),
    "levels off zero, constant": lambda: levels_off_zero(False),
    "thresholds of rank three": thresholds_of_rank_three,
    "integers are divided towards zero": divided_integers,
}


@pytest.mark.parametrize("made", EXACT.values(), ids=EXACT)
def test_exact(made: Made):
    g, out, kind = made()
    model = g.finished(out, kind)
    assert_exact(program_of(model), model, inputs(model, 24), defined=2)


SOFTMAX = "it moves values behind a softmax, which the host computes at the end"
ZERO = "no integer of its input stands for zero in every channel"


def wrapping() -> tuple[Graph, str, int]:
    g = Graph((5,))
    return g, g.node("Add", "x", g.constant(100, np.int8)), TensorProto.INT8


def mean_of_integers() -> tuple[Graph, str, int]:
    g = Graph((2, 5))
    return g, g.node("ReduceMean", g.node("Cast", "x", to=6), axes=[2]), TensorProto.INT32


def padding_alone() -> tuple[Graph, str, int]:
    g = Graph((1, 2, 2), opset=19)
    y = g.node("MaxPool", g.start(), kernel_shape=[2, 2], dilations=[3, 3], pads=[2, 2, 2, 2])
    return g, y, TensorProto.FLOAT


def largest_along_another_axis() -> tuple[Graph, str, int]:
    g = Graph((2, 3, 4))
    y = g.node("Softmax", g.start(), axis=-1)
    return g, g.node("ArgMax", y, axis=1), TensorProto.INT64


REFUSED: dict[str, tuple[Made, str]] = {
    **{
        f"a pruned channel, {kind}": (lambda kind=kind: pruned(kind), ZERO)
        for kind in ("plain", "depthwise", "average")
    },
    **{
        f"{op} behind a softmax": (lambda op=op: behind_softmax(op), SOFTMAX)
        for op in ("Slice", "Reshape", "Flatten", "Transpose", "Gather")
    },
    "clipped, then turned round": (clipped_and_turned, "clipped and then multiplied by a negative"),
    "integers that wrap": (wrapping, "leave int8, where runtimes wrap around"),
    "a mean of integers": (mean_of_integers, "it is the mean of int32, which runtimes cut off"),
    "windows of padding": (padding_alone, "a window of it holds padding alone"),
    "another axis": (largest_along_another_axis, "compares along axis 1 what a softmax made along"),
}


@pytest.mark.parametrize(("made", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused(made: Made, sentence: str):
    g, out, kind = made()
    assert sentence in refusal(g.finished(out, kind, known=False))
