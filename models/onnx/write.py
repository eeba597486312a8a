"""An integer program as a QONNX graph: for others to read, to run, and to check us by.

The graph takes and gives real numbers in the program's own scales and layouts, with a batch of 1
that nothing but the declared shapes depends on.  Inside, float32 tensors carry the program's
integers at a scale of 1: (1, C) for one axis, otherwise (1, C, H, W), channels first.  Every
integer that a runtime can meet, partial sums in any order included, fits the 24 bits that float32
holds exactly (products before rounding may take float64), so that the graph computes what the
program computes; a program that needs more is refused.  At the input, what stands for an integer
of the program's range becomes that integer; numbers between are rounded as the border says, by
float32.

Standard operators are those of opset 11, which QONNX prefers, the others those of its own domain.
A `Window`, and a `Reshape` that only flattens, is written as one with the operator that reads it
where there is a form for both (`absorbs`), otherwise by itself.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, singledispatch
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ..border import Border
from ..fixed import Grid, Ints, ProgramError
from ..ops import (
    Add,
    Concatenate,
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SumPool,
    Table,
    Thresholds,
    TopK,
    Window,
)
from ..program import INPUT, Edge, Node, Op, Program
from ..rounding import HALF_EVEN

DOMAIN = "qonnx.custom_op.general"
OPSETS = {"": 11, DOMAIN: 1}
IR_VERSION = 6
"""The one that came with opset 11."""
CUSTOM = {"Quant", "BipolarQuant", "MultiThreshold"}
RANGE_BITS = 96
"""Real numbers at the borders lie within this power of two: times any integer they are finite."""
LEVELS_MAX = 255
"""Most thresholds of a channel made from something else than thresholds."""
FINISHES = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
}

FLOAT, DOUBLE = int(TensorProto.FLOAT), int(TensorProto.DOUBLE)
INT64 = int(TensorProto.INT64)
EXACT = {FLOAT: 24, DOUBLE: 53}
"""Integers of up to so many bits, beside the sign, are exact in these types."""
Array = NDArray[Any]


def export(program: Program) -> ModelProto:
    """Return the program as a QONNX model; ProgramError where float32 cannot compute it exactly."""
    for name, edge in program.edges.items():
        where = "the input" if name == INPUT else f"node {name!r}"
        _check_exact(where, "its values", (*edge.lo.tolist(), *edge.hi.tolist()))
    draft = Draft(program)
    draft.tensors[INPUT] = _inward(draft)
    for node in program.nodes:
        readers = [draft.node[name] for name, _ in program.consumers[node.name]]
        if not readers or any(draft.absorbed(reader) is not node for reader in readers):
            draft.here = node.name
            draft.tensors[node.name] = write(node.op, draft, node)
    return draft.model(_outward(draft))


def save(program: Program, path: str | Path) -> None:
    """Write the program as a QONNX file: completely or not at all; the same program, same bytes."""
    data = export(program).SerializeToString(deterministic=True)
    path = Path(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with beside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProgramError(
            f"{path} cannot be written ({reason}); choose another place or free some space"
        ) from None


# The graph in the making.


def _order(shape: Sequence[int]) -> tuple[int, ...]:
    """The order in which a tensor holds the axes of an edge: channels first."""
    return (len(shape) - 1, *range(len(shape) - 1))


def _laid_out(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of an edge's tensor, without the batch: (C,) or (C, H, W)."""
    if len(shape) == 1:
        return (shape[0],)
    return shape[-1], prod(shape[:-2]), shape[-2]


def _aligned(values: Array, shape: Sequence[int]) -> Array:
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
        return _laid_out(self.program.edges[node.name].shape)

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
        bits, narrow = _width(grid)
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
            x = self.emit("Mul", x, self.constant(_aligned(factors, shape), kind))
        if (shifts != 0).any():
            x = self.emit("Add", x, self.constant(_aligned(shifts, shape), kind))
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


INPUT_TENSOR = ""
"""What `Draft.tensors` calls the graph's own input; no node has this name."""


