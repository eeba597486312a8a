"""From a float network to an exact integer program: compress each layer, then fold its scales.

Layers are taken in the order of computation.  Each is compressed for the inputs that it sees behind
the integer prefix built so far (run on the calibration data), so that errors are repaired and do
not pile up.  While the program grows, a value of the float network stands for integers in one of
two ways:

    Ready    real = scale * integer: activations of a few bits, which the next layer reads;
    Pending  real = scale[c] * integer + offset[c], then perhaps a relu: accumulators whose scales,
             biases and batch normalisation wait to be folded into one rounding (`folding.py`).

`lower` says for each layer what it becomes; register a function for a layer of your own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import singledispatch
from math import frexp, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import compress as compress  # makes the methods known
from . import folding, layers, ops
from .calibration import Calibration, Floats, best_step
from .compress.method import Compressed, Method, method
from .compress.problem import Gatherer
from .fixed import Grid, ProgramError, signed, unsigned
from .network import INPUT, Network, Node, fold_batch_norm
from .program import Border, Edge, Execute, Program, define

INPUT_BITS = 8
OUTPUT_BITS = 16
OUTPUT_HEADROOM = 4
THRESHOLD_BITS_MAX = 4


@dataclass(frozen=True, eq=False)
class Ready:
    """real = scale * integer."""

    node: str
    scale: float


@dataclass(frozen=True, eq=False)
class Pending:
    """real = scale[c] * integer + offset[c], and 0 where that is negative if `rectified`.

    `label` names the rounding to come.
    """

    node: str
    scale: Floats
    offset: Floats
    label: str
    rectified: bool = False


Value = Ready | Pending


def quantise(
    network: Network,
    data: NDArray[Any],
    weights: str = "bwnh",
    activation_bits: int = 8,
    execute: Execute | None = None,
) -> Program:
    """Compress `network` by the method called `weights`; return its exact integer program.

    `data` (N, *input_shape) are calibration inputs, without labels; activations take
    `activation_bits` (2 to 8).  `execute` may replace the definitions (fast kernels).
    Integer inputs are taken as they are, others are rounded to 8 bits at the border.
    """
    if not 2 <= activation_bits <= 8:
        raise ProgramError(f"activations take 2 to 8 bits, not {activation_bits}")
    folded, data = fold_batch_norm(network), np.asarray(data)
    _ = folded.run(data[:1], INPUT)  # refuses a wrong shape or type
    if not bool(data.any() and np.isfinite(data).all()):
        raise ProgramError("calibration takes finite inputs that are not all 0; give it real ones")
    edge, border = input_border(folded, data)
    floats = folded.trace(data, folded.output)
    calibration = Calibration(execute or define, len(data))
    calibration.edges[INPUT] = edge
    calibration.kept[INPUT] = border.quantise(data, edge)
    values: dict[str, Value] = {INPUT: Ready(INPUT, float(border.scale[0]))}
    lowering = Lowering(folded, floats, values, calibration, method(weights), activation_bits)
    for node in folded.nodes:
        values[node.name] = lower(node.layer, lowering, node)
    scale = lowering.output()
    return Program(
        network.name,
        edge,
        tuple(calibration.nodes.values()),
        border,
        Border((Fraction(scale),)),
        {"weights": weights, "activation_bits": activation_bits},
    )


def input_border(network: Network, data: NDArray[Any]) -> tuple[Edge, Border]:
    """The input's integers, and what they stand for: themselves, or 8 bits of the largest float."""
    if network.input_range is not None:
        lo, hi = network.input_range
        if data.min() < lo or data.max() > hi:
            raise ProgramError(
                f"calibration inputs span {data.min()}..{data.max()}, and network "
                f"{network.name!r} takes {lo}..{hi}; clamp or rescale them"
            )
        return Edge.of(network.input_shape, Grid(*network.input_range)), Border()
    if data.dtype.kind != "f":
        ends = min(0, int(data.min())), max(0, int(data.max()))
        return Edge.of(network.input_shape, Grid(*ends)), Border()
    grid = unsigned(INPUT_BITS) if float(data.min()) >= 0 else signed(INPUT_BITS)
    scale = Fraction(float(np.abs(data).max()) or 1.0) / grid.hi
    return Edge.of(network.input_shape, grid), Border((scale,))


