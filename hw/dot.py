"""The matrix-vector unit, folded PE x SIMD: (N/PE) * (S/SIMD) cycles a vector, no bubbles.

Elastic stages: read operands, the steps of `lanes` cut to the levels of the place, accumulate.  The
issue stage takes input only on the first pass over the rows; later passes read the vector from a
buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory

from ..models.fixed import Grid, Ints
from ..models.ops import Dot
from .constant_dot import ConstantMatrixVector, constant_stages, constant_timing, is_constant
from .elastic import (
    accumulator,
    counter,
    counters,
    in_block,
    lane,
    pipeline,
    resize,
    rom,
    rom_words,
)
from .lanes import Lanes, Operands
from .sums import GATE, READ, cut
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


@dataclass(frozen=True)
class Plan:
    """The datapath of a unit and its cut: `at` is the stage of each step of `lanes.steps`."""

    lanes: Lanes
    at: tuple[int, ...]

    @classmethod
    def of(cls, lanes: Lanes, used: int, levels: int) -> Plan:
        """Cut a datapath; `used`: levels between stage 0 and the first step."""
        steps = [step.levels for step in lanes.steps]
        return cls(lanes, tuple(stage + 1 for stage in cut(steps, levels, used)))

    @property
    def stages(self) -> int:
        """Stages of the pipeline, with stage 0, which issues, and the last, which accumulates."""
        return self.at[-1] + 1

    @property
    def held(self) -> tuple[int, ...]:
        """Bits of the operands' registers in front of stages 2, 3, ... ."""
        return tuple(self.lanes.steps[self.at.index(k)].bits for k in range(2, self.stages))

    def build(
        self, m: Module, takes: Sequence[Value], name: str, x: Value, w: Sequence[Value]
    ) -> list[Value]:
        """The steps up to "accumulate", whose addends of each row this returns."""
        on, stage = Operands([x], [[row] for row in w]), 1
        for k, (step, at) in enumerate(zip(self.lanes.steps, self.at, strict=True)):
            if at > stage:
                on = _registered(m, takes[stage], f"{name}{at}", on)
                stage = at
            if step.name != "accumulate":
                on = self.lanes.build(m, step, f"{name}_{k}", on)
        return [self.lanes.addend(row) for row in on.rows]


def _registered(m: Module, take: Value, name: str, on: Operands) -> Operands:
    """The same operands a stage later, those of a row in one register."""

    def held(values: list[Value], name: str) -> list[Value]:
        if not values:
            return []
        word = Signal(sum(len(value) for value in values), name=name)
        with m.If(take):
            m.d.sync += word.eq(Cat(*values))
        parts: list[Value] = []
        low = 0
        for value in values:
            part = word[low : low + len(value)]
            parts.append(part.as_signed() if value.shape().signed else part)
            low += len(value)
        return parts

    return Operands(
        held(on.shared, f"{name}_all"),
        [held(row, f"{name}_{k}") for k, row in enumerate(on.rows)],
    )


def delayed(m: Module, takes: Sequence[Value], flag: Value, name: str) -> list[Value]:
    """A flag of stage 0 in every stage."""
    made = [flag]
    for k in range(1, len(takes)):
        held = Signal(name=f"{name}{k}")
        with m.If(takes[k - 1]):
            m.d.sync += held.eq(made[-1])
        made.append(held)
    return made


def datapath(op: Dot, place: Place, words: int) -> tuple[Lanes, int]:
    """The arithmetic of a unit, and the levels of reading one of so many words of weights."""
    fold, width = place.fold, accumulator(place.output.grid).width
    lanes = Lanes(place.inputs[0].grid, op.grid, fold.simd, fold.pe, width)
    word = sum(shape.width for shape in lanes.steps[0].row) * lanes.steps[0].rows
    return lanes, READ if in_block(word, words) else 0


def plan(op: Dot, place: Place) -> Plan:
    """The datapath of a unit and its stages."""
    fold, x = place.fold, place.inputs[0].grid
    rows, columns = folded(op, fold)
    lanes, used = datapath(op, place, rows * columns)
    if rows > 1:
        buffered = READ if in_block(x.bits * fold.simd, columns) else 0
        used = max(used, buffered + GATE)
    return Plan.of(lanes, used, place.levels)


@timing.register
def _(op: Dot, place: Place) -> Timing:
    if is_constant(op, place):
        return constant_timing(op, place)
    rows, columns = folded(op, place.fold)
    vectors = place.inputs[0].elements // op.weights.shape[1]
    step = np.arange(vectors * rows * columns, dtype=np.int64).reshape(vectors, rows, columns)
    emit = np.zeros(step.shape, bool)
    emit[:, :, -1] = True
    stages = plan(op, place).stages
    return pipeline_timing(stages, step.size, {"i": step[:, 0].ravel()}, emit.ravel())