def _width(grid: Grid) -> tuple[int, bool]:
    """The bits of a quantiser that holds `grid`, and whether it may leave out the lowest value."""
    # To QONNX one signed bit is -1 or +1; -1 or 0 takes two.
    bits = max(2, grid.bits) if grid.signed else grid.bits
    return bits, grid.signed and grid.lo > -(1 << (bits - 1))


def _datatype(grid: Grid) -> str:
    """QONNX's name of the type that holds `grid`."""
    return "BIPOLAR" if grid.bipolar else f"{'INT' if grid.signed else 'UINT'}{_width(grid)[0]}"


def _bits(bounds: Sequence[int]) -> int:
    """The bits, beside the sign, of integers up to the bounds."""
    return max(abs(bound) for bound in bounds).bit_length()


def _check_exact(where: str, what: str, bounds: Sequence[int], kind: int = FLOAT) -> None:
    """Raise unless a type holds every integer up to the bounds."""
    if _bits(bounds) > EXACT[kind]:
        name = "float32" if kind == FLOAT else "float64"
        raise ProgramError(
            f"{where}: {what} take {_bits(bounds)} bits beside the sign, and {name} is exact up to "
            f"{EXACT[kind]}; use narrower weights or inputs"
        )


# The borders.


def _inward(draft: Draft) -> str:
    """The input's integers, from real numbers in the model's own layout."""
    edge, border = draft.program.input, draft.program.input_border
    draft.here = "graph"
    x = draft.tensors[INPUT_TENSOR] = draft.tensor(INPUT, border.own_shape(edge))
    draft.here = INPUT
    one_for_all = len({*border.scale}) == len({*border.offset}) == 1 and _uniform(edge)
    if one_for_all:
        x = _integers(draft, x, edge, border)
    axes = border.axes or tuple(range(len(edge.shape)))
    apart = [edge.shape[axis] for axis in axes]
    order = [axes.index(axis) for axis in _order(edge.shape)]
    x = draft.move(x, apart, order, _laid_out(edge.shape))
    return x if one_for_all else _integers(draft, x, edge, border)


def _uniform(edge: Edge) -> bool:
    """True if all channels have one range."""
    return bool((edge.lo == edge.grid.lo).all() and (edge.hi == edge.grid.hi).all())


def _integers(draft: Draft, x: str, edge: Edge, border: Border) -> str:
    """Real numbers, rounded and clamped to the integers that they stand for."""
    scale, offset = (_floats(values, edge) for values in (border.scale, border.offset))
    _check_input(edge, border, scale, offset)
    if offset.any():
        x = draft.emit("Sub", x, draft.constant(_aligned(offset, edge.shape)))
    step = _aligned(scale, edge.shape)
    x = draft.quantised(x, edge.grid, step, border.rounding)
    if (scale != 1).any():
        x = draft.emit("Div", x, draft.constant(step))
        if not edge.grid.bipolar and (np.frexp(scale)[0] != 0.5).any():
            # (q * scale) / scale misses q by a bit now and then, but for powers of two.
            x = draft.quantised(x, edge.grid)
    return x if edge.grid.bipolar else _clamped(draft, x, edge)


def _clamped(draft: Draft, x: str, edge: Edge) -> str:
    """Values of a quantiser that is wider than the edge, clamped to it."""
    bits, narrow = _width(edge.grid)
    top = (1 << (bits - edge.grid.signed)) - 1
    bottom = narrow - top - 1 if edge.grid.signed else 0
    if (edge.lo == bottom).all() and (edge.hi == top).all():
        return x
    lo, hi = (draft.constant(_aligned(bound, edge.shape)) for bound in (edge.lo, edge.hi))
    if _uniform(edge):
        return draft.emit("Clip", x, lo, hi)
    return draft.emit("Min", draft.emit("Max", x, lo), hi)


def _floats(values: Sequence[Fraction], edge: Edge) -> NDArray[np.float32]:
    """One float32 per channel; refused where it, or it times an integer, is beyond float32."""
    for value in values:
        if value and not 2**-RANGE_BITS <= abs(value) <= 2**RANGE_BITS:
            raise ProgramError(
                f"a scale or offset at the border is about 2**{_exponent(value)}, and from "
                f"2**-{RANGE_BITS} to 2**{RANGE_BITS} float32 is safe; rescale the model"
            )
    return np.broadcast_to(np.array([float(value) for value in values], np.float32), edge.channels)


