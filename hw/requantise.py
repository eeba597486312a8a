"""Multiply, add, round, shift and clamp `pe` channels a cycle, in three elastic stages."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal

from ..models.fixed import Grid
from ..models.ops import Requantise
from .elastic import counter, number, numbers, pipeline, rom, rom_words, stored
from .elementwise import by_beat, channel_foldings, same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, timing


@foldings.register
def _(op: Requantise, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Requantise, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: Requantise, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(3, beats, {"i": after(beats)})


@fill.register
def _(op: Requantise, place: Place) -> int:
    return 3


class Requantiser(Unit):
    """The component of `Requantise`."""

    op: Requantise

    def elaborate(self, platform: object) -> Module:
        m = Module()
        op, lanes = self.op, self.place.fold.pe
        take = pipeline(m, 3, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        beat, _ = counter(m, self.place.output.channels // lanes, take[0], "beat")
        # Half a unit of the result is added with the bias: one constant, no second adder.
        bias = np.array(op.rounded_bias())
        m_grid = Grid(int(op.multiplier.min()), int(op.multiplier.max()))
        b_grid = Grid(int(bias.min()), int(bias.max()))
        words = [
            low | high << (m_grid.bits * lanes)
            for low, high in zip(
                rom_words(by_beat(op.multiplier, lanes), m_grid),
                rom_words(by_beat(bias, lanes), b_grid),
                strict=True,
            )
        ]
        width = (m_grid.bits + b_grid.bits) * lanes
        constants = rom(m, "constants", words, width, beat, take[0])
        x = Signal(self.ports.inputs[0].width)
        addend = Signal(b_grid.bits * lanes)
        with m.If(take[0]):
            m.d.sync += x.eq(self.i.payload)
        with m.If(take[1]):
            m.d.sync += addend.eq(constants[m_grid.bits * lanes :])
        outputs = []
        for k, value in enumerate(numbers(m, x, lanes, self.place.inputs[0].grid, "x")):
            factor = number(constants[k * m_grid.bits : (k + 1) * m_grid.bits], m_grid)
            product = Signal((value * factor).shape(), name=f"product{k}")
            with m.If(take[1]):
                m.d.sync += product.eq(value * factor)
            total = product + number(addend[k * b_grid.bits : (k + 1) * b_grid.bits], b_grid)
            rounded = Signal((total >> op.shift).shape(), name=f"rounded{k}")
            m.d.comb += rounded.eq(total >> op.shift)
            if op.even:
                # A half was rounded up where nothing is shifted out.  An odd result is then one too
                # high, and its last bit falls: no borrow.
                even = Signal(rounded.shape(), name=f"even{k}")
                last = rounded[0] & total[: op.shift].any()
                m.d.comb += even.eq(Cat(last, rounded[1:]))
                rounded = even
            clamped = Mux(rounded > op.hi, C(op.hi), Mux(rounded < op.lo, C(op.lo), rounded))
            outputs.append(stored(clamped, self.place.output.grid))
        with m.If(take[2]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m


@component.register
def _(op: Requantise, place: Place) -> Unit:
    return Requantiser(op, place)
