"""The k largest of a vector, `simd` values a cycle, kept in a sorted list of registers."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from ..models.ops import TopK
from .elastic import counters, numbers, pipeline, resize
from .timing import Timing, after, pipeline_timing
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    divisors,
    fill,
    foldings,
    ports,
    tail,
    timing,
)

Entry = tuple[Value, Value, Value]
"""Filled, value, index."""


@foldings.register
def _(op: TopK, place: Place) -> tuple[Fold, ...]:
    return tuple(Fold(op.k, simd) for simd in divisors(place.inputs[0].channels))


@ports.register
def _(op: TopK, place: Place) -> Ports:
    return Ports((Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, op.k),))


@timing.register
def _(op: TopK, place: Place) -> Timing:
    beats = place.inputs[0].elements // place.fold.simd
    each = place.inputs[0].channels // place.fold.simd
    emit = np.arange(beats) % each == each - 1
    return pipeline_timing(1, beats, {"i": after(beats)}, emit)


@fill.register
def _(op: TopK, place: Place) -> int:
    return place.inputs[0].channels // place.fold.simd


@tail.register
def _(op: TopK, place: Place) -> int:
    return 1


class Sorter(Unit):
    """The component of `TopK`."""

    op: TopK

    def elaborate(self, platform: object) -> Module:
        m = Module()
        edge, simd = self.place.inputs[0], self.place.fold.simd
        step = Signal()
        beat, last = counters(m, step, beat=edge.channels // simd)["beat"]
        (take,) = pipeline(m, 1, self.i.valid, self.o, emit=last)
        m.d.comb += [step.eq(take), self.i.ready.eq(take)]
        values = numbers(m, self.i.payload, simd, edge.grid, "x")
        index_bits = self.place.output.grid.bits
        # The sorted list: (filled, value, index), best first; a tie keeps the earlier index.
        kept = [
            (
                Signal(name=f"filled{j}"),
                Signal(values[0].shape(), name=f"best{j}"),
                Signal(index_bits, name=f"index{j}"),
            )
            for j in range(self.op.k)
        ]
        fresh = beat == 0
        ranked: list[Entry] = [(filled & ~fresh, best, index) for filled, best, index in kept]
        for k, value in enumerate(values):
            index = Signal(index_bits, name=f"at{k}")
            m.d.comb += index.eq(beat * simd + k)
            ranked = self._insert(m, ranked, value, index, k)
        with m.If(take):
            for old, new in zip(kept, ranked, strict=True):
                m.d.sync += [o.eq(n) for o, n in zip(old, new, strict=True)]
        with m.If(take & last):
            m.d.sync += self.o.payload.eq(Cat(*(resize(r[2], index_bits) for r in ranked)))
        return m

    def _insert(
        self,
        m: Module,
        ranked: list[Entry],
        value: Value,
        index: Value,
        k: int,
    ) -> list[Entry]:
        """One step of insertion sort, all places at once: those beaten move down by one."""
        beaten = Signal(len(ranked), name=f"beaten{k}")
        for j, (filled, best, _) in enumerate(ranked):
            m.d.comb += beaten[j].eq(~filled | (value > best))
        above: Entry = (C(1, 1), value, index)
        result = []
        for j, here in enumerate(ranked):
            # Where the place above was beaten too, its entry comes down; else the new one enters.
            entering = (
                above
                if j == 0
                else tuple(
                    Mux(beaten[j - 1], up, new)
                    for up, new in zip(ranked[j - 1], above, strict=True)
                )
            )
            placed = []
            for part, (old, new) in enumerate(zip(here, entering, strict=True)):
                wire = Signal(old.shape(), name=f"rank{k}_{j}_{part}")
                m.d.comb += wire.eq(Mux(beaten[j], new, old))
                placed.append(wire)
            result.append(tuple(placed))
        return result


@component.register
def _(op: TopK, place: Place) -> Unit:
    return Sorter(op, place)