def _exponent(value: Fraction) -> int:
    return value.numerator.bit_length() - value.denominator.bit_length()


_DIRECTED: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "down": np.trunc,
    "up": lambda values: np.sign(values) * np.ceil(np.abs(values)),
}
"""How values within a bit of an integer are rounded; by every other mode to that integer."""


def _check_input(
    edge: Edge, border: Border, scale: NDArray[np.float32], offset: NDArray[np.float32]
) -> None:
    """Raise unless float32 finds every integer of the input again where its real value stands."""
    grid, mode = edge.grid, border.rounding
    values = np.arange(grid.lo, grid.hi + 1, grid.step)
    exact = {
        (unit, shift): (a, b)
        for unit, shift, a, b in zip(
            np.broadcast_to(np.array(border.scale, object), edge.channels),
            np.broadcast_to(np.array(border.offset, object), edge.channels),
            scale,
            offset,
            strict=True,
        )
    }
    for (unit, shift), (a, b) in exact.items():
        reals = Border((unit,), (shift,)).real(values).astype(np.float32)
        steps = (reals - b) / a
        found = _DIRECTED.get(mode, np.rint)(steps)
        found = np.where(steps >= 0, 1, -1) if grid.bipolar else np.rint(found * a / a)
        if (found != values).any():
            raise ProgramError(
                f"the input's scale {unit} and offset {shift}, rounded by {mode}, do not keep "
                f"all integers of {grid.lo}..{grid.hi} apart in float32; choose a power of two as "
                "scale, a small multiple of it as offset, or rounding to the nearest"
            )


def _outward(draft: Draft) -> str:
    """The answer in the output's own scale and layout."""
    edge, border = draft.program.output, draft.program.output_border
    x = draft.tensors[draft.program.nodes[-1].name]
    x = draft.affine(x, _floats(border.scale, edge), _floats(border.offset, edge), edge.shape)
    axes, order = border.axes or tuple(range(len(edge.shape))), _order(edge.shape)
    apart = [edge.shape[axis] for axis in order]
    x = draft.move(x, apart, [order.index(axis) for axis in axes], border.own_shape(edge))
    if not border.finish:
        return x
    over: dict[str, Any] = {"axis": -1} if "softmax" in border.finish else {}
    return draft.emit(FINISHES[border.finish], x, **over)


# Operators: each appends what computes it and returns the tensor of its edge.


@singledispatch
def write(op: Op, draft: Draft, node: Node) -> str:
    """Append the ONNX nodes that compute `op`; return the tensor of the edge that `node` feeds."""
    raise ProgramError(
        f"node {node.name!r}: {type(op).__name__} has no form in QONNX; register one with "
        "write.register, or express it by other operators"
    )


@singledispatch
def absorbs(op: Op, program: Program, before: Node) -> bool:
    """Whether `op` and the node whose edge it reads are written as one."""
    return False


@absorbs.register
def _(op: Dot, program: Program, before: Node) -> bool:
    if isinstance(before.op, Reshape):
        return len(before.op.shape) == 1 and len(program.edges[before.inputs[0]].shape) == 3
    return isinstance(before.op, Window)


@absorbs.register
def _(op: DepthwiseDot, program: Program, before: Node) -> bool:
    return isinstance(before.op, Window) and prod(before.op.kernel) == op.weights.shape[1]


@absorbs.register(MaxPool)
@absorbs.register(SumPool)
def _(op: MaxPool | SumPool, program: Program, before: Node) -> bool:
    if isinstance(before.op, Reshape):
        image = program.edges[before.inputs[0]].shape
        whole = len(image) == 3 and prod(image[:2]) == op.size
        return whole and before.op.shape == (1, 1, prod(image))
    return isinstance(before.op, Window) and prod(before.op.kernel) == op.size