@dataclass(frozen=True, eq=False)
class Lowering:
    """The state of one `quantise`: float values, what each became, and the program so far."""

    network: Network
    floats: dict[str, NDArray[Any]]
    values: dict[str, Value]
    calibration: Calibration
    method: Method
    activation_bits: int
    rounded: dict[str, Ready] = field(default_factory=dict[str, Ready])

    def source(self, node: Node) -> Value:
        """What the only input of a node became."""
        return self.values[node.inputs[0]]

    def edge(self, value: Value) -> Edge:
        """The integers of a value."""
        return self.calibration.edges[value.node]

    def ready(self, value: Value) -> Ready:
        """Round a pending value to activations, once for all its readers."""
        if isinstance(value, Ready):
            return value
        if value.label not in self.rounded:
            grid = self.activation_grid(value)
            self.rounded[value.label] = self.round(value, best_step(self.real(value), grid), grid)
        return self.rounded[value.label]

    def activation_grid(self, value: Pending) -> Grid:
        """Unsigned where no accumulator can stand for a negative number, else signed."""
        edge = self.edge(value)
        ends = value.scale * [edge.lo, edge.hi] + value.offset
        positive = value.rectified or float(ends.min()) >= 0
        return unsigned(self.activation_bits) if positive else signed(self.activation_bits)

    def real(self, value: Pending) -> Floats:
        """The real numbers that a pending value stands for on the calibration data."""
        real = value.scale * self.calibration.kept[value.node] + value.offset
        return np.maximum(real, 0) if value.rectified else real

    def round(self, value: Pending, step: float, grid: Grid) -> Ready:
        """Emit the rounding: thresholds where they are few, else a multiplier and a shift."""
        if value.rectified and grid.lo < 0:
            grid = Grid(0, grid.hi)
        fold = folding.thresholds if grid.bits <= THRESHOLD_BITS_MAX else folding.requantise
        op = fold(self.edge(value), value.scale, value.offset, Fraction(step), grid)
        return Ready(self.calibration.emit(value.label, op, value.node), step)

    def common(self, node: Node) -> list[Ready]:
        """All inputs of a node as activations of one scale, the coarsest."""
        inputs = [self.ready(self.values[name]) for name in node.inputs]
        step = max(value.scale for value in inputs)
        return [
            self.rescaled(value, step, f"{node.name}_input{number}")
            for number, value in enumerate(inputs)
        ]

    def rescaled(self, value: Ready, step: float, label: str) -> Ready:
        """The same activations in steps of `step`."""
        if value.scale == step:
            return value
        return self.round(self.pending(value, label), step, self.edge(value).grid)

    def pending(self, value: Ready, label: str, share: float = 1.0) -> Pending:
        """`share` times the value, to be rounded again under `label`."""
        scale = np.full(self.edge(value).channels, value.scale * share)
        return Pending(value.node, scale, np.zeros_like(scale), label)

    def solve(self, gatherer: Gatherer) -> Compressed:
        """Compress the weights of one gathered problem."""
        return self.method.compress(gatherer.problem(), gatherer.weights)

    def output(self) -> float:
        """Round the last value to 16 bits where it is pending; return its scale.

        The step is a power of two that leaves room for scores four times the largest seen, so that
        channels of different scales become comparable integers and none is clipped.
        """
        value = self.values[self.network.output]
        if isinstance(value, Pending):
            grid = signed(OUTPUT_BITS)
            largest = OUTPUT_HEADROOM * float(np.abs(self.real(value)).max()) / grid.hi
            value = self.round(value, 2.0 ** frexp(largest)[1], grid)
        return value.scale


@singledispatch
def lower(layer: layers.Layer, lowering: Lowering, node: Node) -> Value:
    """Emit the operators of one layer and say what its value became."""
    raise ProgramError(
        f"node {node.name!r}: {type(layer).__name__} has no lowering; register one with "
        "bitwright.models.lower.lower"
    )


def _window(
    lowering: Lowering, node: Node, kernel: layers.Pair, stride: layers.Pair, padding: layers.Sides
) -> tuple[Ready, str]:
    """The input of a node as activations, and the edge of its windows."""
    x = lowering.ready(lowering.source(node))
    if (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0, 0, 0)):
        return x, x.node
    op = ops.Window(kernel, stride, padding)
    return x, lowering.calibration.emit(f"{node.name}_window", op, x.node)


@lower.register
def _(layer: layers.Conv, lowering: Lowering, node: Node) -> Value:
    x, windows = _window(lowering, node, layer.kernel, layer.stride, layer.padding)
    gatherer = Gatherer(layer.weights.reshape(len(layer.weights), -1))
    for part in lowering.calibration.chunks(windows):
        floats = lowering.floats[node.inputs[0]][part]
        inputs = layers.patches(floats, layer.kernel, layer.stride, layer.padding)
        gatherer.add(_rows(inputs), x.scale * _rows(lowering.calibration.values(windows, part)))
    found = lowering.solve(gatherer)
    dot = lowering.calibration.emit(f"{node.name}_dot", ops.Dot(found.weights, found.grid), windows)
    return _accumulators(lowering, node, dot, x.scale * found.scale)


