"""Multiply and add `pe` channels a cycle: wires, an adder or a multiplier, as the constants ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed

from ..models.fixed import Grid, Ints
from ..models.ops import Scale
from .elastic import counter, lane, number, numbers, pipeline, resize, rom, rom_words, stored
from .elementwise import by_beat, channel_foldings, same_lanes
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
class Field:
    """One constant per channel, as rows of lanes in the order of the beats."""

    rows: Ints

    @cached_property
    def grid(self) -> Grid:
        """What holds every value."""
        return Grid(int(self.rows.min()), int(self.rows.max()))

    @cached_property
    def fixed(self) -> bool:
        """True if every lane sees one value only, so that no memory is needed."""
        return bool((self.rows == self.rows[0]).all())


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
    def stored(self) -> tuple[Field, ...]:
        """The constants that come from a memory."""
        return tuple(f for f in (self.factor, self.negative, self.addend) if not f.fixed)

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
        memory = _memory(m, plan, take[0])
        factor, negative = _constants(plan.factor, memory), _constants(plan.negative, memory)
        held = take[1] if plan.stages == 3 else None
        if held is not None and plan.addend in memory:
            memory[plan.addend] = _held(m, memory[plan.addend], held, "addend")
        addend = _constants(plan.addend, memory)
        x = self.i.payload
        if plan.stages > 1:
            x = Signal(self.ports.inputs[0].width)
            with m.If(take[0]):
                m.d.sync += x.eq(self.i.payload)
        outputs = []
        for k, value in enumerate(numbers(m, x, lanes, self.place.inputs[0].grid, "x")):
            if plan.sizes:
                term = _shifted(m, plan, value, factor[k], negative[k], f"flipped{k}")
            else:
                term = _product(m, value, factor[k], held, f"product{k}")
            if plan.negative.fixed and plan.negative.rows[0, k]:
                term = addend[k] - term
            elif plan.adds:
                term = addend[k] + term
            outputs.append(stored(term, grid))
        with m.If(take[-1]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m


@component.register
def _(op: Scale, place: Place) -> Unit:
    return Scaler(op, place)


def _memory(m: Module, plan: Plan, read: Value) -> dict[Field, Value]:
    """The stored constants of all lanes, side by side in one memory, there behind `read`."""
    if not plan.stored:
        return {}
    beats, ends = len(plan.factor.rows), [0]
    words = [0] * beats
    for field in plan.stored:
        packed = rom_words(field.rows, field.grid)
        words = [word | more << ends[-1] for word, more in zip(words, packed, strict=True)]
        ends.append(ends[-1] + field.grid.bits * field.rows.shape[1])
    beat, _ = counter(m, beats, read, "beat")
    data = rom(m, "constants", words, ends[-1], beat, read)
    spans = pairwise(ends)
    return {field: data[a:b] for field, (a, b) in zip(plan.stored, spans, strict=True)}


def _constants(field: Field, memory: Mapping[Field, Value]) -> list[Value]:
    """A field's value in each lane."""
    if field.fixed:
        return [C(value) for value in field.rows[0].tolist()]
    data, grid = memory[field], field.grid
    return [number(lane(data, k, grid), grid) for k in range(field.rows.shape[1])]


def _held(m: Module, value: Value, enable: Value, name: str) -> Signal:
    """A register behind a stage."""
    register = Signal(value.shape(), name=name)
    with m.If(enable):
        m.d.sync += register.eq(value)
    return register


def _product(m: Module, value: Value, factor: Value, held: Value | None, name: str) -> Value:
    """The product, behind a register where something is added to it."""
    product = value * factor
    return product if held is None else _held(m, product, held, name)


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