@write.register
def _(op: Dot, draft: Draft, node: Node) -> str:
    edge, before = draft.edge(node), draft.absorbed(node)
    _check_sums(node, np.abs(op.weights) @ _largest(edge))
    if len(edge.shape) > 1:
        kernel = before.op.kernel if before and isinstance(before.op, Window) else (1, 1)
        filters = op.weights.reshape(len(op.weights), *kernel, -1).transpose(0, 3, 1, 2)
        return _convolution(draft, node, filters, op.grid)
    x, rows = draft.source(before or node), op.weights
    if before:
        height, width, channels = draft.edge(before).shape
        rows = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        rows = rows.reshape(len(rows), -1)
        x = draft.emit("Flatten", x, shape=edge.shape, axis=1)
    return draft.emit("MatMul", x, draft.weights(rows.T, op.grid), shape=draft.shape(node))


@write.register
def _(op: DepthwiseDot, draft: Draft, node: Node) -> str:
    channels, taps = op.weights.shape
    _check_sums(node, (np.abs(op.weights).T * _largest(draft.edge(node)).reshape(taps, -1)).sum(0))
    before = draft.absorbed(node)
    if before and isinstance(before.op, Window):
        filters = op.weights.reshape(channels, 1, *before.op.kernel)
        return _convolution(draft, node, filters, op.grid, channels)
    factors = op.weights.T.ravel()
    if len(draft.edge(node).shape) > 1:
        factors = factors.reshape(-1, 1, 1)
    x = draft.emit("Mul", draft.source(node), draft.weights(factors, op.grid))
    return _reduced(draft, node, x, "ReduceSum", taps)


def _largest(edge: Edge) -> Ints:
    """The largest magnitude of each channel."""
    return np.maximum(np.abs(edge.lo), np.abs(edge.hi))


def _check_sums(node: Node, bounds: Ints) -> None:
    """Raise unless sums whose terms' magnitudes add up to the bounds are exact in any order."""
    _check_exact(f"node {node.name!r}", "its sums", bounds.tolist())


def _convolution(draft: Draft, node: Node, filters: Ints, grid: Grid, groups: int = 1) -> str:
    """A convolution over the window before a node, or over single positions."""
    before = draft.absorbed(node)
    window = before.op if before and isinstance(before.op, Window) else Window((1, 1))
    x, pads = _cropped(draft, before or node, window)
    if window.pad:
        x, pads = _padded(draft, x, pads, window.pad), (0, 0, 0, 0)
    return draft.emit(
        "Conv",
        x,
        draft.weights(filters, grid),
        shape=draft.shape(node),
        group=groups,
        **_attributes(window, pads),
    )


def _attributes(window: Window, pads: tuple[int, ...]) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": pads,
    }


