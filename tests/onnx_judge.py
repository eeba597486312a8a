"""What the tests of the ONNX importer share: small graphs, and whether a program equals the oracle.

The judge never looks at floats: a program's integers become exact numbers by its border, and the
oracle gives such.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from onnx_build import QONNX, Array, Builder
from onnx_exact import Exact
from onnx_oracle import run, run_in_units

from bitwright.models.onnx.load import Imported, imported
from bitwright.models.onnx.read import parse
from bitwright.models.program import Program
from bitwright.sim import kernels

KINDS = {
    "float32": TensorProto.FLOAT,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
}


class Graph(Builder):
    """Small graphs of one operator or few, at any opset, whose result is named `y`.

    `x` is the input; where its type is an integer one, `start` dequantises it.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        kind: str = "int8",
        opset: int = 17,
        batch: int | str = "N",
        seed: int = 0,
    ):
        super().__init__(shape, seed, kind)
        self.opset, self.batch = opset, batch

    def start(self, scale: float = 1 / 16, zero: int = 0) -> str:
        """The input as reals; floats are quantised to 8 bits first."""
        dtype = "int8" if self.kind == "float32" else self.kind
        step, point = self.constant(scale), self.constant(zero, np.dtype(dtype))
        x = "x"
        if self.kind == "float32":
            x = self.node("QuantizeLinear", x, step, point)
        return self.node("DequantizeLinear", x, step, point)

    def several(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node of several outputs; those that nobody reads may stay."""
        name = f"t{len(self.nodes)}"
        names = [f"{name}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, f"n{name}", **attributes))
        return names

    def ints(self, *values: int) -> str:
        """A constant list of int64."""
        return self.constant(values, np.int64)

    def quant(
        self, x: str, scale: Any = 0.25, bits: int = 8, zero: Any = 0, **attributes: Any
    ) -> str:
        """A QONNX quantiser."""
        parts = [self.constant(value) for value in (scale, zero, bits)]
        given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | attributes
        return self.node("Quant", x, *parts, domain=QONNX, **given)

    def finished(
        self, output: str, kind: int = TensorProto.FLOAT, known: bool = True
    ) -> ModelProto:
        """The model whose output is this tensor; `known` says that the oracle knows its shape."""
        for node in self.nodes:
            node.output[:] = ["y" if name == output else name for name in node.output]
            node.input[:] = ["y" if name == output else name for name in node.input]
        model = self._model("y", kind)
        sizes = self.look("y").shape[1:] if known else ()
        stated = helper.make_tensor_value_info("y", kind, [self.batch, *sizes])
        model.graph.output[0].CopyFrom(stated)
        return model

    def look(self, tensor: str, frames: int = 1, seed: int = 0) -> Array:
        """What a tensor is so far, by the oracle, for some inputs; zeros for a single frame."""
        model = self._model(tensor, TensorProto.FLOAT)
        if isinstance(self.batch, int):
            frames = self.batch * -(-frames // self.batch)
        if frames < 4:
            return run(model, np.zeros((frames, *self.shape), self.kind))
        return run(model, inputs(model, frames, seed))

    def _model(self, output: str, kind: int) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", KINDS[self.kind], [self.batch, *self.shape])],
            [helper.make_tensor_value_info(output, kind, None)],
            self.constants,
        )
        imports = [helper.make_opsetid("", self.opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in sorted(self.domains - {""})]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


def taken(model: ModelProto, name: str = "model") -> Imported:
    """What the importer makes of a model."""
    return imported(parse(model.SerializeToString()), name)


def program_of(model: ModelProto, name: str = "model") -> Program:
    """The program of a model that must be taken."""
    found = taken(model, name)
    assert not found.obstacles, found.obstacles[0]
    assert found.program is not None
    assert found.program.name == name
    return found.program


def refusal(model: ModelProto) -> str:
    """The first obstacle of a model that must be refused."""
    try:
        found = taken(model)
    except ValueError as error:
        return str(error)
    assert found.program is None
    return found.obstacles[0]


def reals(program: Program, integers: Array) -> Exact:
    """A program's outputs in real numbers, in the model's own layout, before the host's finish."""
    border = program.output_border
    unit = Fraction(1, lcm(*(one.denominator for one in (*border.scale, *border.offset))))
    scale, offset = (
        np.array([int(one / unit) for one in ends], object)
        for ends in (border.scale, border.offset)
    )
    return Exact(border.outward(integers.astype(object) * scale + offset, program.output), unit)


def differing(program: Program, model: ModelProto, x: Array) -> int:
    """How many values of the kernels' answer differ from the oracle's; the shape must not."""
    got = reals(program, kernels.run(program, program.accept(x)))
    return int(got.differs(run_in_units(model, x)).sum())


def assert_exact(program: Program, model: ModelProto, x: Array, defined: int = 4) -> None:
    """The kernels equal the oracle in every value, and the definition equals the kernels."""
    integers = program.accept(x)
    got = kernels.run(program, integers)
    np.testing.assert_array_equal(program(integers[:defined]), got[:defined])
    ours, wanted = reals(program, got), run_in_units(model, x)
    wrong = np.argwhere(ours.differs(wanted))
    assert not len(wrong), (
        f"{len(wrong)} of {wanted.count.size} differ, first at {wrong[0].tolist()}: "
        f"{ours.array()[tuple(wrong[0])]} for {wanted.array()[tuple(wrong[0])]}"
    )


def inputs(model: ModelProto, number: int = 12, seed: int = 0, step: float = 1 / 16) -> Array:
    """Frames for a model: random ones, the extremes, zeros, and for floats ties of `step`."""
    kind = model.graph.input[0].type.tensor_type
    shape = (number, *(dim.dim_value for dim in kind.shape.dim[1:]))
    random = np.random.default_rng(seed)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        x = random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        low, high = info.min, info.max
    else:
        x = random.normal(0, 60 * step, shape).astype(dtype)
        x[number // 2 :] = random.integers(-300, 300, x[number // 2 :].shape) * step / 2
        low, high = -1e4, 1e4
    x[0], x[1], x[2] = low, high, 0
    x[3] = np.where(random.integers(0, 2, shape[1:]) > 0, low, high)
    return x
