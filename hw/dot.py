"""The matrix-vector unit, folded PE x SIMD: (N/PE) * (S/SIMD) cycles a vector, no bubbles.

Three elastic stages: read operands, multiply and add up the lanes, accumulate.  The issue stage
takes input only on the first pass over the rows; later passes read the vector from a buffer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory

from ..models.fixed import Grid, Ints
from ..models.ops import Dot
from .constant_dot import ConstantMatrixVector, constant_timing, is_constant, stages
from .elastic import (
    accumulator,
    counters,
    lane,
    numbers,
    pipeline,
    resize,
    rom,
    rom_words,
    tree_sum,
)
from .timing import Timing, pipeline_timing
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    cycles,
    divisors,
    fill,
    foldings,
    ports,
    tail,
    timing,
)

Part = Callable[[Module, Value, Value, int, int, str], Value]
"""(m, x, w, simd, width, name) -> what one step adds to a row."""
Multiply = Callable[[Module, Value, Value, str], Value]
"""(m, x, w, name) -> the product of one lane, less what the accumulator starts from."""


@foldings.register
def _(op: Dot, place: Place) -> tuple[Fold, ...]:
    rows, columns = op.weights.shape
    return tuple(Fold(pe, simd) for pe in divisors(rows) for simd in divisors(columns))


@ports.register
def _(op: Dot, place: Place) -> Ports:
    return Ports(
        (Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, place.fold.pe),)
    )


def folded(op: Dot, fold: Fold) -> tuple[int, int]:
    """Passes over the rows and over the columns: (N/PE, S/SIMD)."""
    rows, columns = op.weights.shape
    return rows // fold.pe, columns // fold.simd


def weight_rows(op: Dot, fold: Fold) -> Ints:
    """Weights in the order in which they are read: (passes, PE*SIMD), PE outermost in a word."""
    rows, columns = folded(op, fold)
    tiles = op.weights.reshape(rows, fold.pe, columns, fold.simd)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * columns, -1)


@timing.register
def _(op: Dot, place: Place) -> Timing:
    if is_constant(op, place):
        return constant_timing(op, place)
    rows, columns = folded(op, place.fold)
    vectors = place.inputs[0].elements // op.weights.shape[1]
    step = np.arange(vectors * rows * columns, dtype=np.int64).reshape(vectors, rows, columns)
    emit = np.zeros(step.shape, bool)
    emit[:, :, -1] = True
    return pipeline_timing(3, step.size, {"i": step[:, 0].ravel()}, emit.ravel())


@cycles.register
def _(op: Dot, place: Place) -> int:
    rows, columns = folded(op, place.fold)
    return place.inputs[0].elements // op.weights.shape[1] * rows * columns


@fill.register
def _(op: Dot, place: Place) -> int:
    return stages(op) if is_constant(op, place) else folded(op, place.fold)[1] + 2


@tail.register
def _(op: Dot, place: Place) -> int:
    rows, columns = folded(op, place.fold)
    return stages(op) if is_constant(op, place) else (rows - 1) * columns + 3


class MatrixVector(Unit):
    """The component of `Dot`."""

    op: Dot

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fold, grid = self.place.fold, self.place.output.grid
        rows, columns = folded(self.op, fold)
        acc_shape = accumulator(grid)
        take = Signal(name="issue")
        count = counters(m, take, column=columns, row=rows)
        (column, last), (row, _) = count["column"], count["row"]
        first_row = Signal()
        last2 = Signal()
        m.d.comb += first_row.eq(row == 0)
        takes = pipeline(m, 3, ~first_row | self.i.valid, self.o, emit=last2)
        m.d.comb += [take.eq(takes[0]), self.i.ready.eq(takes[0] & first_row)]

        # Stage 0: the weights of this step, and its input from the stream or from the buffer.
        address, _ = counters(m, take, address=rows * columns)["address"]
        words = rom_words(weight_rows(self.op, fold), self.op.grid)
        width = self.op.grid.bits * fold.pe * fold.simd
        weights = rom(m, "weights", words, width, address, take)
        x = self._input(m, take, first_row, column, rows, columns)
        first1, last1 = Signal(name="first1"), Signal(name="last1")
        first2 = Signal(name="first2")
        with m.If(takes[0]):
            m.d.sync += [first1.eq(column == 0), last1.eq(last)]

        # Stage 1: what the lanes add to each row.
        with m.If(takes[1]):
            m.d.sync += [first2.eq(first1), last2.eq(last1)]
        per_row = fold.simd * self.op.grid.bits
        part = lanes(self.place.inputs[0].grid, self.op.grid)
        starts = self._starts(m, row, takes, acc_shape.width)
        results = []
        for pe in range(fold.pe):
            row_weights = Signal(per_row, name=f"w{pe}")
            m.d.comb += row_weights.eq(weights[pe * per_row : (pe + 1) * per_row])
            total = part(m, x, row_weights, fold.simd, acc_shape.width, f"p{pe}")
            partial = Signal(total.shape(), name=f"partial{pe}")
            with m.If(takes[1]):
                m.d.sync += partial.eq(total)
            # Stage 2: accumulate at the result's width; prefix sums may wrap.
            acc = Signal(acc_shape, name=f"acc{pe}")
            result = Signal(acc_shape, name=f"sum{pe}")
            m.d.comb += result.eq((Mux(first2, starts[pe], acc) + partial)[: acc_shape.width])
            with m.If(takes[2]):
                m.d.sync += acc.eq(result)
            results.append(resize(result, grid.bits))
        with m.If(takes[2] & last2):
            m.d.sync += self.o.payload.eq(Cat(*results))
        return m

    def _starts(self, m: Module, row: Value, takes: list[Signal], width: int) -> list[Value]:
        """What each row's accumulator starts from in stage 2; from a memory where rows differ."""
        fold, size = self.place.fold, self.op.weights.shape[1]
        values = start_values(self.op.weights, self.place.inputs[0].grid, self.op.grid)
        if (values == values[0]).all():
            return [C(int(values[0]), signed(width))] * fold.pe
        grid = Grid(0, size)
        words = rom_words(values.reshape(-1, fold.pe), grid)
        data = rom(m, "starts", words, grid.bits * fold.pe, row, takes[0])
        held = Signal(len(data), name="start")
        with m.If(takes[1]):
            m.d.sync += held.eq(data)
        return [lane(held, pe, grid) for pe in range(fold.pe)]

    def _input(
        self, m: Module, take: Value, first_row: Value, column: Value, rows: int, columns: int
    ) -> Value:
        """The input beat of the step that stage 0 took, valid in stage 1."""
        fresh = Signal(self.ports.inputs[0].width)
        with m.If(take):
            m.d.sync += fresh.eq(self.i.payload)
        if rows == 1:
            return fresh
        m.submodules.buffer = buffer = memory.Memory(
            shape=self.ports.inputs[0].width, depth=columns, init=[]
        )
        write, read = buffer.write_port(), buffer.read_port()
        reuse = Signal()
        m.d.comb += [
            write.addr.eq(column),
            write.data.eq(self.i.payload),
            write.en.eq(take & first_row),
            read.addr.eq(column),
            read.en.eq(take),
        ]
        with m.If(take):
            m.d.sync += reuse.eq(~first_row)
        x = Signal(self.ports.inputs[0].width)
        m.d.comb += x.eq(Mux(reuse, read.data, fresh))
        return x


