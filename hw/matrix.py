"""What the units are made of that read a vector once and add up results in passes over it.

Elastic stages: read operands, the steps of a datapath cut to the levels of the place, accumulate.
The issue stage takes input only in the first pass; later passes read the vector from a buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import memory

from ..models.fixed import Grid, Ints
from ..models.program import Op
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
from .lanes import Operands, Step
from .sums import CHAIN, GATE, READ, add_layer, cut, layer_levels, layers
from .timing import Timing, pipeline_timing
from .unit import Place, Unit, cycles, fill, tail, timing


class Datapath(Protocol):
    """What makes the addends of a unit's rows: steps, the last of which accumulates."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order."""
        ...

    def build(self, m: Module, step: Step, name: str, on: Operands) -> Operands:
        """The hardware of any step but the last; `name` starts the names of its wires."""
        ...

    def addend(self, row: Sequence[Value]) -> Value:
        """What the last step adds, from what it reads of a row."""
        ...


D = TypeVar("D", bound=Datapath)


@dataclass(frozen=True)
class Plan(Generic[D]):
    """The datapath of a unit and its cut.

    at: the stage of each step of `lanes.steps`; first: the stage that the operands stand in.
    """

    lanes: D
    at: tuple[int, ...]
    first: int = 1

    @classmethod
    def of(cls, lanes: D, used: int, levels: int, first: int = 1) -> Plan[D]:
        """Cut a datapath; `used`: levels between the stage before and the first step."""
        steps = [step.levels for step in lanes.steps]
        return cls(lanes, tuple(stage + first for stage in cut(steps, levels, used)), first)

    @property
    def stages(self) -> int:
        """Stages of the pipeline, with stage 0, which issues, and the last, which accumulates."""
        return self.at[-1] + 1

    @property
    def held(self) -> tuple[int, ...]:
        """Bits of the operands' registers in front of the stages behind the first."""
        later = range(self.first + 1, self.stages)
        return tuple(self.lanes.steps[self.at.index(k)].bits for k in later)

    def build(self, m: Module, takes: Sequence[Value], name: str, on: Operands) -> list[Value]:
        """All steps but the last, whose addends of each row this returns."""
        stage = self.first
        for k, (step, at) in enumerate(zip(self.lanes.steps, self.at, strict=True)):
            if at > stage:
                on = _registered(m, takes[stage], f"{name}{at}", on)
                stage = at
            if step is not self.lanes.steps[-1]:
                on = self.lanes.build(m, step, f"{name}_{k}", on)
        return [self.lanes.addend(row) for row in on.rows]


def adding(terms: Sequence[Shape], rows: int, most: int) -> tuple[Step, ...]:
    """The steps of rows that add up such terms each, wrapping at `most` bits."""
    made = layers(terms, most)
    sums = (Step("sums", layer_levels(b), rows, a) for a, b in pairwise(made))
    return (*sums, Step("accumulate", GATE + CHAIN, rows, made[-1]))


def add_rows(m: Module, on: Operands, most: int, name: str) -> Operands:
    """A layer of sums in each row."""
    return Operands([], [add_layer(m, row, most, f"{name}_{k}") for k, row in enumerate(on.rows)])


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


@dataclass(frozen=True)
class Passes:
    """The steps of a frame: over each of its `vectors`, `rows` passes of `columns` beats each.

    The first pass takes the beats of the vector, the last beat of every pass gives results.
    """

    vectors: int
    rows: int
    columns: int

    @property
    def cycles(self) -> int:
        """Steps of a frame."""
        return self.vectors * self.rows * self.columns

    def timing(self, stages: int) -> Timing:
        """The exact cycle behaviour of so many elastic stages."""
        step = np.arange(self.cycles, dtype=np.int64).reshape(self.vectors, self.rows, self.columns)
        emit = np.zeros(step.shape, bool)
        emit[:, :, -1] = True
        return pipeline_timing(stages, step.size, {"i": step[:, 0].ravel()}, emit.ravel())

    def fill(self, stages: int) -> int:
        """Cycles from the first input beat to the first output beat."""
        return self.columns - 1 + stages

    def tail(self, stages: int) -> int:
        """Cycles from the last input beat to the last output beat."""
        return (self.rows - 1) * self.columns + stages

    def read(self, beat: int, word: int = 0, words: int = 1) -> int:
        """Levels in front of the datapath: of a memory of weights, and of the vector's buffer.

        beat: bits of an input beat; word, words: bits and depth of the memory.
        """
        used = READ if in_block(word, words) else 0
        if self.rows > 1:
            buffered = READ if in_block(beat, self.columns) else 0
            used = max(used, buffered + GATE)
        return used


def scheduled(
    kind: type[Op], passes: Callable[[Any, Place], Passes], plan: Callable[[Any, Place], Plan[Any]]
) -> None:
    """State the cycles of a kind of operator whose units do nothing but passes."""

    def stages(op: Any, place: Place) -> int:
        return plan(op, place).stages

    timing.register(kind, lambda op, place: passes(op, place).timing(stages(op, place)))
    cycles.register(kind, lambda op, place: passes(op, place).cycles)
    fill.register(kind, lambda op, place: passes(op, place).fill(stages(op, place)))
    tail.register(kind, lambda op, place: passes(op, place).tail(stages(op, place)))


