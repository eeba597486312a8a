"""The QONNX graph of a program in the making, and the two questions asked of each operator.

`write` appends the nodes that compute an operator; `absorbs` says whether it is written as one with
the operator before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, singledispatch
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ...fixed import Grid, Ints, ProgramError
from ...program import INPUT, Edge, Node, Op, Program
from ...rounding import HALF_EVEN

DOMAIN = "qonnx.custom_op.general"
OPSETS = {"": 11, DOMAIN: 1}
IR_VERSION = 6
"""The one that came with opset 11."""
CUSTOM = {"Quant", "BipolarQuant", "MultiThreshold"}


FLOAT, DOUBLE = int(TensorProto.FLOAT), int(TensorProto.DOUBLE)
INT64 = int(TensorProto.INT64)
EXACT = {FLOAT: 24, DOUBLE: 53}
"""Integers of up to so many bits, beside the sign, are exact in these types."""
Array = NDArray[Any]
INPUT_TENSOR = ""
"""What `Draft.tensors` calls the graph's own input; no node has this name."""


@singledispatch
def write(op: Op, draft: Draft, node: Node) -> str:
    """Append the ONNX nodes that compute `op`; return the tensor of the edge that `node` feeds."""
    raise ProgramError(
        f"node {node.name!r}: {type(op).__name__} has no form in QONNX; register one with "
        "export.write.register, or express it by other operators"
    )


@singledispatch
def absorbs(op: Op, program: Program, before: Node) -> bool:
    """Whether `op` and the node whose edge it reads are written as one."""
    return False


def tensor_order(shape: Sequence[int]) -> tuple[int, ...]:
    """The order in which a tensor holds the axes of an edge: channels first."""
    return (len(shape) - 1, *range(len(shape) - 1))


