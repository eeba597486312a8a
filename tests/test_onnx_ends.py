"""What graphs do to their input before, and around, its first quantiser: meaning and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.load import load
from bitwright.models.program import Program

QONNX = "qonnx.custom_op.general"
WEIGHTS = np.array([[1.0, 2.0], [1.0, -1.0], [3.0, 1.0]])
Array = np.ndarray
STARTS = np.array([0, 1, 3])
REALS = np.array([[0.2, 0.7, 3.0], [-4.0, -4.0, -4.0], [0.0, 0.5, 1.5], [260.0, 9.5, -2.5]])


def quant(bits: int, **attributes: object) -> NodeProto:
    """A quantiser from x to q."""
    inputs = ["x", "one", "zero", f"bits{bits}"]
    return helper.make_node(
        "Quant",
        inputs,
        ["q"],
        domain=QONNX,
        **{"signed": 0, "narrow": 0, "rounding_mode": "ROUND", **attributes},
    )


CONSTANTS: dict[str, object] = {
    "one": 1.0,
    "zero": 0.0,
    "two": 2.0,
    "five": 5.0,
    "three hundred": 300.0,
    "four hundred": 400.0,
    "bits1": 1.0,
    "bits8": 8.0,
    "lows": [0.0, 3.0, 5.0],
    "highs": [7.0, 4.0, 250.0],
    "halves": [0.5, 2.5, 7.5],
    "weights": WEIGHTS,
    "list": [7.0, -2.0, 9.0, 0.0, 4.0, 1.0],
    "other list": [0.5, -2.0, 9.25, 0.0, 4.0, 1.0],
    "image": [0, *(2, 3, 4)],
}


def taken(folder: Path, *nodes: NodeProto, size: int = 2, shape: tuple[int, ...] = (3,)) -> Program:
    """The program of nodes from x to y."""
    constants = [
        numpy_helper.from_array(
            np.asarray(value, np.int64 if name == "image" else np.float32), name
        )
        for name, value in CONSTANTS.items()
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("x", (1, *shape)), ("y", (1, size)))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    opsets = [helper.make_opsetid("", 11), helper.make_opsetid(QONNX, 1)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=6), path)
    return load(path)


def node(op: str, *names: str, **attributes: object) -> NodeProto:
    """A node of the standard; the last name is its output."""
    return helper.make_node(op, names[:-1], names[-1:], **attributes)


MULTIPLY = node("MatMul", "r", "weights", "y")


def byte(x: Array) -> Array:
    return np.clip(np.rint(x), 0, 255)


MEANINGS: dict[str, tuple[tuple[NodeProto, ...], Callable[[Array], Array]]] = {
    "one bit made -1 and +1": (
        (quant(1), node("Mul", "q", "two", "m"), node("Sub", "m", "one", "r"), MULTIPLY),
        lambda x: (2 * np.clip(np.rint(x), 0, 1) - 1) @ WEIGHTS,
    ),
    "clipped beyond all values": (
        (quant(8), node("Clip", "q", "three hundred", "four hundred", "r"), MULTIPLY),
        lambda x: np.clip(byte(x), 300, 400) @ WEIGHTS,
    ),
    "bounds per channel": (
        (quant(8), node("Max", "q", "lows", "a"), node("Min", "highs", "a", "r"), MULTIPLY),
        lambda x: np.minimum(np.maximum(byte(x), CONSTANTS["lows"]), CONSTANTS["highs"]) @ WEIGHTS,
    ),
    "bounds per channel, between integers": (
        (
            quant(8),
            node("Max", "q", "halves", "a"),
            helper.make_node(
                "Quant",
                ["a", "one", "zero", "bits8"],
                ["r"],
                domain=QONNX,
                signed=0,
                narrow=0,
                rounding_mode="FLOOR",
            ),
            MULTIPLY,
        ),
        lambda x: np.floor(np.maximum(byte(x), CONSTANTS["halves"])) @ WEIGHTS,
    ),
    "bounds per channel of scaled sums": (
        (
            quant(8),
            node("Mul", "q", "two", "m"),
            node("Sub", "m", "starts as reals", "s"),
            node("Max", "s", "fives", "r"),
            MULTIPLY,
        ),
        lambda x: np.maximum(2 * byte(x) - 6, [4.0, 6.0, 8.0]) @ WEIGHTS,
    ),
    "looked up": (
        (
            quant(8),
            node("Clip", "q", "zero", "two", "c"),
            node("Add", "c", "starts as numbers", "a"),
            node("Cast", "a", "i", to=TensorProto.INT64),
            node("Gather", "list", "i", "r"),
            MULTIPLY,
        ),
        lambda x: (
            np.array(CONSTANTS["list"])[np.clip(byte(x), 0, 2).astype(int) + STARTS] @ WEIGHTS
        ),
    ),
    "looked up, quarters": (
        (
            quant(8),
            node("Clip", "q", "zero", "five", "c"),
            node("Cast", "c", "i", to=TensorProto.INT32),
            node("Gather", "other list", "i", "r"),
            MULTIPLY,
        ),
        lambda x: np.array(CONSTANTS["other list"])[np.clip(byte(x), 0, 5).astype(int)] @ WEIGHTS,
    ),
}
CONSTANTS |= {
    "starts as reals": [6.0, 6.0, 6.0],
    "fives": [4.0, 6.0, 8.0],
    "starts as numbers": STARTS,
}


@pytest.mark.parametrize("name", MEANINGS)
def test_meaning(name: str, tmp_path: Path):
    nodes, meaning = MEANINGS[name]
    program = taken(tmp_path, *nodes)
    np.testing.assert_array_equal(
        program.answer(program(program.accept(REALS.astype(np.float32)))), meaning(REALS)
    )


REFUSALS: dict[str, tuple[tuple[NodeProto, ...], str]] = {
    "one side of a sign": (
        (
            node("Relu", "x", "p"),
            helper.make_node("BipolarQuant", ["p", "one"], ["r"], domain=QONNX),
            MULTIPLY,
        ),
        (
            "the graph's input is quantised, but a bound before it leaves one of its two values "
            "only; quantise it first, by a positive scale"
        ),
    ),
    "looked up beyond the list": (
        (
            quant(8),
            node("Cast", "q", "i", to=TensorProto.INT64),
            node("Gather", "list", "i", "r"),
            MULTIPLY,
        ),
        "(Gather): places of 0..255 are not all whole numbers in 0..5; clip them before it",
    ),
    "rows looked up": (
        (
            quant(8),
            node("Clip", "q", "zero", "two", "c"),
            node("Cast", "c", "i", to=TensorProto.INT64),
            node("Gather", "weights", "i", "y"),
        ),
        (
            "(Gather): it picks rows of shape (3, 2) along axis 0 by places that depend on the "
            "input, and hardware looks single values up; give a list of numbers"
        ),
    ),
    "bound of another shape": (
        (quant(8), node("Max", "q", "list", "r"), MULTIPLY),
        "(Max): a constant of shape (6,) does not broadcast against (1, 3); reshape it",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str, tmp_path: Path):
    nodes, sentence = REFUSALS[name]
    with pytest.raises(ProgramError) as refusal:
        taken(tmp_path, *nodes)
    assert sentence in str(refusal.value)


SHAPE = (2, 3, 4)
EVERY = [
    ("ReduceSum", (1,), np.sum),
    ("ReduceMax", (2,), np.max),
    ("ReduceMax", (-1,), np.max),
    ("ReduceMean", (1,), np.mean),
    ("ReduceSum", (1, 2, 3), np.sum),
    ("ReduceSum", (2, 3), np.sum),
]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(("op", "axes", "meaning"), EVERY)
def test_reduction(op: str, axes: tuple[int, ...], meaning: Callable, keep: int, tmp_path: Path):
    program = taken(
        tmp_path,
        quant(8),
        node("Flatten", "q", "f"),
        node("Reshape", "f", "image", "i"),
        node(op, "i", "y", axes=axes, keepdims=keep),
        shape=SHAPE,
    )
    x = np.random.default_rng(0).integers(0, 256, (5, *SHAPE)).astype(np.float32)
    wanted = meaning(x, axis=axes, keepdims=bool(keep))
    np.testing.assert_allclose(program.answer(program(program.accept(x))), wanted, rtol=1e-12)