@lower.register
def _(layer: layers.Dense, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    gatherer = Gatherer(layer.weights)
    for part in lowering.calibration.chunks(x.node):
        floats = lowering.floats[node.inputs[0]][part]
        gatherer.add(floats, x.scale * lowering.calibration.values(x.node, part))
    found = lowering.solve(gatherer)
    dot = lowering.calibration.emit(f"{node.name}_dot", ops.Dot(found.weights, found.grid), x.node)
    return _accumulators(lowering, node, dot, x.scale * found.scale)


@lower.register
def _(layer: layers.DepthwiseConv, lowering: Lowering, node: Node) -> Value:
    x, windows = _window(lowering, node, layer.kernel, layer.stride, layer.padding)
    channels = len(layer.weights)
    gatherers = [Gatherer(row.reshape(1, -1)) for row in layer.weights]
    for part in lowering.calibration.chunks(windows):
        floats = lowering.floats[node.inputs[0]][part]
        inputs = layers.patches(floats, layer.kernel, layer.stride, layer.padding)
        compressed = x.scale * lowering.calibration.values(windows, part)
        for channel, gatherer in enumerate(gatherers):
            gatherer.add(
                _rows(inputs)[:, channel::channels], _rows(compressed)[:, channel::channels]
            )
    found = [lowering.solve(gatherer) for gatherer in gatherers]
    weights = np.concatenate([one.weights for one in found])
    scale = np.concatenate([one.scale for one in found])
    op = ops.DepthwiseDot(weights, found[0].grid)
    dot = lowering.calibration.emit(f"{node.name}_dot", op, windows)
    return _accumulators(lowering, node, dot, x.scale * scale)


def _rows(x: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(-1, x.shape[-1])


def _accumulators(lowering: Lowering, node: Node, dot: str, scale: Floats) -> Pending:
    """The response of a compressed layer, with the bias that gives it the float network's mean.

    The float bias would leave the mean error of the compressed weights in every output (bias
    correction: Nagel et al., arXiv 1906.04721, section 4.2).
    """
    sums = scale * lowering.calibration.kept[dot]
    offset = _rows(lowering.floats[node.name]).mean(0) - _rows(sums).mean(0)
    return Pending(dot, scale, offset.astype(np.float64), node.name)


@lower.register
def _(layer: layers.BatchNorm, lowering: Lowering, node: Node) -> Value:
    x = lowering.source(node)
    if isinstance(x, Pending) and x.rectified:
        x = lowering.ready(x)
    if isinstance(x, Ready):
        x = lowering.pending(x, node.name)
    scale, offset = layer.factor * x.scale, layer.factor * x.offset + layer.term
    return Pending(x.node, scale, offset, node.name)


@lower.register
def _(layer: layers.Relu, lowering: Lowering, node: Node) -> Value:
    x = lowering.source(node)
    if isinstance(x, Pending):
        return replace(x, label=node.name, rectified=True)
    if lowering.edge(x).grid.lo >= 0:
        return x
    return replace(lowering.pending(x, node.name), rectified=True)


@lower.register
def _(layer: layers.MaxPool, lowering: Lowering, node: Node) -> Value:
    x, windows = _window(lowering, node, layer.kernel, layer.stride, (0, 0, 0, 0))
    op = ops.MaxPool(prod(layer.kernel))
    return Ready(lowering.calibration.emit(node.name, op, windows), x.scale)


@lower.register
def _(layer: layers.AveragePool, lowering: Lowering, node: Node) -> Value:
    x, windows = _window(lowering, node, layer.kernel, layer.stride, (0, 0, 0, 0))
    return _mean(lowering, node, x, windows, prod(layer.kernel))


@lower.register
def _(layer: layers.GlobalAveragePool, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    height, width, channels = lowering.edge(x).shape
    row = ops.Reshape((1, 1, height * width * channels))
    windows = lowering.calibration.emit(f"{node.name}_window", row, x.node)
    return _mean(lowering, node, x, windows, height * width)


def _mean(lowering: Lowering, node: Node, x: Ready, windows: str, taps: int) -> Pending:
    total = lowering.calibration.emit(f"{node.name}_sum", ops.SumPool(taps), windows)
    return lowering.pending(Ready(total, x.scale), node.name, 1 / taps)


@lower.register
def _(layer: layers.Flatten, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    op = ops.Reshape((lowering.edge(x).elements,))
    return Ready(lowering.calibration.emit(node.name, op, x.node), x.scale)


@lower.register
def _(layer: layers.Add, lowering: Lowering, node: Node) -> Value:
    a, b = lowering.common(node)
    total = lowering.calibration.emit(f"{node.name}_sum", ops.Add(), a.node, b.node)
    return lowering.pending(Ready(total, a.scale), node.name)


@lower.register
def _(layer: layers.Concatenate, lowering: Lowering, node: Node) -> Value:
    inputs = lowering.common(node)
    name = lowering.calibration.emit(node.name, ops.Concatenate(), *(x.node for x in inputs))
    return Ready(name, inputs[0].scale)