@component.register
def _(op: Dot, place: Place) -> Unit:
    return (ConstantMatrixVector if is_constant(op, place) else MatrixVector)(op, place)


def lanes(inputs: Grid, weights: Grid) -> Part:
    """The arithmetic of a row's lanes: part(m, x, w, simd, width, name) is what one step adds.

    The datapath is chosen by the two grids.  With `start_values` as the accumulator's start, all
    of them equal the plain sum of products modulo 2**width.
    """
    if weights.bipolar and inputs.bipolar:
        return _xnor
    if weights.bipolar and (inputs.lo, inputs.hi) == (-1, 1):
        return _masked_xnor
    if weights.bipolar:
        return _with(inputs, _add_or_subtract)
    if (weights.lo, weights.hi) == (-1, 1):
        return _with(inputs, _ternary)
    return _with(inputs, _products(weights))


def start_values(rows: Ints, inputs: Grid, weights: Grid) -> Ints:
    """What the accumulator of each row (N, S) starts from, for the lanes to be that simple.

    Signs: -S, to which twice the number of equal signs is added.  Subtracted inputs: -x = ~x + 1,
    and all those ones of a row are known beforehand.
    """
    if weights.bipolar and inputs.bipolar:
        return np.full(len(rows), -rows.shape[1])
    masked = weights.bipolar and (inputs.lo, inputs.hi) == (-1, 1)
    if masked or (weights.lo, weights.hi) != (-1, 1):
        return np.zeros(len(rows), np.int64)
    return np.count_nonzero(rows < 0, axis=1)


