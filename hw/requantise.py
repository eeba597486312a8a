"""Multiply, add, round, shift and clamp `pe` channels a cycle, in three elastic stages.

Multipliers and biases come from a memory where some lane sees several; else they are constants, and
a multiplier that is a power of two is wires.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from ..models.ops import Requantise
from .elastic import numbers, pipeline, stored
from .elementwise import (
    Field,
    by_beat,
    channel_foldings,
    constants,
    held,
    read_fields,
    same_lanes,
)
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


@dataclass(frozen=True, eq=False)
class Plan:
    """What a `Requantise` multiplies by and adds."""

    factor: Field
    addend: Field


def plan_of(op: Requantise, place: Place) -> Plan:
    """The plan of an operator at its place."""
    lanes = place.fold.pe
    # Half a unit of the result is added with the bias: one constant, no second adder.
    bias = np.array(op.rounded_bias())
    return Plan(Field(by_beat(op.multiplier, lanes)), Field(by_beat(bias, lanes)))


class Requantiser(Unit):
    """The component of `Requantise`."""

    op: Requantise

    def elaborate(self, platform: object) -> Module:
        m = Module()
        op, lanes = self.op, self.place.fold.pe
        plan = plan_of(op, self.place)
        take = pipeline(m, 3, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        memory = read_fields(m, (plan.factor, plan.addend), take[0])
        x = Signal(self.ports.inputs[0].width)
        with m.If(take[0]):
            m.d.sync += x.eq(self.i.payload)
        if plan.addend in memory:
            memory[plan.addend] = held(m, memory[plan.addend], take[1], "addend")
        factor, addend = constants(plan.factor, memory), constants(plan.addend, memory)
        outputs = []
        for k, value in enumerate(numbers(m, x, lanes, self.place.inputs[0].grid, "x")):
            if plan.factor.fixed and (known := int(plan.factor.rows[0, k])) < 0:
                # A multiplier's absolute value may be a power of two, which is wires.
                total = addend[k] - held(m, value * -known, take[1], f"product{k}")
            else:
                total = held(m, value * factor[k], take[1], f"product{k}") + addend[k]
            rounded = _rounded(m, op, total, k)
            clamped = Mux(rounded > op.hi, C(op.hi), Mux(rounded < op.lo, C(op.lo), rounded))
            outputs.append(stored(clamped, self.place.output.grid))
        with m.If(take[2]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m


def _rounded(m: Module, op: Requantise, total: Value, k: int) -> Signal:
    """A sum, to which half a unit has been added, shifted as `op` rounds."""
    rounded = Signal((total >> op.shift).shape(), name=f"rounded{k}")
    m.d.comb += rounded.eq(total >> op.shift)
    if not op.even:
        return rounded
    # A half was rounded up where nothing is shifted out.  An odd result is then one too high, and
    # its last bit falls: no borrow.
    even = Signal(rounded.shape(), name=f"even{k}")
    last = rounded[0] & total[: op.shift].any()
    m.d.comb += even.eq(Cat(last, rounded[1:]))
    return even


@component.register
def _(op: Requantise, place: Place) -> Unit:
    return Requantiser(op, place)
