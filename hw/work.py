"""What a unit does in one frame: its operations, how wide they are, and the memory bits it moves.

Counted from the operator and its folding, as the unit's datapath performs them: a binary weight
costs an XNOR (or, on an integer, the gates that negate it) and an addition, a ternary one the same
whether it is zero or not, an integer one a multiplication and an addition.  What rows share counts
once: sums and differences of pairs of inputs, and a multiplier with its first sums where it serves
two rows.  A constant matrix costs the adders of its graph, a search of thresholds its steps, a
power of two nothing.  Control, registers and
wires are not counted.

| kind | what, and its bits |
|---|---|
| multiply | a product of two numbers; the product of their widths |
| add | an addition or subtraction, those of popcounts too; the width of its result |
| xnor | gates that combine an input with a weight's bits; the width of the input |
| compare | of thresholds, clamps, maxima; the width of what is compared |
| lookup | a word of a table; its width (which is counted as memory as well) |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np

from ..models.fixed import Grid, Ints
from ..models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    Lookup,
    MaxPool,
    Requantise,
    Scale,
    Select,
    SparseDot,
    SumPool,
    Table,
    Tables,
    TableSum,
    TapTransform,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from . import lookup, scale, table_sum, tables, tap_transform, thresholds, tree
from .constant_dot import graph_of, is_constant
from .convert import Narrow, Widen
from .depthwise_dot import plan as depthwise_plan
from .dot import passes
from .dot import plan as dot_plan
from .elementwise import Field, by_beat
from .fifo import Fifo
from .fork import Fork
from .lanes import Lanes
from .matrix import Passes
from .pack import Pack
from .sparse_dot import Tiles
from .sparse_dot import plan as sparse_plan
from .unit import Place
from .walk import Buffered

KINDS = ("multiply", "add", "xnor", "compare", "lookup")


@dataclass(frozen=True)
class Work:
    """What a unit does in a frame.

    multiply_adds: those of the network's arithmetic, in whatever form they are done.
    counts, bits: operations of each kind, and the sum of their bits.
    constant_reads, value_reads, value_writes: bits of memory, of weights and other constants, and
    of buffers.
    """

    multiply_adds: int = 0
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    bits: Mapping[str, int] = field(default_factory=dict[str, int])
    constant_reads: int = 0
    value_reads: int = 0
    value_writes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.multiply_adds + other.multiply_adds,
            _summed(self.counts, other.counts),
            _summed(self.bits, other.bits),
            self.constant_reads + other.constant_reads,
            self.value_reads + other.value_reads,
            self.value_writes + other.value_writes,
        )

    @property
    def memory_bits(self) -> int:
        """Bits of memory read and written."""
        return self.constant_reads + self.value_reads + self.value_writes

    def times(self, number: int) -> Work:
        """The same so often."""
        return Work(
            self.multiply_adds * number,
            {kind: count * number for kind, count in self.counts.items()},
            {kind: bits * number for kind, bits in self.bits.items()},
            self.constant_reads * number,
            self.value_reads * number,
            self.value_writes * number,
        )


def _summed(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in (*one, *other)}


def doing(kind: str, bits: int, number: int = 1) -> Work:
    """So many operations of one kind, each of so many bits."""
    return Work(counts={kind: number}, bits={kind: number * bits})


def adding_up(terms: int, bits: int, most: int) -> Work:
    """A balanced tree of additions, sums a bit wider at each level, up to `most`."""
    done = Work()
    while terms > 1:
        bits = min(bits + 1, most)
        done += doing("add", bits, terms // 2)
        terms -= terms // 2
    return done


@singledispatch
def work(op: Any, place: Place) -> Work | None:
    """What the unit does in a frame; None for a kind of unit of which nobody has said it."""
    return None


@work.register
def _(op: Dot, place: Place) -> Work:
    if is_constant(op, place):
        return _graph(op, place)
    steps, lanes = passes(op, place), dot_plan(op, place).lanes
    once, row = _matrix_step(lanes, place.fold.pe)
    # A single word of weights never changes: constants instead of a memory.
    word = _word(lanes) if steps.rows * steps.columns > 1 else 0
    done = once + row + Work(place.fold.pe * place.fold.simd, constant_reads=word)
    return done.times(steps.cycles) + _reused(steps, place)


def _word(lanes: Lanes) -> int:
    """Bits of the weights of a step."""
    return lanes.steps[0].rows * lanes.simd * lanes.stored.bits


def _reused(steps: Passes, place: Place) -> Work:
    """What goes through the buffer of vectors that are read in several passes."""
    if steps.rows == 1:
        return Work()
    bits = place.inputs[0].elements * place.inputs[0].grid.bits
    return Work(value_reads=bits * steps.rows, value_writes=bits)


def _graph(op: Dot, place: Place) -> Work:
    """The adders of a graph, and negations of what it leaves negative; a vector a cycle."""
    graph, vectors = graph_of(op, place), place.output.elements // place.output.channels
    sums = len(graph.adders) + sum(output.negative for output in graph.outputs)
    done = Work(op.weights.size, counts={"add": sums}, bits={"add": graph.bits})
    return done.times(vectors)


@work.register
def _(op: Tables, place: Place) -> Work:
    steps, lanes = tables.passes(op, place), tables.plan(op, place).lanes
    blocks, rows, columns = tables.folded(op, place.fold)
    once, row = _matrix_step(lanes, lanes.rows)
    words = len(op.codebooks) // blocks * rows * columns
    word = _word(lanes) if words > 1 else 0
    done = once + row + Work(lanes.rows * lanes.simd, constant_reads=word)
    return done.times(blocks * steps.cycles) + _reused(steps, place)


@work.register
def _(op: Lookup, place: Place) -> Work:
    steps, made = lookup.passes(op, place), lookup.plan(op, place).lanes
    words, x, total = steps.rows * steps.columns, place.inputs[0].grid, place.output.grid.bits
    word = made.tables * made.stored.bits if words > 1 else 0
    row = doing("lookup", x.bits, made.tables) + Work(constant_reads=word)
    row += adding_up(made.tables, x.bits, total) + doing("add", total)
    return row.times(steps.cycles * place.fold.pe) + _reused(steps, place)


@work.register
def _(op: TableSum, place: Place) -> Work:
    steps, simd = table_sum.passes(op, place), place.fold.simd
    bits, total = op.grid.bits, place.output.grid.bits
    row = doing("lookup", bits, simd) + Work(constant_reads=bits * simd)
    row += adding_up(simd, bits, total) + doing("add", total)
    return row.times(steps.cycles * place.fold.pe) + _reused(steps, place)


@work.register
def _(op: Tree, place: Place) -> Work:
    levels, bits = op.order.shape[1], tree.limit_grid(place).bits
    # The first threshold of trees that stand side by side is a constant.
    read = levels if place.output.channels > place.fold.pe else levels - 1
    each = doing("compare", bits, levels) + Work(constant_reads=read * bits)
    return each.times(place.output.elements)


@work.register
def _(op: SparseDot, place: Place) -> Work:
    """Skipped tiles are neither read nor multiplied nor added."""
    if is_constant(op, place):
        return _graph(op, place)
    fold, x, tiles = place.fold, place.inputs[0].grid, Tiles.of(op, place.fold)
    lanes = sparse_plan(op, place).lanes
    once, row = _matrix_step(lanes, fold.pe)
    vectors = place.output.elements // place.output.channels
    word = _word(lanes) + tiles.schedule_bits if len(tiles) > 1 else 0
    done = (
        once + row + Work(fold.pe * fold.simd, constant_reads=word, value_reads=fold.simd * x.bits)
    )
    moved = Work(value_writes=place.inputs[0].elements * x.bits)
    return done.times(vectors * len(tiles)) + moved


@work.register
def _(op: DepthwiseDot, place: Place) -> Work:
    channels, taps = op.weights.shape
    products = place.inputs[0].elements
    once, row = _matrix_step(depthwise_plan(op, place).lanes, 1)
    changes = channels * taps > place.fold.pe
    moved = Work(products, constant_reads=products * op.grid.bits if changes else 0)
    return (once + row).times(products) + moved


def _matrix_step(lanes: Lanes, rows: int) -> tuple[Work, Work]:
    """What is done once for all rows of a step, and what its rows do together."""
    x, w, simd, total = lanes.inputs, lanes.weights, lanes.simd, lanes.width
    accumulate = doing("add", total)
    if lanes.pack:
        return Work(), _packed(lanes, lanes.pack).times(rows // 2) + accumulate.times(rows)
    wide = x.bits + (0 if x.signed else 1)
    once = Work()
    match lanes.kind:
        case "xnor":
            row = doing("xnor", 1, simd) + adding_up(simd, 1, total)
        case "masked":
            once = adding_up(simd, 1, total)
            both = doing("add", simd.bit_length() + 2)
            row = doing("xnor", 2, simd) + adding_up(simd, 1, total) + both
        case "pairs":
            # The sum and the difference of two inputs, of which each row takes one or its negative.
            once = doing("add", x.bits + 1, 2 * (simd // 2))
            row = doing("xnor", wide + 1, simd // 2) + doing("xnor", wide, simd % 2)
            row += adding_up(simd - simd // 2, wide + 1, total)
        case "signs" | "ternary":
            row = doing("xnor", wide, simd) + adding_up(simd, wide, total)
        case _:
            row = doing("multiply", x.bits * w.bits, simd) + adding_up(simd, x.bits + w.bits, total)
    return once, (row + accumulate).times(rows)


def _packed(lanes: Lanes, pack: Pack) -> Work:
    """Two rows in one multiplier: products and first sums for both, then each its own sums."""
    word = pack.low + pack.stored.bits - pack.weights.bits
    done, terms = doing("multiply", lanes.inputs.bits * word, lanes.simd), lanes.simd
    for _ in range(pack.layers):
        done += doing("add", pack.most, terms // 2)
        terms -= terms // 2
    if pack.sum.signed:
        done += doing("add", pack.sum.width, terms)
    return done + adding_up(terms, pack.sum.width, lanes.width).times(2)


@work.register
def _(op: TapTransform, place: Place) -> Work:
    """The adders of a graph for each channel, behind the vector and before its results."""
    graph = tap_transform.graph_of(op, place)
    times = place.output.elements // len(op.matrix)
    sums = len(graph.adders) + sum(output.negative for output in graph.outputs)
    moved = sum(edge.elements * edge.grid.bits for edge in (*place.inputs, place.output))
    done = Work(counts={"add": sums}, bits={"add": graph.bits}).times(times)
    return done + Work(value_reads=moved, value_writes=moved)


@work.register(Window)
@work.register(Buffered)
@work.register(DepthToSpace)
def _(op: Window | Buffered | DepthToSpace, place: Place) -> Work:
    before, bits = place.inputs[0].elements, place.inputs[0].grid.bits
    return Work(value_reads=place.output.elements * bits, value_writes=before * bits)


@work.register
def _(op: Fifo, place: Place) -> Work:
    bits = place.inputs[0].elements * place.inputs[0].grid.bits
    return Work(value_reads=bits, value_writes=bits)


@work.register
def _(op: Thresholds, place: Place) -> Work:
    elements, cuts = place.output.elements, op.thresholds.shape[1]
    grid = place.inputs[0].grid
    # A threshold of hi + 1 is never reached.
    bits = Grid(grid.lo, grid.hi + 1).bits
    steps = thresholds.plan_of(op, place).steps
    if steps:
        # A search reads a threshold a step, and its answers are the count.  The first one is a
        # constant where a lane has one channel.
        reads = steps - (place.output.channels == place.fold.pe)
        return (doing("compare", bits, steps) + Work(constant_reads=reads * bits)).times(elements)
    each = doing("compare", bits, cuts) + adding_up(cuts, 1, cuts.bit_length())
    read = cuts * bits if place.output.channels > place.fold.pe else 0
    return (each + Work(constant_reads=read)).times(elements)


@work.register
def _(op: Requantise, place: Place) -> Work:
    edge = place.output
    clamps = doing("compare", edge.grid.bits, 2 * edge.elements)
    return _scaled(op.multiplier, np.array(op.rounded_bias()), place) + clamps


@work.register
def _(op: Scale, place: Place) -> Work:
    plan = scale.plan_of(op, place)
    if not plan.sizes:
        return _scaled(op.multiplier, op.bias, place)
    # Powers of two: shifts, chosen by what a memory holds, and additions of what is not zero.
    positions = place.output.elements // place.output.channels
    fixed = plan.addend.fixed and plan.negative.fixed
    sums = int(np.count_nonzero((op.bias != 0) | (op.multiplier < 0))) if fixed else op.bias.size
    width = max(place.inputs[0].grid.bits + plan.sizes[-1].bit_length(), plan.addend.grid.bits)
    read = sum(field.grid.bits for field in plan.stored)
    done = doing("add", width, sums) + Work(constant_reads=read * op.multiplier.size)
    if not plan.negative.fixed:
        x = place.inputs[0].grid
        done += doing("xnor", x.bits + (not x.signed), op.bias.size)
    return done.times(positions)


def _scaled(multiplier: Ints, bias: Ints, place: Place) -> Work:
    """Products with constants that are no wires, additions of what is not zero, and their reads."""
    x = place.inputs[0].grid
    positions = place.output.elements // place.output.channels
    factor, addend = (Field(by_beat(values, place.fold.pe)) for values in (multiplier, bias))
    size = np.abs(multiplier)
    products = int(np.count_nonzero(size & (size - 1))) if factor.fixed else multiplier.size
    sums = int(np.count_nonzero(bias)) if addend.fixed else bias.size
    width = max(x.bits + factor.grid.bits, addend.grid.bits)
    read = sum(one.grid.bits for one in (factor, addend) if not one.fixed)
    done = doing("multiply", x.bits * factor.grid.bits, products) + doing("add", width, sums)
    return (done + Work(constant_reads=read * multiplier.size)).times(positions)


@work.register
def _(op: Add, place: Place) -> Work:
    return doing("add", place.output.grid.bits, place.output.elements)


@work.register
def _(op: MaxPool, place: Place) -> Work:
    return doing("compare", place.output.grid.bits, (op.size - 1) * place.output.elements)


@work.register
def _(op: SumPool, place: Place) -> Work:
    return doing("add", place.output.grid.bits, (op.size - 1) * place.output.elements)


@work.register
def _(op: Table, place: Place) -> Work:
    elements, bits = place.output.elements, place.output.grid.bits
    return doing("lookup", bits, elements) + Work(constant_reads=elements * bits)


@work.register
def _(op: TopK, place: Place) -> Work:
    return doing("compare", place.inputs[0].grid.bits, op.k * place.inputs[0].elements)


@work.register(Concatenate)
@work.register(Select)
@work.register(Widen)
@work.register(Narrow)
@work.register(Fork)
def _(op: Any, place: Place) -> Work:
    return Work()
