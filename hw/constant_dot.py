"""A fully unrolled matrix-vector product with constant weights: adders and wires, a vector a cycle.

The adder graph is cut into elastic stages, each as many adders deep as `Place.levels` allows.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import C, Cat, Module, Shape, Signal, Value

from ..models.fixed import Grid
from ..models.ops import Dot
from .adder_graph import MINUS, PLUS, REVERSED, Adder, Graph, adder_graph, depth_of, digit_counts
from .elastic import numbers, pipeline, resize
from .elementwise import held
from .timing import Timing, after, pipeline_timing
from .unit import Place, Unit

ADDER = 3
"""Levels of an adder of these graphs: a carry chain of some 16 bits, and the wires to it."""
MOST_DIGITS = 16_384
"""The greatest matrix that is searched, in signed digits: 64x64 of 8 bits, a few seconds."""
MOST_PAIRS = 1 << 24
"""The most pairs of digits in one row, summed over the rows: a single row of 4,096 digits."""


def is_constant(op: Dot, place: Place) -> bool:
    """Whether this unit is an adder graph: all rows and columns in one step, and it pays.

    Signs take XNOR and popcount instead: a LUT holds several of their products.  Beyond
    `MOST_DIGITS` or `MOST_PAIRS` the search would take too long, and beyond 62 bits a shared sum
    may not fit the words of the search although each row does.
    """
    grid = place.inputs[0].grid
    if (place.fold.pe, place.fold.simd) != op.weights.shape or grid.bipolar:
        return False
    size, largest = op.weights.shape[1], int(np.abs(op.weights).max())
    if 2 * largest * size * max(abs(grid.lo), abs(grid.hi)) >= 1 << 62:
        return False
    counts = digit_counts(op.weights)
    return int(counts.sum()) <= MOST_DIGITS and int((counts**2).sum()) <= MOST_PAIRS


def adders_in_stage(place: Place) -> int:
    """Adders behind one another in a stage."""
    return max(1, place.levels // ADDER)


def constant_stages(op: Dot, place: Place) -> int:
    """Elastic stages of the unit; by a formula, without the search for a graph."""
    return max(1, -(-depth_of(op.weights) // adders_in_stage(place)))


def graph_of(op: Dot, place: Place) -> Graph:
    """The adder graph of a unit, for ranges that hold at every position of the input."""
    edge = place.inputs[0]
    return adder_graph(op.weights, edge.lo, edge.hi)


def constant_timing(op: Dot, place: Place) -> Timing:
    """The exact cycle behaviour of the unit: a vector a cycle."""
    vectors = place.inputs[0].elements // op.weights.shape[1]
    return pipeline_timing(constant_stages(op, place), vectors, {"i": after(vectors)})


class ConstantMatrixVector(Unit):
    """The component of a `Dot` for which `is_constant` holds."""

    op: Dot

    def elaborate(self, platform: object) -> Module:
        m = Module()
        take = pipeline(m, constant_stages(self.op, self.place), self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        edge = self.place.inputs[0]
        inputs = numbers(m, self.i.payload, edge.channels, edge.grid, "x")
        graph = graph_of(self.op, self.place)
        rows = Staged(m, graph, inputs, take, adders_in_stage(self.place)).rows()
        bits = self.place.output.grid.bits
        with m.If(take[-1]):
            m.d.sync += self.o.payload.eq(Cat(*(resize(row, bits) for row in rows)))
        return m


class Staged:
    """A graph in hardware: each node where its stage is, and behind registers in later stages.

    take: the enable of each stage's registers; those behind the last are the caller's.  name: ends
    the names of its wires, where a unit has several graphs.
    """

    def __init__(
        self, m: Module, graph: Graph, inputs: list[Value], take: list[Signal], levels: int,
        name: str = "",
    ) -> None:  # fmt: skip
        self.m, self.graph, self.take, self.levels = m, graph, take, levels
        self.name = name
        self.values: dict[tuple[int, int], Value] = {
            (node, 0): resized(value, graph.grids[node]) for node, value in enumerate(inputs)
        }
        for node in range(len(inputs), len(graph.grids)):
            stage = self.stage(node)
            self.values[node, stage] = self._sum(node, graph.adders[node - len(inputs)], stage)

    def rows(self) -> list[Value]:
        """The results, in the last stage."""
        made: list[Value] = []
        for output in self.graph.outputs:
            if output.node < 0:
                made.append(C(0, 1))
                continue
            value = self.at(output.node, len(self.take) - 1)
            value = -value if output.negative else value
            made.append(value.shift_left(output.shift))
        return made

    def stage(self, node: int) -> int:
        """The stage in which a node is computed."""
        return max(self.graph.depths[node] - 1, 0) // self.levels

    def at(self, node: int, stage: int) -> Value:
        """A node's value in a stage not before its own."""
        if (node, stage) not in self.values:
            before = self.at(node, stage - 1)
            self.values[node, stage] = held(
                self.m, before, self.take[stage - 1], f"n{node}{self.name}"
            )
        return self.values[node, stage]

    def _sum(self, node: int, adder: Adder, stage: int) -> Value:
        grid = self.graph.grids[node]
        total = Signal(shape_of(grid), name=f"sum{node}{self.name}")
        a, b = self.at(adder.a, stage), self.at(adder.b, stage)
        self.m.d.comb += total.eq(joined(a, b, adder, grid.bits))
        return total


def joined(a: Value, b: Value, adder: Adder, width: int) -> Value:
    """The low `width` bits of a sum, with a carry chain no longer than it must be.

    Both operands are extended by hand: Yosys would join a chain of signed additions into one sum
    of many operands and map that to LUTs without carry chains, at almost twice the size.
    """
    shift = min(adder.shift, width)
    long = resize(a, width)
    if adder.kind == REVERSED:
        return (Cat(C(0, shift), resize(b, width - shift)) - long)[:width]
    low, high = long[:shift], long[shift:]
    if adder.kind == PLUS and not a.shape().signed and len(a) <= shift:
        return Cat(low, resize(b, width - shift))
    short = resize(b, width - shift)
    return Cat(low, (high - short if adder.kind == MINUS else high + short)[: width - shift])


def resized(value: Value, grid: Grid) -> Value:
    """A number in the fewest bits that hold its range, which may be narrower than its stream."""
    bits = resize(value, grid.bits)
    return bits.as_signed() if grid.signed else bits


def shape_of(grid: Grid) -> Shape:
    """The shape of a signal for the numbers of a grid."""
    return Shape(grid.bits, signed=grid.signed)
