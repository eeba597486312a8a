"""Branches taken in turn, pixel by pixel, `pe` lanes at a time."""

from __future__ import annotations

from functools import reduce
from math import gcd

import numpy as np
from amaranth.hdl import Array, Cat, Module, Signal

from ..models.ops import Concatenate
from .elastic import counter, numbers, pipeline, stored
from .elementwise import same_lanes
from .timing import Timing, pipeline_timing
from .unit import (
    Fold,
    Place,
    Ports,
    Unit,
    component,
    divisors,
    fill,
    foldings,
    input_names,
    ports,
    timing,
)


@foldings.register
def _(op: Concatenate, place: Place) -> tuple[Fold, ...]:
    common = reduce(gcd, (edge.channels for edge in place.inputs))
    return tuple(Fold(pe) for pe in divisors(common))


@ports.register
def _(op: Concatenate, place: Place) -> Ports:
    return same_lanes(place)


def turns(place: Place) -> np.ndarray:
    """The input that each beat of one pixel comes from."""
    beats = [edge.channels // place.fold.pe for edge in place.inputs]
    return np.repeat(np.arange(len(beats)), beats)


@timing.register
def _(op: Concatenate, place: Place) -> Timing:
    turn = turns(place)
    sequence = np.tile(turn, place.output.elements // place.output.channels)
    names = input_names(ports(op, place))
    takes = {name: np.flatnonzero(sequence == k).astype(np.int64) for k, name in enumerate(names)}
    return pipeline_timing(1, len(sequence), takes)


@fill.register
def _(op: Concatenate, place: Place) -> int:
    return 1


class Concatenation(Unit):
    """The component of `Concatenate`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, grid = self.place.fold.pe, self.place.output.grid
        streams = [self.stream(name) for name in input_names(self.ports)]
        turn = turns(self.place)
        step = Signal()
        beat, _ = counter(m, len(turn), step, "beat")
        source = Signal(range(len(streams)))
        for k in range(1, len(streams)):
            with m.If(beat >= int(np.flatnonzero(turn == k)[0])):
                m.d.comb += source.eq(k)
        start = Signal()
        m.d.comb += start.eq(Array(s.valid for s in streams)[source])
        (take,) = pipeline(m, 1, start, self.o)
        m.d.comb += step.eq(take)
        words = []
        for k, (s, edge) in enumerate(zip(streams, self.place.inputs, strict=True)):
            m.d.comb += s.ready.eq(take & (source == k))
            values = numbers(m, s.payload, lanes, edge.grid, f"x{k}_")
            word = Signal(self.ports.outputs[0].width, name=f"word{k}")
            m.d.comb += word.eq(Cat(*(stored(value, grid) for value in values)))
            words.append(word)
        with m.If(take):
            m.d.sync += self.o.payload.eq(Array(words)[source])
        return m


@component.register
def _(op: Concatenate, place: Place) -> Unit:
    return Concatenation(op, place)