@dataclass(frozen=True, eq=False)
class Control:
    """The control of a folded unit: `takes` and `lasts` (of a pass) of each stage, and counters."""

    takes: list[Signal]
    lasts: list[Value]
    first_row: Signal
    column: Signal


class Folded(Unit):
    """A unit that reads each vector once and adds up its results in passes over it."""

    def control(self, m: Module, passes: Passes, stages: int) -> Control:
        """The pipeline, which takes input in the first pass and emits at the end of each."""
        take, leaves = Signal(name="issue"), Signal(name="leaving")
        count = counters(m, take, column=passes.columns, row=passes.rows)
        (column, last), (row, _) = count["column"], count["row"]
        first_row = Signal(name="first_row")
        m.d.comb += first_row.eq(row == 0)
        takes = pipeline(m, stages, ~first_row | self.i.valid, self.o, emit=leaves)
        lasts = delayed(m, takes, last, "last")
        m.d.comb += [take.eq(takes[0]), self.i.ready.eq(takes[0] & first_row), leaves.eq(lasts[-1])]
        return Control(takes, lasts, first_row, column)

    def beat(self, m: Module, control: Control, passes: Passes) -> Value:
        """The input beat of the step that stage 0 took, valid in stage 1."""
        take, first_row = control.takes[0], control.first_row
        width = self.ports.inputs[0].width
        fresh = Signal(width, name="fresh")
        with m.If(take):
            m.d.sync += fresh.eq(self.i.payload)
        if passes.rows == 1:
            return fresh
        m.submodules.buffer = buffer = memory.Memory(shape=width, depth=passes.columns, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        reuse = Signal(name="reuse")
        m.d.comb += [
            write.addr.eq(control.column),
            write.data.eq(self.i.payload),
            write.en.eq(take & first_row),
            read.addr.eq(control.column),
            read.en.eq(take),
        ]
        with m.If(take):
            m.d.sync += reuse.eq(~first_row)
        x = Signal(width, name="x")
        m.d.comb += x.eq(Mux(reuse, read.data, fresh))
        return x

    def accumulate(
        self, m: Module, take: Value, leaves: Value, addends: Sequence[Value],
        starts: Sequence[Value],
    ) -> None:  # fmt: skip
        """The last stage: accumulate at the result's width; prefix sums may wrap."""
        grid = self.place.output.grid
        shape, first = accumulator(grid), Signal(init=1, name="first")
        results: list[Value] = []
        for pe, (start, addend) in enumerate(zip(starts, addends, strict=True)):
            acc = Signal(shape, name=f"acc{pe}")
            result = Signal(shape, name=f"sum{pe}")
            m.d.comb += result.eq((Mux(first, start, acc) + addend)[: shape.width])
            with m.If(take):
                m.d.sync += acc.eq(result)
            results.append(resize(result, grid.bits))
        with m.If(take):
            m.d.sync += first.eq(leaves)
        with m.If(take & leaves):
            m.d.sync += self.o.payload.eq(Cat(*results))


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


@dataclass(frozen=True, eq=False)
class Matrix:
    """The arithmetic of a matrix-vector unit.

    plan: of each of `blocks` datapaths, side by side, which share out beats and words.  values:
    (D, lanes) on `grid`, what the memory holds for each step.  starts: what the accumulators start
    from, (P, PE), a row for each pass.
    """

    plan: Plan[Any]
    values: Ints
    grid: Grid
    starts: Ints
    blocks: int = 1

    def weights(self, m: Module, address: Value, take: Value) -> Value:
        """The word of the step that stage 0 took, valid in stage 1."""
        words, width = rom_words(self.values, self.grid), self.grid.bits * self.values.shape[1]
        return rom(m, "weights", words, width, address, take)

    def addends(self, m: Module, takes: Sequence[Value], x: Value, weights: Value) -> list[Value]:
        """What each row adds in the last stage, of a beat and a word in stage 1."""
        made, addends = self.plan, list[Value]()
        for block in range(self.blocks):
            own_x, own_weights = (_part(word, block, self.blocks) for word in (x, weights))
            rows = made.lanes.steps[0].rows
            on = Operands([own_x], [[_part(own_weights, row, rows)] for row in range(rows)])
            addends += made.build(m, takes, "p" if self.blocks == 1 else f"p{block}_", on)
        return addends


class MatrixVector(Folded):
    """The component of `Dot`, `Tables` and `Lookup`."""

    def __init__(self, op: Any, place: Place, passes: Passes, matrix: Matrix) -> None:
        super().__init__(op, place)
        self.passes, self.matrix = passes, matrix

    def elaborate(self, platform: object) -> Module:
        m = Module()
        matrix = self.matrix
        control = self.control(m, self.passes, matrix.plan.stages)
        takes, lasts = control.takes, control.lasts

        # Stage 0: the weights of this step, and its input from the stream or from the buffer.
        address, _ = counters(m, takes[0], address=len(matrix.values))["address"]
        weights = matrix.weights(m, address, takes[0])
        addends = matrix.addends(m, takes, self.beat(m, control, self.passes), weights)
        shape = accumulator(self.place.output.grid)
        starts = start_words(m, matrix.starts, shape.width, takes, lasts)
        self.accumulate(m, takes[-1], lasts[-1], addends, starts)
        return m


def _part(word: Value, index: int, parts: int) -> Value:
    """One of so many equal parts of a word."""
    size = len(word) // parts
    return word[index * size : (index + 1) * size]
