"""Lookups in constant memories, `pe` channels a cycle, each lane with a memory of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Module

from ..models.fixed import Ints
from ..models.ops import Table
from .elastic import counter, lane, pipeline, rom, rom_words
from .elementwise import channel_foldings, same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, timing


@foldings.register
def _(op: Table, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Table, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: Table, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(2, beats, {"i": after(beats)})


@fill.register
def _(op: Table, place: Place) -> int:
    return 2


@dataclass(frozen=True, eq=False)
class Contents:
    """What the lanes' memories hold, and how an input becomes an address.

    words: (lanes, groups << bits) values.
    bits: how many low bits of an input make an address, its group of channels above them; no two
        inputs of the edge's range have the same.
    groups: 1 where all groups of channels read the same values.
    """

    words: Ints
    bits: int
    groups: int


def contents_of(op: Table, place: Place) -> Contents:
    """The memories of a table at its place."""
    edge, pe = place.inputs[0], place.fold.pe
    grid = edge.grid
    bits = 1 if grid.bipolar else (grid.hi - grid.lo).bit_length()
    codes = np.arange(1 << bits)
    x = grid.decode(codes) if grid.bipolar else grid.lo + (codes - grid.lo) % (1 << bits)
    # Entries that no input reaches repeat one that some input does.
    reached = np.clip(x, edge.lo[:, None], edge.hi[:, None])
    rows = np.arange(edge.channels)[:, None] if len(op.values) > 1 else 0
    values = op.values[rows, reached - op.lo].reshape(-1, pe, len(codes))
    if bool((values == values[0]).all()):
        values = values[:1]
    return Contents(values.transpose(1, 0, 2).reshape(pe, -1), bits, len(values))


class Lookup(Unit):
    """The component of `Table`."""

    op: Table

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs, grid = self.place.inputs[0].grid, self.place.output.grid
        contents = contents_of(self.op, self.place)
        take = pipeline(m, 2, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        group, _ = counter(m, contents.groups, take[0], "group")
        outputs = []
        for k, values in enumerate(contents.words):
            entry = lane(self.i.payload, k, inputs)[: contents.bits]
            words = rom_words(values[:, None], grid)
            outputs.append(rom(m, f"table{k}", words, grid.bits, Cat(entry, group), take[0]))
        with m.If(take[1]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m


@component.register
def _(op: Table, place: Place) -> Unit:
    return Lookup(op, place)
