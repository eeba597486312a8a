"""Depthwise dot products, `pe` channels a cycle: read weights, multiply, accumulate by channel."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from ..models.ops import DepthwiseDot
from .elastic import accumulator, counters, in_block, lane, pipeline, resize, rom, rom_words
from .elementwise import channel_foldings, same_lanes
from .lanes import Lanes, Operands
from .matrix import Plan, delayed, start_words
from .pool import last_taps
from .sums import READ
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, tail, timing


@foldings.register
def _(op: DepthwiseDot, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: DepthwiseDot, place: Place) -> Ports:
    return same_lanes(place)


def plan(op: DepthwiseDot, place: Place) -> Plan[Lanes]:
    """The datapath of one channel, which all have alike, and its stages."""
    channels, taps = op.weights.shape
    words = channels // place.fold.pe * taps
    used = READ if in_block(op.grid.bits * place.fold.pe, words) else 0
    width = accumulator(place.output.grid).width
    return Plan.of(Lanes(place.inputs[0].grid, op.grid, 1, 1, width), used, place.levels)


@timing.register
def _(op: DepthwiseDot, place: Place) -> Timing:
    emit = last_taps(op.weights.shape[1], place)
    return pipeline_timing(plan(op, place).stages, len(emit), {"i": after(len(emit))}, emit)


@fill.register
def _(op: DepthwiseDot, place: Place) -> int:
    channels, taps = op.weights.shape
    return (taps - 1) * (channels // place.fold.pe) + plan(op, place).stages


@tail.register
def _(op: DepthwiseDot, place: Place) -> int:
    return plan(op, place).stages


class DepthwiseMatrixVector(Unit):
    """The component of `DepthwiseDot`."""

    op: DepthwiseDot

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pe, grid, weight = self.place.fold.pe, self.place.output.grid, self.op.grid
        x_grid = self.place.inputs[0].grid
        channels, taps = self.op.weights.shape
        groups = channels // pe
        made = plan(self.op, self.place)
        leaves = Signal(name="leaving")
        takes = pipeline(m, made.stages, self.i.valid, self.o, emit=leaves)
        m.d.comb += self.i.ready.eq(takes[0])
        tap, last = counters(m, takes[0], group=groups, tap=taps)["tap"]
        first = delayed(m, takes, tap == 0, "first")[-1]
        m.d.comb += leaves.eq(delayed(m, takes, last, "last")[-1])
        address, _ = counters(m, takes[0], address=groups * taps)["address"]
        words = rom_words(self.op.weights.T.reshape(taps * groups, pe), weight)
        weights = rom(m, "weights", words, weight.bits * pe, address, takes[0])
        x = Signal(self.ports.inputs[0].width)
        with m.If(takes[0]):
            m.d.sync += x.eq(self.i.payload)

        # The last stage: running sums of all groups move on by a group a step.
        shape = accumulator(grid)
        values = made.lanes.starts(self.op.weights).reshape(-1, pe)
        starts = start_words(m, values, shape.width, takes, [C(1)] * made.stages)
        line = [Signal(shape.width * pe, name=f"running{k}") for k in range(groups)]
        sums: list[Value] = []
        for k in range(pe):
            operands = Operands([lane(x, k, x_grid)], [[lane(weights, k, weight)]])
            (addend,) = made.build(m, takes, f"p{k}_", operands)
            running = line[-1][k * shape.width : (k + 1) * shape.width].as_signed()
            result = Signal(shape, name=f"sum{k}")
            m.d.comb += result.eq((Mux(first, starts[k], running) + addend)[: shape.width])
            sums.append(result)
        with m.If(takes[-1]):
            m.d.sync += line[0].eq(Cat(*sums))
            m.d.sync += [to.eq(source) for source, to in pairwise(line)]
        with m.If(takes[-1] & leaves):
            m.d.sync += self.o.payload.eq(Cat(*(resize(s, grid.bits) for s in sums)))
        return m


@component.register
def _(op: DepthwiseDot, place: Place) -> Unit:
    return DepthwiseMatrixVector(op, place)
