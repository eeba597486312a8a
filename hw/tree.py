"""Decision trees, `pe` of them a cycle, a comparison a stage.

What a comparison needs comes from a memory of its level, addressed by the decisions before, as in
the search of `thresholds`: (C/PE) cycles for C trees.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import C, Cat, Module, Signal, Value

from ..models.fixed import Grid, Ints
from ..models.ops import Tree
from .elastic import choose, counter, number, numbers, pipeline, resize, rom, rom_words
from .elementwise import Field, by_beat, channel_foldings, constants, held, read_fields
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Port, Ports, Unit, component, fill, foldings, ports, timing


@foldings.register
def _(op: Tree, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Tree, place: Place) -> Ports:
    pe, inputs = place.fold.pe, op.inputs_of(place.inputs[0])
    return Ports((Port.of(place.inputs[0], pe * inputs),), (Port.of(place.output, pe),))


def stages(op: Tree) -> int:
    """A stage to read the first threshold, and one for each comparison."""
    return op.order.shape[1] + 1


@timing.register
def _(op: Tree, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(stages(op), beats, {"i": after(beats)})


@fill.register
def _(op: Tree, place: Place) -> int:
    return stages(op)


def limit_grid(place: Place) -> Grid:
    """What holds the thresholds: one of hi + 1 is never reached, one of lo or less always."""
    x = place.inputs[0].grid
    return Grid(x.lo, x.hi + 1)


def limits(op: Tree, place: Place, level: int) -> Ints:
    """What the memories of a level hold: (PE, words), the decisions before in the low bits."""
    grid = limit_grid(place)
    first = (1 << level) - 1
    own = np.clip(op.thresholds[:, first : 2 * first + 1], grid.lo, grid.hi)
    return own.reshape(-1, place.fold.pe, first + 1).transpose(1, 0, 2).reshape(place.fold.pe, -1)


def orders(op: Tree, place: Place) -> Field:
    """Which input each lane reads at each level, as rows of PE * L."""
    return Field(by_beat(op.order, place.fold.pe))


class Trees(Unit):
    """The component of `Tree`."""

    op: Tree

    def elaborate(self, platform: object) -> Module:
        m = Module()
        trees, levels = self.op.order.shape
        pe, x_grid, grid = self.place.fold.pe, self.place.inputs[0].grid, limit_grid(self.place)
        takes = pipeline(m, stages(self.op), self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(takes[0])
        beat: Value
        beat, _ = counter(m, trees // pe, takes[0], "group")
        count = pe * self.op.inputs_of(self.place.inputs[0])
        x = numbers(m, held(m, self.i.payload, takes[0], "x"), count, x_grid, "x_")
        inputs = self._ordered(m, x, takes[0])
        found: list[Value] = [C(0, 0)] * pe
        for level in range(levels):
            read = takes[level]
            cuts: list[Value] = []
            for k, values in enumerate(limits(self.op, self.place, level)):
                words = rom_words(values[:, None], grid)
                data = rom(m, f"limits{level}_{k}", words, grid.bits, Cat(found[k], beat), read)
                cuts.append(number(data, grid))
            if level:
                found = [held(m, f, read, f"found{level}_{k}") for k, f in enumerate(found)]
                inputs = [
                    [held(m, value, read, f"x{level}_{k}_{j}") for j, value in enumerate(own[1:])]
                    for k, own in enumerate(inputs)
                ]
            if level + 1 < levels:
                beat = held(m, beat, read, f"group{level}")
            for k, cut in enumerate(cuts):
                reached = Signal(name=f"reached{level}_{k}")
                m.d.comb += reached.eq(inputs[k][0] >= cut)
                found[k] = Cat(reached, found[k])
        leaves = [resize(leaf, self.place.output.grid.bits) for leaf in found]
        with m.If(takes[-1]):
            m.d.sync += self.o.payload.eq(Cat(*leaves))
        return m

    def _ordered(self, m: Module, x: list[Value], read: Value) -> list[list[Value]]:
        """The inputs of each tree in the order in which it compares them."""
        pe, levels = self.place.fold.pe, self.op.order.shape[1]
        size = self.op.inputs_of(self.place.inputs[0])
        field = orders(self.op, self.place)
        memory = read_fields(m, [field], read)
        made: list[list[Value]] = []
        for tree in range(pe):
            own = x[tree * size : (tree + 1) * size]
            if field.fixed:
                made.append([own[k] for k in field.rows[0, tree * levels :][:levels].tolist()])
                continue
            inputs: list[Value] = []
            for level, index in enumerate(constants(field, memory)[tree * levels :][:levels]):
                wire = Signal(own[0].shape(), name=f"input{tree}_{level}")
                m.d.comb += wire.eq(choose(own[: field.grid.hi + 1], index))
                inputs.append(wire)
            made.append(inputs)
        return made


@component.register
def _(op: Tree, place: Place) -> Unit:
    return Trees(op, place)
