"""Pooling over taps, `pe` channels a cycle: running values move through a delay line."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value

from ..models.fixed import Grid, Ints
from ..models.ops import MaxPool, SumPool
from ..models.ops.pool import Pool
from .elastic import counters, lane, number, numbers, pipeline, resize, stored
from .elementwise import channel_foldings, same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, tail, timing


@foldings.register
def _(op: Pool, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Pool, place: Place) -> Ports:
    return same_lanes(place)


def last_taps(taps: int, place: Place) -> np.ndarray:
    """Per step, in the order (position, tap, channel group), whether it is of the last tap."""
    steps: Ints = np.arange(place.inputs[0].elements // place.fold.pe)
    groups = place.output.channels // place.fold.pe
    return steps // groups % taps == taps - 1


@timing.register
def _(op: Pool, place: Place) -> Timing:
    emit = last_taps(op.size, place)
    return pipeline_timing(1, len(emit), {"i": after(len(emit))}, emit)


@fill.register
def _(op: Pool, place: Place) -> int:
    return (op.size - 1) * (place.output.channels // place.fold.pe) + 1


@tail.register
def _(op: Pool, place: Place) -> int:
    return 1


class Pooling(Unit):
    """The component of `MaxPool` and `SumPool`."""

    op: Pool

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, grid = self.place.fold.pe, self.place.output.grid
        groups = self.place.output.channels // lanes
        step = Signal()
        count = counters(m, step, group=groups, tap=self.op.size)
        tap, last = count["tap"]
        (take,) = pipeline(m, 1, self.i.valid, self.o, emit=last)
        m.d.comb += [step.eq(take), self.i.ready.eq(take)]
        line = [Signal(self.held.bits * lanes, name=f"running{k}") for k in range(groups)]
        values = numbers(m, self.i.payload, lanes, self.place.inputs[0].grid, "x")
        results = [
            self._combine(m, k, value, lane(line[-1], k, self.held), tap == 0)
            for k, value in enumerate(values)
        ]
        result = Signal(self.held.bits * lanes, name="result")
        m.d.comb += result.eq(Cat(*results))
        with m.If(take):
            m.d.sync += line[0].eq(result)
            m.d.sync += [to.eq(source) for source, to in pairwise(line)]
        with m.If(take & last):
            whole = (number(lane(result, k, self.held), self.held) for k in range(lanes))
            m.d.sync += self.o.payload.eq(Cat(*(stored(value, grid) for value in whole)))
        return m

    @property
    def held(self) -> Grid:
        """What the delay line holds: a maximum so far may lie below all outputs, a sum wraps."""
        edge = self.place.inputs[0] if isinstance(self.op, MaxPool) else self.place.output
        return edge.grid

    def _combine(self, m: Module, k: int, value: Value, running: Value, first: Value) -> Value:
        grid = self.held
        if isinstance(self.op, MaxPool):
            keep = Signal(name=f"keep{k}")
            m.d.comb += keep.eq(~first & (number(running, grid) > value))
            return Mux(keep, running, stored(value, grid))
        # Prefix sums may leave the result's range, so they wrap at its width.
        return resize(Mux(first, 0, running) + value, grid.bits)


@component.register(MaxPool)
@component.register(SumPool)
def _(op: Pool, place: Place) -> Unit:
    return Pooling(op, place)
