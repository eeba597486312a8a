"""Parallel comparators, `pe` channels a cycle; thresholds come from a memory."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from ..models.fixed import Grid, Ints
from ..models.ops import Thresholds
from .elastic import counter, number, numbers, pipeline, rom, rom_words, stored, tree_sum
from .elementwise import by_beat, channel_foldings, same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, timing


@foldings.register
def _(op: Thresholds, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Thresholds, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: Thresholds, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(2, beats, {"i": after(beats)})


@fill.register
def _(op: Thresholds, place: Place) -> int:
    return 2


class Thresholding(Unit):
    """The component of `Thresholds`."""

    op: Thresholds

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, grid = self.place.fold.pe, self.place.inputs[0].grid
        take = pipeline(m, 2, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        beat, _ = counter(m, self.place.output.channels // lanes, take[0], "beat")
        x = Signal(self.ports.inputs[0].width)
        with m.If(take[0]):
            m.d.sync += x.eq(self.i.payload)
        # A threshold of hi + 1 is never reached, one of lo or less always.
        wide = Grid(grid.lo, grid.hi + 1)
        clamped = np.clip(self.op.thresholds, wide.lo, wide.hi)
        limits = self._rom(m, "limits", clamped, wide, beat, take[0])
        offset = self._channel(m, "offset", self.op.offset, beat, take[0])
        step = self._channel(m, "step", self.op.step, beat, take[0])
        outputs = []
        count = self.op.thresholds.shape[1]
        for k, value in enumerate(numbers(m, x, lanes, grid, "x")):
            above = Signal(count, name=f"above{k}")
            for t in range(count):
                at = (k * count + t) * wide.bits
                m.d.comb += above[t].eq(value >= number(limits[at : at + wide.bits], wide))
            total = Signal(range(count + 1), name=f"count{k}")
            m.d.comb += total.eq(tree_sum(m, list(above), f"count{k}"))
            result = self._apply(offset[k], step[k], total)
            outputs.append(stored(result, self.place.output.grid))
        with m.If(take[1]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m

    def _rom(
        self, m: Module, name: str, values: Ints, grid: Grid, beat: Value, enable: Value
    ) -> Value:
        rows = by_beat(values, self.place.fold.pe)
        return rom(m, name, rom_words(rows, grid), rows.shape[1] * grid.bits, beat, enable)

    def _channel(
        self, m: Module, name: str, values: Ints, beat: Value, enable: Value
    ) -> list[Value]:
        """One constant per lane, from a memory only where channels differ."""
        lanes = self.place.fold.pe
        grid = Grid(int(values.min()), int(values.max()))
        if grid.lo == grid.hi:
            return [C(grid.lo)] * lanes
        data = self._rom(m, name, values, grid, beat, enable)
        return [number(data[k * grid.bits : (k + 1) * grid.bits], grid) for k in range(lanes)]

    def _apply(self, offset: Value, step: Value, count: Value) -> Value:
        """Offset + step * count; with one threshold a choice between two, without a multiplier."""
        if self.op.thresholds.shape[1] == 1:
            return Mux(count[0], offset + step, offset)
        return offset + step * count


@component.register
def _(op: Thresholds, place: Place) -> Unit:
    return Thresholding(op, place)