def _xnor(m: Module, x: Value, w: Value, simd: int, width: int, name: str) -> Value:
    """Twice the number of equal signs; the accumulator starts at -S: 2*equal - S is left."""
    equal = Signal(simd, name=f"{name}_equal")
    m.d.comb += equal.eq(~(x ^ w))
    return Cat(C(0, 1), tree_sum(m, list(equal), name))


def _masked_xnor(m: Module, x: Value, w: Value, simd: int, width: int, name: str) -> Value:
    """Two's complement of {-1, 0, 1} is (valid, negative): 2*popcount(equal) - popcount(valid)."""
    valid, equal = Signal(simd, name=f"{name}_valid"), Signal(simd, name=f"{name}_equal")
    negative = Cat(*(x[2 * k + 1] for k in range(simd)))
    m.d.comb += [
        valid.eq(Cat(*(x[2 * k] for k in range(simd)))),
        equal.eq(valid & (negative ^ w)),
    ]
    both = Cat(C(0, 1), tree_sum(m, list(equal), f"{name}_e"))
    return both - tree_sum(m, list(valid), f"{name}_v")


def _with(inputs: Grid, multiply: Multiply) -> Part:
    """Turn the products of single lanes into the sum over a row's lanes."""

    def part(m: Module, x: Value, w: Value, simd: int, width: int, name: str) -> Value:
        values = numbers(m, x, simd, inputs, f"{name}_x")
        bits = len(w) // simd
        terms = [
            multiply(m, value, w[k * bits : (k + 1) * bits], f"{name}_m{k}")
            for k, value in enumerate(values)
        ]
        return tree_sum(m, terms, name, width)

    return part


def _add_or_subtract(m: Module, x: Value, w: Value, name: str) -> Value:
    """X, or ~x, which is -x - 1: the accumulator starts with all those ones of its row."""
    flipped = Signal(len(x) + (0 if x.shape().signed else 1), name=name)
    m.d.comb += flipped.eq(resize(x, len(flipped)) ^ (~w[0]).replicate(len(flipped)))
    return flipped.as_signed()


def _ternary(m: Module, x: Value, w: Value, name: str) -> Value:
    """X, 0 or ~x; bit 0 of a ternary weight says nonzero, bit 1 negative."""
    flipped = Signal(len(x) + (0 if x.shape().signed else 1), name=name)
    kept = resize(x, len(flipped)) & w[0].replicate(len(flipped))
    m.d.comb += flipped.eq(kept ^ w[1].replicate(len(flipped)))
    return flipped.as_signed()


def _products(weights: Grid) -> Multiply:
    def multiply(m: Module, x: Value, w: Value, name: str) -> Value:
        value = w.as_signed() if weights.signed else w
        product = Signal((x * value).shape(), name=name)
        m.d.comb += product.eq(x * value)
        return product

    return multiply