@cycles.register
def _(op: Dot, place: Place) -> int:
    rows, columns = folded(op, place.fold)
    return place.inputs[0].elements // op.weights.shape[1] * rows * columns


@fill.register
def _(op: Dot, place: Place) -> int:
    if is_constant(op, place):
        return constant_stages(op, place)
    return folded(op, place.fold)[1] - 1 + plan(op, place).stages


@tail.register
def _(op: Dot, place: Place) -> int:
    rows, columns = folded(op, place.fold)
    if is_constant(op, place):
        return constant_stages(op, place)
    return (rows - 1) * columns + plan(op, place).stages


class MatrixVector(Unit):
    """The component of `Dot`."""

    op: Dot

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fold = self.place.fold
        rows, columns = folded(self.op, fold)
        made = plan(self.op, self.place)
        take, leaves = Signal(name="issue"), Signal(name="leaving")
        count = counters(m, take, column=columns, row=rows)
        (column, last), (row, _) = count["column"], count["row"]
        first_row = Signal()
        m.d.comb += first_row.eq(row == 0)
        takes = pipeline(m, made.stages, ~first_row | self.i.valid, self.o, emit=leaves)
        lasts = delayed(m, takes, last, "last")
        m.d.comb += [take.eq(takes[0]), self.i.ready.eq(takes[0] & first_row), leaves.eq(lasts[-1])]

        # Stage 0: the weights of this step, and its input from the stream or from the buffer.
        address, _ = counters(m, take, address=rows * columns)["address"]
        x = self._input(m, take, first_row, column, rows, columns)
        words = weight_rows(self.op, fold)
        accumulate(m, self, made, takes, lasts, x, weight_memory(m, made, words, address, take))
        return m

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


def weight_memory(
    m: Module, made: Plan, words: Ints, address: Value, take: Value
) -> tuple[Value, ...]:
    """The weights of each row, or packed pair, of the step that stage 0 took, valid in stage 1."""
    values, stored = made.lanes.words(words), made.lanes.stored
    width, per_row = stored.bits * values.shape[1], made.lanes.simd * stored.bits
    data = rom(m, "weights", rom_words(values, stored), width, address, take)
    return tuple(data[low : low + per_row] for low in range(0, width, per_row))


def accumulate(
    m: Module,
    unit: Unit,
    made: Plan,
    takes: Sequence[Value],
    lasts: Sequence[Value],
    x: Value,
    weights: Sequence[Value],
) -> None:
    """The stages behind stage 0, up to the payload of "o"; `lasts` end the sums of a row of PE.

    Accumulates at the result's width; prefix sums may wrap.
    """
    fold, grid = unit.place.fold, unit.place.output.grid
    addends = made.build(m, takes, "p", x, weights)
    first = Signal(init=1)
    shape = accumulator(grid)
    values = made.lanes.starts(unit.op.weights)
    starts = start_words(m, values.reshape(-1, fold.pe), shape.width, takes, lasts)
    results: list[Value] = []
    for pe, addend in enumerate(addends):
        acc = Signal(shape, name=f"acc{pe}")
        result = Signal(shape, name=f"sum{pe}")
        m.d.comb += result.eq((Mux(first, starts[pe], acc) + addend)[: shape.width])
        with m.If(takes[-1]):
            m.d.sync += acc.eq(result)
        results.append(resize(result, grid.bits))
    with m.If(takes[-1]):
        m.d.sync += first.eq(lasts[-1])
    with m.If(takes[-1] & lasts[-1]):
        m.d.sync += unit.stream("o").payload.eq(Cat(*results))


def start_words(
    m: Module, values: Ints, width: int, takes: Sequence[Value], lasts: Sequence[Value]
) -> list[Value]:
    """What the accumulators start from in the last stage; from a memory where rows (P, PE) differ.

    The memory is read two stages before, where a counter of its own follows the rows, and its word
    waits in a register, so that no read stands in front of the accumulators.
    """
    pe = values.shape[1]
    if (values == values[0, 0]).all():
        return [C(int(values[0, 0]), signed(width))] * pe
    grid = Grid(0, int(values.max()))
    at = max(0, len(takes) - 3)
    row, _ = counter(m, len(values), takes[at] & lasts[at], "start_row")
    data = rom(m, "starts", rom_words(values, grid), grid.bits * pe, row, takes[at])
    if len(takes) > 2:
        held = Signal(len(data), name="start")
        with m.If(takes[-2]):
            m.d.sync += held.eq(data)
        data = held
    return [lane(data, k, grid) for k in range(pe)]


@component.register
def _(op: Dot, place: Place) -> Unit:
    return (ConstantMatrixVector if is_constant(op, place) else MatrixVector)(op, place)