def _cropped(draft: Draft, node: Node, window: Window) -> tuple[str, tuple[int, ...]]:
    """What a window at `node` slides over, but for the padding, and that padding."""
    x = draft.source(node)
    channels, height, width = draft.shapes[x]
    if window.repeats:
        height, width = height * window.repeat[0], width * window.repeat[1]
        x = draft.emit(
            "Resize",
            x,
            draft.constant(()),
            draft.constant((1, 1, *window.repeat)),
            shape=(channels, height, width),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    pads = tuple(max(0, side) for side in window.padding)
    top, left, bottom, right = (max(0, -side) for side in window.padding)
    if top + bottom >= height or left + right >= width:
        # Nothing but padding on the other side is left, and QONNX has no empty tensors.
        x, pads = _padded(draft, x, pads, window.pad), (0, 0, 0, 0)
        _, height, width = draft.shapes[x]
    return _slice(draft, x, (top, left), (height - bottom, width - right), (1, 1)), pads


def _slice(
    draft: Draft, x: str, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> str:
    """Some rows and columns of an image."""
    channels, *size = draft.shapes[x]
    if (*starts, *ends, *steps) == (0, 0, *size, 1, 1):
        return x
    shape = (-(-(z - a) // s) for a, z, s in zip(starts, ends, steps, strict=True))
    parts = (draft.indices(part) for part in (starts, ends, (2, 3), steps))
    return draft.emit("Slice", x, *parts, shape=(channels, *shape))


def _padded(draft: Draft, x: str, pads: tuple[int, ...], value: int) -> str:
    """An image with rows and columns of `value` around it."""
    if not any(pads):
        return x
    channels, height, width = draft.shapes[x]
    top, left, bottom, right = pads
    around = draft.indices((0, 0, top, left, 0, 0, bottom, right))
    shape = (channels, height + top + bottom, width + left + right)
    return draft.emit("Pad", x, around, draft.constant(value), shape=shape, mode="constant")


@write.register
def _(op: Window, draft: Draft, node: Node) -> str:
    x, pads = _cropped(draft, node, op)
    x = _padded(draft, x, pads, op.pad)
    size = draft.program.edges[node.name].shape[:2]
    reach = [(positions - 1) * step + 1 for positions, step in zip(size, op.stride, strict=True)]
    taps: list[str] = []
    for tap in np.ndindex(op.kernel):
        first = [k * step for k, step in zip(tap, op.dilation, strict=True)]
        ends = [a + long for a, long in zip(first, reach, strict=True)]
        taps.append(_slice(draft, x, first, ends, op.stride))
    shape = draft.shape(node)
    return draft.emit("Concat", *taps, shape=shape, axis=1) if len(taps) > 1 else taps[0]


@write.register
def _(op: MaxPool, draft: Draft, node: Node) -> str:
    before = draft.absorbed(node)
    if not before or not isinstance(before.op, Window):
        return _pooled(draft, node, "ReduceMax", op.size)
    window = before.op
    x, pads = _cropped(draft, before, window)
    if any(pads) and not _pads_unseen(window, draft.edge(before), pads):
        x, pads = _padded(draft, x, pads, window.pad), (0, 0, 0, 0)
    shape = draft.shape(node)
    return draft.emit("MaxPool", x, shape=shape, **_attributes(window, pads))


def _pads_unseen(window: Window, edge: Edge, pads: tuple[int, ...]) -> bool:
    """True if no padding is ever the largest value: ONNX pads with what is below all values."""
    height, width, _ = edge.shape
    iy, ix = window.rows(height), window.columns(width)
    rows, columns = (iy >= 0) & (iy < height), (ix >= 0) & (ix < width)
    among_values = bool(rows.any(1).all() and columns.any(1).all())
    narrow = all(pad < size for pad, size in zip(pads, window.kernel * 2, strict=True))
    return narrow and among_values and window.pad <= int(edge.lo.min())


@write.register
def _(op: SumPool, draft: Draft, node: Node) -> str:
    largest = _largest(draft.edge(node)).reshape(op.size, -1)
    _check_sums(node, largest.sum(0))
    before = draft.absorbed(node)
    if not before or not isinstance(before.op, Window):
        return _pooled(draft, node, "ReduceSum", op.size)
    channels = largest.shape[1]
    ones = np.ones((channels, 1, *before.op.kernel), np.int64)
    return _convolution(draft, node, ones, Grid(0, 1), channels)


def _pooled(draft: Draft, node: Node, reduce: str, taps: int) -> str:
    """A pool without a window: over a whole image, or over parts of the channels."""
    before = draft.absorbed(node)
    if not before:
        return _reduced(draft, node, draft.source(node), reduce, taps)
    x, shape = draft.source(before), draft.shape(node)
    return draft.emit(reduce, x, shape=shape, axes=(2, 3), keepdims=1)


def _reduced(draft: Draft, node: Node, x: str, reduce: str, taps: int) -> str:
    """The channels of x as taps of fewer channels, reduced over the taps."""
    channels, *image = draft.shapes[x]
    x = draft.reshape(x, (taps, channels // taps, *image))
    shape = draft.shape(node)
    return draft.emit(reduce, x, shape=shape, axes=(1,), keepdims=0)


@dataclass(frozen=True, eq=False)
class Staircase:
    """y = bias + scale * #{k : sign * x >= limits[k]}, for each channel; scales are not negative.

    What thresholds, requantisation and monotone tables have in common, as QONNX counts.
    """

    sign: Ints
    limits: Ints
    scale: Ints
    bias: Ints

    @property
    def grid(self) -> Grid:
        """The type that holds the results."""
        ends = self.bias + self.scale * self.limits.shape[1]
        lo, hi = int(self.bias.min()), int(ends.max())
        signs = bool(((self.bias == -1) & (ends == 1)).all()) and self.limits.shape[1] == 1
        return Grid(lo, hi, 2 if signs else 1)

    def append(self, draft: Draft, node: Node) -> str:
        """Append the nodes that compute it; one where all channels scale alike and none falls."""
        edge = draft.edge(node)
        ends = self.bias + self.scale * self.limits.shape[1]
        _check_exact(f"node {node.name!r}", "its levels", [*self.bias.tolist(), *ends.tolist()])
        x = draft.affine(draft.source(node), self.sign, np.zeros(1), edge.shape)
        alike = len({*self.scale.tolist()}) == len({*self.bias.tolist()}) == 1
        counted = self.grid if alike else Grid(0, self.limits.shape[1])
        x = draft.emit(
            "MultiThreshold",
            x,
            draft.constant(np.sort(self.limits, 1)),
            out_dtype=_datatype(counted),
            out_scale=float(self.scale[0]) if alike else 1.0,
            out_bias=float(self.bias[0]) if alike else 0.0,
            data_layout="NC" if len(edge.shape) == 1 else "NCHW",
        )
        return x if alike else draft.affine(x, self.scale, self.bias, edge.shape)


@write.register
def _(op: Thresholds, draft: Draft, node: Node) -> str:
    edge, falling = draft.edge(node), op.step < 0
    # A threshold below all values or above them need not be further away than that.
    limits = np.clip(op.thresholds, edge.lo[:, None], edge.hi[:, None] + 1)
    return Staircase(
        np.where(falling, -1, 1),
        np.where(falling[:, None], 1 - limits, limits),
        np.abs(op.step),
        op.offset + np.where(falling, op.step, 0) * limits.shape[1],
    ).append(draft, node)


@write.register
def _(op: Requantise, draft: Draft, node: Node) -> str:
    edge, grid = draft.edge(node), draft.program.edges[node.name].grid
    if grid.hi - grid.lo <= LEVELS_MAX:
        return _requantising_stairs(op, edge, grid).append(draft, node)
    x = _product(draft, node, op.multiplier, np.array(op.rounded_bias()))
    kind = np.float64 if draft.kinds[x] == DOUBLE else np.float32
    x = draft.emit("Floor", draft.emit("Mul", x, draft.constant(2.0**-op.shift, kind)))
    # Rounding to float32 takes nothing across a bound that float32 holds.
    x = draft.cast(x, FLOAT)
    return draft.emit("Clip", x, draft.constant(grid.lo), draft.constant(grid.hi))


def _product(draft: Draft, node: Node, factors: Ints, shifts: Ints) -> str:
    """What a node reads, times `factors` plus `shifts`: in float64 where float32 is not exact."""
    edge = draft.edge(node)
    largest = zip(_largest(edge).tolist(), factors.tolist(), shifts.tolist(), strict=True)
    bounds = [max(x, 1) * max(abs(m), 1) + abs(b) for x, m, b in largest]
    kind = FLOAT if _bits(bounds) <= EXACT[FLOAT] else DOUBLE
    _check_exact(f"node {node.name!r}", "its products", bounds, kind)
    return draft.affine(draft.cast(draft.source(node), kind), factors, shifts, edge.shape)


def _requantising_stairs(op: Requantise, edge: Edge, grid: Grid) -> Staircase:
    """A level for each result above the lowest: where the product before rounding reaches it."""
    rows: list[list[int]] = []
    signs = np.where(op.multiplier < 0, -1, 1)
    ends = (np.sort((edge.lo * signs, edge.hi * signs), 0)).T.tolist()
    channels = zip(ends, op.multiplier.tolist(), op.rounded_bias(), strict=True)
    for (lo, hi), multiplier, bias in channels:
        row = [hi + 1] if grid.lo == grid.hi else []  # one is needed, and this is never reached
        for level in range(grid.lo + 1, grid.hi + 1):
            least = (level << op.shift) - bias
            always = (lo, hi + 1)[least > 0]
            first = -(-least // abs(multiplier)) if multiplier else always
            row.append(min(max(first, lo), hi + 1))
        rows.append(row)
    one = np.ones_like(signs)
    return Staircase(signs, np.array(rows), one, grid.lo * one)


@write.register
def _(op: Scale, draft: Draft, node: Node) -> str:
    return draft.cast(_product(draft, node, op.multiplier, op.bias), FLOAT)


@write.register
def _(op: Table, draft: Draft, node: Node) -> str:
    edge = draft.edge(node)
    first, last = edge.grid.lo - op.lo, edge.grid.hi - op.lo
    values = np.broadcast_to(op.values, (edge.channels, op.values.shape[1]))[:, first : last + 1]
    jumps = np.diff(values, axis=1)
    rising, falling = np.maximum(jumps, 0), np.maximum(-jumps, 0)
    if max(int(rising.sum(1).max()), int(falling.sum(1).max())) > LEVELS_MAX:
        return _looked_up(op, draft, node)
    up = _stairs(rising, edge, values[:, 0]).append(draft, node)
    if not falling.any():
        return up
    return draft.emit("Sub", up, _stairs(falling, edge, 0 * values[:, 0]).append(draft, node))


def _stairs(jumps: Ints, edge: Edge, bias: Ints) -> Staircase:
    """Rises by jumps[c, i] from the i-th value of the range to the next."""
    count = max(1, int(jumps.sum(1).max()))
    never = edge.hi + 1
    places = np.arange(edge.grid.lo + 1, edge.grid.hi + 1)
    limits = np.tile(never[:, None], (1, count))
    for row, counts in zip(limits, jumps, strict=True):
        at = np.repeat(places, counts)
        row[: len(at)] = at
    one = np.ones_like(bias)
    return Staircase(one, limits, one, bias)


def _looked_up(op: Table, draft: Draft, node: Node) -> str:
    """A table as a list of all its rows, and the place in it of each value."""
    edge, (rows, entries) = draft.edge(node), op.values.shape
    starts = np.arange(rows) * entries - op.lo
    where = f"node {node.name!r}"
    _check_exact(where, "the places in its table", [*starts.tolist(), op.values.size])
    _check_exact(where, "the values of its table", op.values.ravel().tolist())
    x = draft.affine(draft.source(node), np.ones(1), starts, edge.shape)
    x, values = draft.cast(x, INT64), draft.constant(op.values.ravel())
    return draft.emit("Gather", values, x, shape=draft.shapes[x], kind=FLOAT, axis=0)


@write.register
def _(op: Add, draft: Draft, node: Node) -> str:
    return draft.emit("Add", *(draft.tensors[name] for name in node.inputs))


@write.register
def _(op: Concatenate, draft: Draft, node: Node) -> str:
    shape = draft.program.edges[node.name].shape
    parts = (draft.tensors[name] for name in node.inputs)
    return draft.emit("Concat", *parts, shape=_laid_out(shape), axis=1)


@write.register
def _(op: Select, draft: Draft, node: Node) -> str:
    shape = draft.program.edges[node.name].shape
    return draft.emit(
        "Gather",
        draft.source(node),
        draft.indices(op.channels.tolist()),
        shape=_laid_out(shape),
        axis=1,
    )


@write.register
def _(op: Reshape, draft: Draft, node: Node) -> str:
    shape = draft.edge(node).shape
    order = _order(shape)
    apart = [shape[axis] for axis in order]
    # In the order of the edge's values first, then as the new edge's tensor holds them.
    flat = draft.move(
        draft.source(node), apart, [order.index(k) for k in range(len(shape))], op.shape
    )
    return draft.move(flat, op.shape, _order(op.shape), _laid_out(op.shape))


@write.register
def _(op: TopK, draft: Draft, node: Node) -> str:
    x, shape = draft.source(node), draft.shape(node)
    if op.k == 1:
        places = draft.emit("ArgMax", x, shape=shape, kind=INT64, axis=1, keepdims=1)
    else:
        values, places = draft.tensor("TopK", shape), draft.tensor("places", shape, INT64)
        count = draft.indices((op.k,))
        draft.append("TopK", [x, count], [values, places], axis=1, largest=1, sorted=1)
    return draft.cast(places, FLOAT)
