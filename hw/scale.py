"""Multiply and add `pe` channels a cycle: wires, an adder or a multiplier, as the constants ask.

Elastic stages: one reads operands where there is a memory or a multiplier; as many multiply, or
choose between shifts, and add, as the levels of the place ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed

from ..models.fixed import Grid
from ..models.ops import Scale
from .elastic import numbers, pipeline, resize, stored
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
def _(op: Scale, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Scale, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: Scale, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(plan_of(op, place).stages, beats, {"i": after(beats)})


@fill.register
def _(op: Scale, place: Place) -> int:
    return plan_of(op, place).stages


@dataclass(frozen=True, eq=False)
class Plan:
    """How a `Scale` is computed.

    sizes: the multipliers' absolute values where all are powers of two or 0, else empty.
    factor: the place in `sizes`; the multiplier where that is empty.
    negative: where `sizes` are used, whether the product is subtracted.  A lane of which that is
        true of some channels takes ~x = -x - 1 for those, and `addend` makes up for it.
    products: what a multiplier gives, where `sizes` are not used.
    first, add: the stages that multiply, or choose, first, and that add.
    """

    sizes: tuple[int, ...]
    factor: Field
    negative: Field
    addend: Field
    products: Products | None
    first: int
    add: int

    @property
    def adds(self) -> bool:
        """Whether there is anything to add."""
        return self.addend.grid != Grid(0, 0) or bool(self.negative.grid.hi)

    @property
    def fields(self) -> tuple[Field, ...]:
        """All constants."""
        return self.factor, self.negative, self.addend

    @property
    def stored(self) -> tuple[Field, ...]:
        """The constants that come from a memory."""
        return tuple(field for field in self.fields if not field.fixed)

    @property
    def stages(self) -> int:
        """All stages, of which the last gives the result."""
        return self.add + 1

    @property
    def at_once(self) -> Plan:
        """The same in one stage, behind what reads the operands."""
        whole = self.products and replace(self.products, at=(1,))
        return replace(self, products=whole, first=1, add=1)


def plan_of(op: Scale, place: Place) -> Plan:
    """The plan of an operator at its place."""
    multipliers, biases = op.multiplier.tolist(), op.bias.tolist()
    sizes = tuple(sorted({abs(m) for m in multipliers}))
    lanes = place.fold.pe

    def field(values: Sequence[int]) -> Field:
        # Sums are right modulo 2**64, which is enough: every result fits.
        wrapped = [(v + (1 << 63)) % (1 << 64) - (1 << 63) for v in values]
        return Field(by_beat(np.array(wrapped, np.int64), lanes))

    if any(size & (size - 1) for size in sizes):
        factor, addend = field(multipliers), field(biases)
        x, used = number_shape(place.inputs[0].grid), read_levels((factor, addend))
        products = Products.of(x, factor, place.levels, used)
        # A register stands between a product and what is added.
        add = products.last + (addend.grid != Grid(0, 0))
        nothing = field([0] * len(biases))
        return Plan((), factor, nothing, addend, products, products.first, add)
    negative = field([m < 0 for m in multipliers])
    if not negative.fixed:
        biases = [b + max(-m, 0) for m, b in zip(multipliers, biases, strict=True)]
    places, addend = field([sizes.index(abs(m)) for m in multipliers]), field(biases)
    return _shifting(Plan(sizes, places, negative, addend, None, 0, 0), place.levels)


def _shifting(plan: Plan, levels: int) -> Plan:
    """The plan of shifts with its stages: operands are read where constants differ."""
    if not plan.stored:
        return plan
    choose = 0 if plan.factor.fixed else (len(plan.sizes) - 1).bit_length()
    # A sign fits the LUT that chooses between two shifts.
    flip = not plan.negative.fixed and choose != 1
    steps = (GATE * (choose + flip), *[CHAIN] * plan.adds)
    at = cut(steps, levels, read_levels(plan.stored))
    return replace(plan, first=1 + at[0], add=1 + at[-1])


class Scaler(Unit):
    """The component of `Scale`."""

    op: Scale

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, grid = self.place.fold.pe, self.place.output.grid
        plan = plan_of(self.op, self.place)
        take = pipeline(m, plan.stages, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        memory = read_fields(m, plan.fields, take[0])
        for field in memory:
            name, end = ("addend", plan.add) if field is plan.addend else ("factor", plan.first)
            memory[field] = carried(m, memory[field], take, name, 1, end)
        x = self.i.payload
        if plan.stages > 1:
            x = Signal(self.ports.inputs[0].width)
            with m.If(take[0]):
                m.d.sync += x.eq(self.i.payload)
            x = carried(m, x, take, "x", 1, plan.first)
        values = numbers(m, x, lanes, self.place.inputs[0].grid, "x")
        outputs = [
            stored(scaled(m, plan, memory, k, value, take), grid) for k, value in enumerate(values)
        ]
        with m.If(take[-1]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m


@component.register
def _(op: Scale, place: Place) -> Unit:
    return Scaler(op, place)


def scaled(
    m: Module,
    plan: Plan,
    memory: Mapping[Field, Value],
    k: int,
    value: Value,
    takes: Sequence[Value],
) -> Value:
    """What a plan makes of the value in lane k, in the last of its stages.

    memory: what was read of the fields that are not fixed, in the stages that use it.
    """
    factor, negative = constants(plan.factor, memory)[k], constants(plan.negative, memory)[k]
    if plan.products is None:
        term, stage = _shifted(m, plan, value, factor, negative, f"flipped{k}"), plan.first
    else:
        term, stage = plan.products.build(m, takes, k, value, factor), plan.products.last
    term = carried(m, term, takes, f"product{k}", stage, plan.add)
    addend = constants(plan.addend, memory)[k]
    if plan.negative.fixed and plan.negative.rows[0, k]:
        return addend - term
    return addend + term if plan.adds else term


def _shifted(
    m: Module, plan: Plan, value: Value, factor: Value, negative: Value, name: str
) -> Value:
    """The product with a power of two, or 0; of ~x where the sign comes from memory, and is -."""
    if not plan.negative.fixed:
        flipped = Signal(signed(len(value) + (0 if value.shape().signed else 1)), name=name)
        sign = negative[0].replicate(len(flipped))
        m.d.comb += flipped.eq(resize(value, len(flipped)) ^ sign)
        value = flipped
    products = [value.shift_left(size.bit_length() - 1) if size else C(0) for size in plan.sizes]
    chosen = products[0]
    for place, product in enumerate(products[1:], 1):
        chosen = Mux(factor == place, product, chosen)
    return chosen
