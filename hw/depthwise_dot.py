"""Depthwise dot products, `pe` channels a cycle: read weights, multiply, accumulate by channel."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from ..models.fixed import Grid
from ..models.ops import DepthwiseDot
from .dot import lanes as lane_arithmetic
from .dot import start_values
from .elastic import accumulator, counters, lane, pipeline, resize, rom, rom_words
from .elementwise import channel_foldings, same_lanes
from .pool import last_taps
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, tail, timing


@foldings.register
def _(op: DepthwiseDot, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: DepthwiseDot, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: DepthwiseDot, place: Place) -> Timing:
    emit = last_taps(op.weights.shape[1], place)
    return pipeline_timing(3, len(emit), {"i": after(len(emit))}, emit)


@fill.register
def _(op: DepthwiseDot, place: Place) -> int:
    channels, taps = op.weights.shape
    return (taps - 1) * (channels // place.fold.pe) + 3


@tail.register
def _(op: DepthwiseDot, place: Place) -> int:
    return 3


class DepthwiseMatrixVector(Unit):
    """The component of `DepthwiseDot`."""

    op: DepthwiseDot

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pe, grid, weight = self.place.fold.pe, self.place.output.grid, self.op.grid
        x_grid = self.place.inputs[0].grid
        channels, taps = self.op.weights.shape
        groups = channels // pe
        last2 = Signal()
        take = pipeline(m, 3, self.i.valid, self.o, emit=last2)
        m.d.comb += self.i.ready.eq(take[0])
        count = counters(m, take[0], group=groups, tap=taps)
        tap, last = count["tap"]
        address, _ = counters(m, take[0], address=groups * taps)["address"]
        words = rom_words(self.op.weights.T.reshape(taps * groups, pe), weight)
        weights = rom(m, "weights", words, weight.bits * pe, address, take[0])
        x = Signal(self.ports.inputs[0].width)
        first1, last1 = Signal(name="first1"), Signal(name="last1")
        first2 = Signal(name="first2")
        with m.If(take[0]):
            m.d.sync += [x.eq(self.i.payload), first1.eq(tap == 0), last1.eq(last)]
        with m.If(take[1]):
            m.d.sync += [first2.eq(first1), last2.eq(last1)]
        part = lane_arithmetic(x_grid, weight)
        starts = self._starts(m, count["group"][0], take)
        shape = accumulator(grid)
        line = [Signal(shape.width * pe, name=f"running{k}") for k in range(groups)]
        sums = []
        for k in range(pe):
            total = part(m, lane(x, k, x_grid), lane(weights, k, weight), 1, shape.width, f"p{k}")
            partial = Signal(total.shape(), name=f"partial{k}")
            with m.If(take[1]):
                m.d.sync += partial.eq(total)
            running = line[-1][k * shape.width : (k + 1) * shape.width].as_signed()
            result = Signal(shape, name=f"sum{k}")
            m.d.comb += result.eq((Mux(first2, starts[k], running) + partial)[: shape.width])
            sums.append(result)
        with m.If(take[2]):
            m.d.sync += line[0].eq(Cat(*sums))
            m.d.sync += [to.eq(source) for source, to in pairwise(line)]
        with m.If(take[2] & last2):
            m.d.sync += self.o.payload.eq(Cat(*(resize(s, grid.bits) for s in sums)))
        return m

    def _starts(self, m: Module, group: Value, take: list[Signal]) -> list[Value]:
        """What each channel starts from in stage 2; from a memory where channels differ."""
        pe, taps = self.place.fold.pe, self.op.weights.shape[1]
        values = start_values(self.op.weights, self.place.inputs[0].grid, self.op.grid)
        if (values == values[0]).all():
            return [C(int(values[0]))] * pe
        grid = Grid(0, taps)
        words = rom_words(values.reshape(-1, pe), grid)
        data = rom(m, "starts", words, grid.bits * pe, group, take[0])
        held = Signal(len(data), name="start")
        with m.If(take[1]):
            m.d.sync += held.eq(data)
        return [lane(held, k, grid) for k in range(pe)]


@component.register
def _(op: DepthwiseDot, place: Place) -> Unit:
    return DepthwiseMatrixVector(op, place)
