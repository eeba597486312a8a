"""Sums of table entries that the inputs choose, folded PE x SIMD: a memory beside each input.

A memory's word holds the entries of PE results for one input, its address is the step of the vector
and the input itself: (N/PE) * (C/SIMD) cycles a vector, no bubbles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth.hdl import C, Cat, Module, Signal, Value, signed

from ..models.fixed import Grid, Ints
from ..models.ops import TableSum
from .elastic import accumulator, counter, in_block, lane, number, rom, rom_words
from .lanes import Operands, Step
from .matrix import Folded, Passes, Plan, add_rows, adding, scheduled
from .pack import number_shape
from .sums import READ
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    divisors,
    foldings,
    ports,
)


@foldings.register
def _(op: TableSum, place: Place) -> tuple[Fold, ...]:
    results, inputs, _ = op.tables.shape
    return tuple(Fold(pe, simd) for pe in divisors(results) for simd in divisors(inputs))


@ports.register
def _(op: TableSum, place: Place) -> Ports:
    return Ports(
        (Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, place.fold.pe),)
    )


@dataclass(frozen=True)
class Entries:
    """`simd` entries of `entries` that each of `rows` rows adds up, wrapping at `width` bits."""

    entries: Grid
    simd: int
    rows: int
    width: int

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Layers of sums."""
        return adding((number_shape(self.entries),) * self.simd, self.rows, self.width)

    def build(self, m: Module, step: Step, name: str, on: Operands) -> Operands:
        """The hardware of any step but the last; `name` starts the names of its wires."""
        return add_rows(m, on, self.width, name)

    def addend(self, row: Sequence[Value]) -> Value:
        """What is accumulated."""
        return row[0]


def passes(op: TableSum, place: Place) -> Passes:
    """The steps of a frame."""
    results, inputs, _ = op.tables.shape
    vectors = place.inputs[0].elements // inputs
    return Passes(vectors, results // place.fold.pe, inputs // place.fold.simd)


def plan(op: TableSum, place: Place) -> Plan[Entries]:
    """The sums and their stages, of which the first is the one that the memories' words reach."""
    fold, steps, bits = place.fold, passes(op, place), place.inputs[0].grid.bits
    entries = Entries(op.grid, fold.simd, fold.pe, accumulator(place.output.grid).width)
    depth = steps.rows * steps.columns << bits
    used = READ if in_block(fold.pe * op.grid.bits, depth) else 0
    # What comes from a buffer in block RAM is held once more before it is an address.
    slow = steps.rows > 1 and in_block(bits * fold.simd, steps.columns)
    return Plan.of(entries, used, place.levels, first=3 if slow else 2)


def contents(op: TableSum, place: Place) -> Ints:
    """What the memories hold: (SIMD, words, PE), a word for each step of a vector and each input.

    Entries that no input reaches repeat one that some input does.
    """
    fold, edge = place.fold, place.inputs[0]
    codes = np.arange(1 << edge.grid.bits)
    reached = np.clip(codes, edge.lo[:, None], edge.hi[:, None])
    values = op.tables[:, np.arange(edge.channels)[:, None], reached]
    tiles = values.reshape(-1, fold.pe, edge.channels // fold.simd, fold.simd, len(codes))
    return tiles.transpose(3, 0, 2, 4, 1).reshape(fold.simd, -1, fold.pe)


scheduled(TableSum, passes, plan)


class TableAdder(Folded):
    """The component of `TableSum`."""

    op: TableSum

    def elaborate(self, platform: object) -> Module:
        m = Module()
        made, steps = plan(self.op, self.place), passes(self.op, self.place)
        grid, codes, pe = self.op.grid, self.place.inputs[0].grid, self.place.fold.pe
        control = self.control(m, steps, made.stages)
        takes, x = control.takes, self.beat(m, control, steps)
        for k in range(1, made.first - 1):
            held = Signal(len(x), name=f"x{k}")
            with m.If(takes[k]):
                m.d.sync += held.eq(x)
            x = held

        # The stage before the sums: each input is the low part of its memory's address.
        read = takes[made.first - 1]
        step, _ = counter(m, steps.rows * steps.columns, read, "step")
        words = [
            rom(m, f"table{k}", rom_words(values, grid), grid.bits * pe,
                Cat(lane(x, k, codes), step), read)
            for k, values in enumerate(contents(self.op, self.place))
        ]  # fmt: skip
        rows = [[number(lane(word, row, grid), grid) for word in words] for row in range(pe)]
        addends = made.build(m, takes, "p", Operands([], rows))
        starts = [C(0, signed(made.lanes.width))] * pe
        self.accumulate(m, takes[-1], control.lasts[-1], addends, starts)
        return m


@component.register
def _(op: TableSum, place: Place) -> Unit:
    return TableAdder(op, place)
