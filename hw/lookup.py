"""Sums of chosen table entries: a matrix-vector unit whose lanes choose instead of multiply.

A beat holds SIMD/K whole tables.  Each of PE rows takes an entry of each, by muxes that indices
from a memory steer, and adds them up: (N/PE) * (T*M*K/SIMD) cycles a vector, no bubbles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth.hdl import Module, Signal, Value, unsigned

from ..models.fixed import Grid, Ints
from ..models.ops import Lookup
from .elastic import accumulator, choose, lane, numbers
from .lanes import Operands, Step
from .matrix import Matrix, MatrixVector, Passes, Plan, add_rows, adding, scheduled
from .pack import number_shape
from .sums import GATE
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

CHOICES = 2
"""Bits of an index by which one level of logic chooses: 4 inputs and 2 bits fit 6-input LUTs."""


@foldings.register
def _(op: Lookup, place: Place) -> tuple[Fold, ...]:
    results, tables = op.entries.shape
    return tuple(Fold(pe, g * op.words) for pe in divisors(results) for g in divisors(tables))


@ports.register
def _(op: Lookup, place: Place) -> Ports:
    return Ports(
        (Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, place.fold.pe),)
    )


@dataclass(frozen=True)
class Choosers:
    """`tables` of `words` entries each, of which each of `rows` rows adds up one each.

    Sums may wrap at `width` bits.
    """

    inputs: Grid
    words: int
    tables: int
    rows: int
    width: int

    @property
    def stored(self) -> Grid:
        """The grid of an index."""
        return Grid(0, self.words - 1)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Choose, then add up in layers."""
        x = unsigned(self.tables * self.words * self.inputs.bits)
        index = unsigned(self.tables * self.stored.bits)
        levels = GATE * -(-(self.words - 1).bit_length() // CHOICES)
        terms = (number_shape(self.inputs),) * self.tables
        choose = Step("choose", levels, self.rows, (index,), (x,))
        return (choose, *adding(terms, self.rows, self.width))

    def build(self, m: Module, step: Step, name: str, on: Operands) -> Operands:
        """The hardware of any step but the last; `name` starts the names of its wires."""
        if step.name != "choose":
            return add_rows(m, on, self.width, name)
        x = numbers(m, on.shared[0], self.tables * self.words, self.inputs, f"{name}_x")
        tables = [x[low : low + self.words] for low in range(0, len(x), self.words)]
        made: list[list[Value]] = []
        for row, (indices,) in enumerate(on.rows):
            chosen: list[Value] = []
            for k, entries in enumerate(tables):
                wire = Signal(number_shape(self.inputs), name=f"{name}_{row}_t{k}")
                m.d.comb += wire.eq(choose(entries, lane(indices, k, self.stored)))
                chosen.append(wire)
            made.append(chosen)
        return Operands([], made)

    def addend(self, row: Sequence[Value]) -> Value:
        """What is accumulated."""
        return row[0]


def passes(op: Lookup, place: Place) -> Passes:
    """The steps of a frame."""
    channels, fold = place.inputs[0].channels, place.fold
    vectors = place.inputs[0].elements // channels
    return Passes(vectors, len(op.indices) // fold.pe, channels // fold.simd)


def plan(op: Lookup, place: Place) -> Plan[Choosers]:
    """The datapath of a unit and its stages."""
    fold, x, steps = place.fold, place.inputs[0].grid, passes(op, place)
    width = accumulator(place.output.grid).width
    choosers = Choosers(x, op.words, fold.simd // op.words, fold.pe, width)
    word = fold.pe * choosers.tables * choosers.stored.bits
    used = steps.read(x.bits * fold.simd, word, steps.rows * steps.columns)
    return Plan.of(choosers, used, place.levels)


def index_rows(op: Lookup, place: Place) -> Ints:
    """Indices in the order in which they are read: (steps of a vector, PE * tables of a beat)."""
    steps, pe = passes(op, place), place.fold.pe
    tiles = op.indices.reshape(steps.rows, pe, steps.columns, -1)
    return tiles.transpose(0, 2, 1, 3).reshape(steps.rows * steps.columns, -1)


scheduled(Lookup, passes, plan)


@component.register
def _(op: Lookup, place: Place) -> Unit:
    made, starts = plan(op, place), np.zeros((1, place.fold.pe), np.int64)
    matrix = Matrix(made, index_rows(op, place), made.lanes.stored, starts)
    return MatrixVector(op, place, passes(op, place), matrix)
