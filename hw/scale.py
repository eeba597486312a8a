"""Multiply and add `pe` channels a cycle: wires, an adder or a multiplier, as the constants ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    held,
    read_fields,
    same_lanes,
)
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
    """

    sizes: tuple[int, ...]
    factor: Field
    negative: Field
    addend: Field

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
        """A stage to read operands where there is a memory or multiplier; to multiply; to add."""
        if self.sizes:
            return 2 if self.stored else 1
        return 3 if self.adds else 2


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
        return Plan((), field(multipliers), field([0] * len(biases)), field(biases))
    negative = field([m < 0 for m in multipliers])
    if not negative.fixed:
        biases = [b + max(-m, 0) for m, b in zip(multipliers, biases, strict=True)]
    places = field([sizes.index(abs(m)) for m in multipliers])
    return Plan(sizes, places, negative, field(biases))


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
        multiply = take[1] if plan.stages == 3 else None
        if multiply is not None and plan.addend in memory:
            memory[plan.addend] = held(m, memory[plan.addend], multiply, "addend")
        x = self.i.payload
        if plan.stages > 1:
            x = Signal(self.ports.inputs[0].width)
            with m.If(take[0]):
                m.d.sync += x.eq(self.i.payload)
        values = numbers(m, x, lanes, self.place.inputs[0].grid, "x")
        outputs = [
            stored(scaled(m, plan, memory, k, value, multiply), grid)
            for k, value in enumerate(values)
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
    multiply: Value | None,
) -> Value:
    """What a plan makes of the value in lane k; `multiply` enables a register behind a product.

    memory: what was read of the fields that are not fixed.
    """
    factor, negative = constants(plan.factor, memory)[k], constants(plan.negative, memory)[k]
    if plan.sizes:
        term = _shifted(m, plan, value, factor, negative, f"flipped{k}")
    else:
        term = _product(m, value, factor, multiply, f"product{k}")
    addend = constants(plan.addend, memory)[k]
    if plan.negative.fixed and plan.negative.rows[0, k]:
        return addend - term
    return addend + term if plan.adds else term


def _product(m: Module, value: Value, factor: Value, enable: Value | None, name: str) -> Value:
    """The product, behind a register where something is added to it."""
    product = value * factor
    return product if enable is None else held(m, product, enable, name)


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
