"""Pooling over taps, `pe` channels a cycle: running values move through a delay line."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value

from ..models.fixed import Ints
from ..models.ops import MaxPool, SumPool
from ..models.ops.pool import Pool
from .elastic import counters, number, numbers, pipeline, resize, stored
from .elementwise import channel_foldings, same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, timing


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
        line = [Signal(self.ports.outputs[0].width, name=f"running{k}") for k in range(groups)]
        values = numbers(m, self.i.payload, lanes, self.place.inputs[0].grid, "x")
        results = []
        for k, value in enumerate(values):
            running = line[-1][k * grid.bits : (k + 1) * grid.bits]
            results.append(self._combine(m, k, value, running, tap == 0))
        result = Signal(self.ports.outputs[0].width)
        m.d.comb += result.eq(Cat(*results))
        with m.If(take):
            m.d.sync += line[0].eq(result)
            m.d.sync += [to.eq(source) for source, to in pairwise(line)]
        with m.If(take & last):
            m.d.sync += self.o.payload.eq(result)
        return m

    def _combine(self, m: Module, k: int, value: Value, running: Value, first: Value) -> Value:
        grid = self.place.output.grid
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