def laid_out(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of an edge's tensor, without the batch: (C,) or (C, H, W)."""
    if len(shape) == 1:
        return (shape[0],)
    return shape[-1], prod(shape[:-2]), shape[-2]


def aligned(values: Array, shape: Sequence[int]) -> Array:
    """One value per channel of an edge of `shape`, or one for all, against the edge's tensor."""
    if (values == values[0]).all():
        return values[0]
    return values if len(shape) == 1 else values.reshape(-1, 1, 1)


@dataclass(eq=False)
class Draft:
    """The ONNX graph of `program` as far as it is written.

    `tensors` names the tensor of each edge that has one; `here` is the node being written, after
    which new tensors are named.
    """

    program: Program
    tensors: dict[str, str] = field(default_factory=dict[str, str])
    here: str = INPUT
    nodes: list[NodeProto] = field(default_factory=list[NodeProto])
    constants: dict[tuple[object, ...], TensorProto] = field(
        default_factory=dict[tuple[object, ...], TensorProto]
    )
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    infos: dict[str, ValueInfoProto] = field(default_factory=dict[str, ValueInfoProto])
    names: set[str] = field(default_factory=set[str])

    @cached_property
    def node(self) -> dict[str, Node]:
        """The program's nodes by name."""
        return {node.name: node for node in self.program.nodes}

    def absorbed(self, node: Node) -> Node | None:
        """The node whose edge `node` reads, if both are written as one."""
        before = self.node.get(node.inputs[0])
        return before if before and absorbs(node.op, self.program, before) else None

    def edge(self, node: Node) -> Edge:
        """The first edge that a node reads."""
        return self.program.edges[node.inputs[0]]

    def source(self, node: Node) -> str:
        """The tensor of that edge."""
        return self.tensors[node.inputs[0]]

    def shape(self, node: Node) -> tuple[int, ...]:
        """The shape, without the batch, of the tensor that a node feeds."""
        return laid_out(self.program.edges[node.name].shape)

    def tensor(
        self, label: str, shape: tuple[int, ...], kind: int = FLOAT, batch: tuple[int, ...] = (1,)
    ) -> str:
        """Name a new tensor of shape (*batch, *shape)."""
        name = self._new(label)
        self.shapes[name], self.kinds[name] = shape, kind
        self.infos[name] = helper.make_tensor_value_info(name, kind, (*batch, *shape))
        return name

    def _new(self, label: str) -> str:
        name, number = f"{self.here}.{label}", 1
        while name in self.names:
            number += 1
            name = f"{self.here}.{label}{number}"
        self.names.add(name)
        return name

    def emit(
        self,
        op: str,
        *inputs: str,
        shape: tuple[int, ...] = (),
        kind: int = 0,
        **attributes: Any,
    ) -> str:
        """Append a node; return its result, of the first input's shape and type unless told."""
        first = inputs[0]
        result = self.tensor(op, shape or self.shapes[first], kind or self.kinds[first])
        self.append(op, inputs, [result], **attributes)
        return result

    def append(self, op: str, inputs: Sequence[str], results: list[str], **attributes: Any) -> None:
        """Append a node whose results are named already."""
        domain = DOMAIN if op in CUSTOM else ""
        self.nodes.append(
            helper.make_node(op, inputs, results, name=results[0], domain=domain, **attributes)
        )

    def constant(self, values: object, kind: type = np.float32) -> str:
        """Name a constant, each kept once."""
        array = np.asarray(values, kind)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, self._new("constant"))
        return self.constants[key].name

    def indices(self, values: Sequence[int]) -> str:
        """Name a constant list of integers."""
        return self.constant(values, np.int64)

    def weights(self, values: Ints, grid: Grid) -> str:
        """Name weights, their bit width visible as that of a quantiser which changes nothing."""
        result = self.tensor("weights", values.shape, batch=())
        self._quantise(self.constant(values), result, grid, self.constant(1), HALF_EVEN)
        return result

    def quantised(self, x: str, grid: Grid, scale: object = 1, rounding: str = HALF_EVEN) -> str:
        """Name values rounded to multiples of `scale` by integers that hold `grid`."""
        result = self.tensor("Quant", self.shapes[x])
        self._quantise(x, result, grid, self.constant(scale), rounding)
        return result

    def _quantise(self, x: str, result: str, grid: Grid, scale: str, rounding: str) -> None:
        if grid.bipolar:
            self.append("BipolarQuant", [x, scale], [result])
            return
        bits, narrow = width_of(grid)
        self.append(
            "Quant",
            [x, scale, self.constant(0), self.constant(bits)],
            [result],
            signed=int(grid.signed),
            narrow=int(narrow),
            rounding_mode="ROUND" if rounding == HALF_EVEN else rounding.upper(),
        )

    def affine(self, x: str, factors: Array, shifts: Array, shape: Sequence[int]) -> str:
        """Name x * factors + shifts, one of each per channel of an edge of `shape`."""
        kind = np.float64 if self.kinds[x] == DOUBLE else np.float32
        if (factors != 1).any():
            x = self.emit("Mul", x, self.constant(aligned(factors, shape), kind))
        if (shifts != 0).any():
            x = self.emit("Add", x, self.constant(aligned(shifts, shape), kind))
        return x

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Name the same values in the same order under another shape."""
        if self.shapes[x] == tuple(shape):
            return x
        target = self.indices((0, *shape))  # 0 keeps the batch
        return self.emit("Reshape", x, target, shape=tuple(shape))

    def cast(self, x: str, kind: int) -> str:
        """Name the same values in another type."""
        return x if self.kinds[x] == kind else self.emit("Cast", x, kind=kind, to=kind)

    def move(self, x: str, apart: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> str:
        """Name x, seen as `apart`, with its axes in another order, then seen as `shape`."""
        long = [axis for axis in order if apart[axis] > 1]
        if long != sorted(long):
            turned = tuple(apart[axis] for axis in order)
            permutation = (0, *(1 + axis for axis in order))
            x = self.reshape(x, apart)
            x = self.emit("Transpose", x, shape=turned, perm=permutation)
        return self.reshape(x, shape)

    def model(self, output: str) -> ModelProto:
        """Return the finished model; `output` is the tensor that it answers with."""
        infos = dict(self.infos)
        first, last = infos.pop(self.tensors[INPUT_TENSOR]), infos.pop(output)
        graph = helper.make_graph(
            self.nodes, self.program.name, [first], [last], list(self.constants.values())
        )
        graph.value_info.extend(infos.values())
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return helper.make_model(
            graph, producer_name="bitwright", ir_version=IR_VERSION, opset_imports=opsets
        )


def width_of(grid: Grid) -> tuple[int, bool]:
    """The bits of a quantiser that holds `grid`, and whether it may leave out the lowest value."""
    # To QONNX one signed bit is -1 or +1; -1 or 0 takes two.
    bits = max(2, grid.bits) if grid.signed else grid.bits
    return bits, grid.signed and grid.lo > -(1 << (bits - 1))


def datatype(grid: Grid) -> str:
    """QONNX's name of the type that holds `grid`."""
    return "BIPOLAR" if grid.bipolar else f"{'INT' if grid.signed else 'UINT'}{width_of(grid)[0]}"


def bits_of(bounds: Sequence[int]) -> int:
    """The bits, beside the sign, of integers up to the bounds."""
    return max(abs(bound) for bound in bounds).bit_length()


def check_exact(where: str, what: str, bounds: Sequence[int], kind: int = FLOAT) -> None:
    """Raise unless a type holds every integer up to the bounds."""
    if bits_of(bounds) > EXACT[kind]:
        name = "float32" if kind == FLOAT else "float64"
        raise ProgramError(
            f"{where}: {what} take {bits_of(bounds)} bits beside the sign, and {name} is exact "
            f"up to {EXACT[kind]}; use narrower weights or inputs"
        )


def largest(edge: Edge) -> Ints:
    """The largest magnitude of each channel."""
    return np.maximum(np.abs(edge.lo), np.abs(edge.hi))
