"""Multiply, add, round, shift and clamp `pe` channels a cycle, in elastic stages.

Multipliers and biases come from a memory where some lane sees several; else they are constants, and
a multiplier that is a power of two is wires.  A stage reads operands; as many multiply, and do the
rest, as the levels of the place ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    read_fields,
    read_levels,
    same_lanes,
)
from .pack import number_shape
from .product import Products, carried
from .sums import CHAIN, GATE, cut
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
    return pipeline_timing(plan_of(op, place).stages, beats, {"i": after(beats)})


@fill.register
def _(op: Requantise, place: Place) -> int:
    return plan_of(op, place).stages


@dataclass(frozen=True, eq=False)
class Plan:
    """What a `Requantise` multiplies by and adds, and its stages.

    add, round, compare, select: the stages of what is done with a product, in this order.
    """

    factor: Field
    addend: Field
    products: Products
    add: int
    round: int
    compare: int
    select: int

    @property
    def stages(self) -> int:
        """All stages, with stage 0, which reads operands."""
        return self.select + 1


def plan_of(op: Requantise, place: Place) -> Plan:
    """The plan of an operator at its place."""
    lanes = place.fold.pe
    # Half a unit of the result is added with the bias: one constant, no second adder.
    bias = np.array(op.rounded_bias())
    factor, addend = Field(by_beat(op.multiplier, lanes)), Field(by_beat(bias, lanes))
    x, used = number_shape(place.inputs[0].grid), read_levels((factor, addend))
    products = Products.of(x, factor, place.levels, used, size=True)
    # Whether a half is odd is decided by all bits that are shifted out, which LUTs of 4 inputs see.
    even = (GATE * -(-op.shift.bit_length() // 2),) if op.even else ()
    steps = (CHAIN, *even, CHAIN, GATE)
    # A register stands behind products; behind wires only where all the rest is one stage.
    begin, at = products.last + 1, cut(steps, place.levels)
    if products.wires and at[-1]:
        begin, at = products.last, cut(steps, place.levels, used if products.first == 1 else 0)
    ends = (begin + stage for stage in (at[0], *at[-3:]))
    return Plan(factor, addend, products, *ends)


class Requantiser(Unit):
    """The component of `Requantise`."""

    op: Requantise

    def elaborate(self, platform: object) -> Module:
        m = Module()
        op, lanes = self.op, self.place.fold.pe
        plan = plan_of(op, self.place)
        first = plan.products.first
        take = pipeline(m, plan.stages, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        memory = read_fields(m, (plan.factor, plan.addend), take[0])
        x = Signal(self.ports.inputs[0].width)
        with m.If(take[0]):
            m.d.sync += x.eq(self.i.payload)
        x = carried(m, x, take, "x", 1, first)
        for field, name, end in (
            (plan.factor, "factor", first), (plan.addend, "addend", plan.add),
        ):  # fmt: skip
            if field in memory:
                memory[field] = carried(m, memory[field], take, name, 1, end)
        factor, addend = constants(plan.factor, memory), constants(plan.addend, memory)
        values = numbers(m, x, lanes, self.place.inputs[0].grid, "x")
        grid = self.place.output.grid
        outputs = [
            stored(self._lane(m, take, plan, k, values[k], factor[k], addend[k]), grid)
            for k in range(lanes)
        ]
        with m.If(take[-1]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m

    def _lane(
        self, m: Module, take: Sequence[Value], plan: Plan, k: int, value: Value, factor: Value,
        addend: Value,
    ) -> Value:  # fmt: skip
        """What lane k gives in the last stage."""
        op = self.op
        negative = plan.factor.fixed and int(plan.factor.rows[0, k]) < 0
        if negative:
            # A multiplier's absolute value may be a power of two, which is wires.
            factor = C(-int(plan.factor.rows[0, k]))
        product = plan.products.build(m, take, k, value, factor)
        product = carried(m, product, take, f"product{k}", plan.products.last, plan.add)
        total = addend - product if negative else product + addend
        total = carried(m, total, take, f"total{k}", plan.add, plan.round)
        rounded = _rounded(m, op, total, k)
        rounded = carried(m, rounded, take, f"round{k}", plan.round, plan.compare)
        high, low = rounded > op.hi, rounded < op.lo
        rounded = carried(m, rounded, take, f"within{k}", plan.compare, plan.select)
        high = carried(m, high, take, f"high{k}", plan.compare, plan.select)
        low = carried(m, low, take, f"low{k}", plan.compare, plan.select)
        return Mux(high, C(op.hi), Mux(low, C(op.lo), rounded))


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
