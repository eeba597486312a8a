"""A network on its way to a program: what each of its values became, and how values are rounded.

A value of the float network stands for integers in one of two ways:

    Ready    real = scale * integer: activations of a few bits, which the next layer reads;
    Pending  real = f(scale[c] * integer + offset[c]): accumulators whose scales, biases, batch
             normalisation and activation function f wait to be folded into one rounding.

A clamp is folded into the limits of the rounding (`folding.py`).  Another function becomes
thresholds where few bits are asked for, else a table, behind a rounding of its argument where the
accumulators have more values than a table has entries.  All of these are the nearest integers of
f, computed in float64: the program that comes out is what is exact from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor, frexp, prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import folding, ops
from .activations import LARGEST, Clip
from .border import IDENTITY, Border
from .calibration import Calibration, Floats, best_argument_step, best_step
from .compress.method import Method, Sums, Weight
from .fixed import Grid, ProgramError, signed, unsigned
from .layers import Activation, Relu, Slide
from .network import Network, Node
from .ops.table import ENTRIES_MAX
from .program import Edge, Op
from .store import Stored

AS_FOUND: Mapping[str, Weight] = MappingProxyType({})
OUTPUT_BITS = 16
OUTPUT_HEADROOM = 4
THRESHOLD_BITS_MAX = 4
ARGUMENT_BITS = 2
"""How many bits more the argument of a table takes than its value."""
ARGUMENT_BITS_MAX = ENTRIES_MAX.bit_length() - 1


@dataclass(frozen=True, eq=False)
class Ready:
    """real = scale * integer; where `channels` are named, real channel k is integer channels[k]."""

    node: str
    scale: float
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Pending:
    """real = function(scale[c] * integer + offset[c]); None is the identity.

    `label` names the rounding to come.
    """

    node: str
    scale: Floats
    offset: Floats
    label: str
    function: Activation | None = None

    def real(self, integers: NDArray[Any]) -> Floats:
        """The real numbers that integers (..., C) stand for."""
        argument = self.scale * integers + self.offset
        return argument if self.function is None else self.function(argument)

    @property
    def uniform(self) -> bool:
        """Whether all channels share one scale and one offset."""
        return len(set(self.scale.tolist())) == len(set(self.offset.tolist())) == 1


Value = Ready | Pending


def limits(function: Activation | None) -> tuple[float, float] | None:
    """The bounds of a function that does nothing but clamp; None for any other."""
    if function is None:
        return -LARGEST, LARGEST
    if isinstance(function, Relu):
        return 0.0, LARGEST
    return (function.lo, function.hi) if isinstance(function, Clip) else None


@dataclass(frozen=True, eq=False)
class Lowering:
    """The state of one `quantise`: float values, what each became, and the program so far.

    given: weights that are there already; found: those of each part of a layer, given or made.
    """

    network: Network
    floats: dict[str, Stored]
    values: dict[str, Value]
    calibration: Calibration
    method: Callable[[str], Method]
    activation_bits: int
    border: Border = IDENTITY
    given: Mapping[str, Weight] = field(default_factory=dict[str, Weight])
    rounded: dict[str, Ready] = field(default_factory=dict[str, Ready])
    found: dict[str, Sequence[Weight]] = field(default_factory=dict[str, Sequence[Weight]])

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
            self.rounded[value.label] = self.round(value, self.best_step(value, grid), grid)
        return self.rounded[value.label]

    def activation_grid(self, value: Pending) -> Grid:
        """Unsigned where no accumulator can stand for a negative number, else signed."""
        edge = self.edge(value)
        monotone = value.function is None or value.function.monotone
        positive = monotone and float(value.real(np.stack([edge.lo, edge.hi])).min()) >= 0
        return unsigned(self.activation_bits) if positive else signed(self.activation_bits)

    def best_step(self, value: Pending, grid: Grid) -> float:
        """The step with which a pending value loses least on the calibration data."""
        return best_step(self.calibration.samples(value.node, value.real), grid)

    def round(self, value: Pending, step: float, grid: Grid) -> Ready:
        """Emit the rounding: thresholds where they are few, else a multiplier and a shift."""
        bounds = limits(value.function)
        if bounds is None:
            return self._round_function(value, step, grid)
        # Rounding is monotone: the clamp of the rounded is the rounded of the clamped.
        lo, hi = (min(max(floor(end / step + 0.5), grid.lo), grid.hi) for end in bounds)
        few = grid.bits <= THRESHOLD_BITS_MAX and hi > lo
        fold = folding.thresholds if few else folding.requantise
        op = fold(self.edge(value), value.scale, value.offset, Fraction(step), Grid(lo, hi))
        return Ready(self.calibration.emit(value.label, op, value.node), step)

    def _round_function(self, value: Pending, step: float, grid: Grid) -> Ready:
        """Emit thresholds, or a table behind as fine a rounding of its argument as it takes."""
        assert value.function is not None
        edge = self.edge(value)
        if value.function.monotone and grid.bits <= THRESHOLD_BITS_MAX:
            op = folding.monotone(edge, value.real, value.scale >= 0, step, grid)
        else:
            if not value.uniform or edge.grid.hi - edge.grid.lo >= ENTRIES_MAX:
                value = self._argument(value, grid.bits)
            op = folding.table(self.edge(value), value.real, step, grid)
        return Ready(self.calibration.emit(value.label, op, value.node), step)

    def _argument(self, value: Pending, bits: int) -> Pending:
        """Round the argument of the function finely enough for a result of so many bits."""
        assert value.function is not None
        grid = signed(min(bits + ARGUMENT_BITS, ARGUMENT_BITS_MAX))
        bare = Pending(value.node, value.scale, value.offset, f"{value.label}_argument")
        rows = self.calibration.samples(bare.node, bare.real)
        step = best_argument_step(rows, grid, value.function)
        found = self.pending(self.round(bare, step, grid), value.label)
        return replace(found, function=value.function)

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
        if self.edge(value).step == 2:
            raise ProgramError(
                f"{label.partition('_input')[0]!r} joins signs of {value.scale:g} with values in "
                f"steps of {step:g}, in which they are none; give both sides one step"
            )
        return self.round(self.pending(value, label), step, self.edge(value).grid)

    def pending(self, value: Ready, label: str, share: float = 1.0) -> Pending:
        """`share` times the value, to be rounded again under `label`."""
        scale = np.full(self.edge(value).channels, value.scale * share)
        return Pending(value.node, scale, np.zeros_like(scale), label)

    def windows(self, name: str, source: str, slide: Slide, pad: int = 0) -> str:
        """The edge of the windows that a kernel sees as it slides over the edge `source`."""
        shape = self.calibration.edges[source].shape
        if slide == Slide((1, 1)):
            return source
        if slide == Slide((shape[0], shape[1]), slide.stride):
            # One window that is the whole image holds its values in their own order.
            op: Op = ops.Reshape((1, 1, prod(shape)))
        else:
            op = ops.Window(slide.kernel, slide.stride, slide.padding, slide.dilation, pad)
        return self.calibration.emit(name, op, source)

    def scores(self, name: str) -> Ready:
        """The value `name`, rounded to 16 bits where it is pending.

        The step is a power of two that leaves room for scores four times the largest seen, so that
        channels of different scales become comparable integers and none is clipped.
        """
        value = self.values[name]
        if isinstance(value, Ready):
            return value
        grid = signed(OUTPUT_BITS)
        known = self.calibration
        parts = (known.values(value.node, part) for part in known.chunks(value.node))
        largest = max(float(np.abs(value.real(part)).max()) for part in parts)
        return self.round(value, 2.0 ** frexp(OUTPUT_HEADROOM * largest / grid.hi)[1], grid)


@dataclass(frozen=True, eq=False)
class Place:
    """A `Site`: a layer called `name`, whose kernel slides over the edge `source`."""

    lowering: Lowering
    name: str
    source: str
    scale: float
    slide: Slide
    windows: str

    def edge(self, name: str) -> Edge:
        """Shape and range of an edge."""
        return self.lowering.calibration.edges[name]

    def emit(self, part: str, op: Op, *inputs: str) -> str:
        """Append an operator called NAME_PART; return its edge."""
        return self.lowering.calibration.emit(f"{self.name}_{part}", op, *inputs)

    def window(self, part: str, source: str, slide: Slide) -> str:
        """Append the windows of a kernel over an edge, zeros outside; return their edge."""
        return self.lowering.windows(f"{self.name}_{part}", source, slide)

    def rounded(self, part: str, sums: Sums, bits: int) -> tuple[str, float]:
        """Append the rounding of sums to signed integers of one scale; return edge and scale."""
        none = np.zeros_like(sums.scale)
        value = Pending(sums.edge, sums.scale, none, f"{self.name}_{part}")
        grid = signed(bits)
        found = self.lowering.round(value, self.lowering.best_step(value, grid), grid)
        return found.node, found.scale
