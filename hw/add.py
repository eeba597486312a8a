"""The join of two branches: both are taken in one cycle, `pe` lanes at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module

from ..models.ops import Add
from .elastic import numbers, pipeline, resize
from .elementwise import same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import (
    Fold,
    Place,
    Ports,
    Unit,
    component,
    divisors,
    fill,
    foldings,
    ports,
    timing,
)


@foldings.register
def _(op: Add, place: Place) -> tuple[Fold, ...]:
    return tuple(Fold(pe) for pe in divisors(place.output.elements))


@ports.register
def _(op: Add, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: Add, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(1, beats, {"i0": after(beats), "i1": after(beats)})


@fill.register
def _(op: Add, place: Place) -> int:
    return 1


class Adder(Unit):
    """The component of `Add`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, grid = self.place.fold.pe, self.place.output.grid
        (take,) = pipeline(m, 1, self.i0.valid & self.i1.valid, self.o)
        m.d.comb += [self.i0.ready.eq(take), self.i1.ready.eq(take)]
        a = numbers(m, self.i0.payload, lanes, self.place.inputs[0].grid, "a")
        b = numbers(m, self.i1.payload, lanes, self.place.inputs[1].grid, "b")
        with m.If(take):
            sums = [resize(x + y, grid.bits) for x, y in zip(a, b, strict=True)]
            m.d.sync += self.o.payload.eq(Cat(*sums))
        return m


@component.register
def _(op: Add, place: Place) -> Unit:
    return Adder(op, place)
