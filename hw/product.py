"""Products in stages: one that is too wide for a multiplier is a sum of partial products.

Operands are cut as Yosys cuts them (`mul2dsp`) for multipliers of 18 x 18 bits, so that a product
takes as many of these in several stages as in one; of Xilinx 7's (25 x 18) it may take more.  A
step multiplies; then partial products are added, a layer a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import C, Cat, Module, Mux, Shape, Signal, Value

from .elastic import resize
from .elementwise import Field, held
from .pack import MULTIPLIER, number_shape
from .sums import CHAIN, MULTIPLY, cut, sum_shape

WORD = 65
"""Bits beyond which sums of partial products wrap: every product fits them, and its negative."""


@dataclass(frozen=True)
class Slice:
    """Bits of an operand from `low` on; known: their value, where the operand is a constant."""

    low: int
    shape: Shape
    known: int | None = None

    @property
    def gate(self) -> bool:
        """Whether a product with it is wires or an AND."""
        if self.known is not None:
            return self.known > 0 and self.known & (self.known - 1) == 0
        return self.shape == Shape(1)

    def of(self, value: Value) -> Value:
        """The number these bits are."""
        bits = value[self.low : self.low + self.shape.width]
        return bits.as_signed() if self.shape.signed else bits


@dataclass(frozen=True)
class Term:
    """A number of this shape, shifted left by `shift`."""

    shift: int
    shape: Shape

    def plus(self, other: Term, most: int) -> Term:
        """The sum with a term that is shifted at least as far, below 2**most."""
        above, low = self.above(other), other.shift - self.shift
        shape = sum_shape([above, other.shape], None) if above.width else other.shape
        width = min(low + shape.width, most - self.shift)
        return Term(self.shift, Shape(width, self.shape.signed or other.shape.signed))

    def above(self, other: Term) -> Shape:
        """What of this term the other is added to: its bits from the other's lowest on."""
        left = self.shape.width - (other.shift - self.shift)
        return Shape(max(left, int(self.shape.signed)), self.shape.signed)


@dataclass(frozen=True)
class Product:
    """A product, exact in the width of both operands together, but at most `WORD` bits.

    known: the factor, where it is a constant.
    """

    x: Shape
    factor: Shape
    known: int | None = None

    @property
    def wires(self) -> bool:
        """Whether the product is the input's bits, or nothing."""
        return self.known is not None and self.known >= 0 and self.known & (self.known - 1) == 0

    @property
    def shape(self) -> Shape:
        """The shape of the product."""
        sign = self.x.signed or self.factor.signed
        return Shape(min(self.x.width + self.factor.width, WORD), sign)

    @cached_property
    def partial(self) -> tuple[tuple[Slice, Slice], ...]:
        """What is multiplied, the lowest partial product first: slices of x and of the factor."""
        most = MULTIPLIER - self.shape.signed
        pairs = [(x, w) for x in _slices(self.x, most) for w in self._factors(most)]
        pairs = [(x, w) for x, w in pairs if x.low + w.low < self.shape.width]
        return tuple(sorted(pairs, key=lambda pair: pair[0].low + pair[1].low))

    def _factors(self, most: int) -> list[Slice]:
        if self.known is None:
            return _slices(self.factor, most)
        # Low zeros of a constant are wires, and so are whole slices of them.
        zeros = (self.known & -self.known).bit_length() - 1 if self.known else 0
        odd, made = self.known >> zeros, list[Slice]()
        for part in _slices(C(odd).shape(), most):
            value = odd >> part.low
            if not part.shape.signed:
                value &= (1 << part.shape.width) - 1
            if value:
                made.append(Slice(zeros + part.low, C(value).shape(), value))
        return made

    @cached_property
    def layers(self) -> tuple[tuple[Term, ...], ...]:
        """The partial products, the terms behind each layer of sums, and at last the one sum."""
        terms = tuple(
            Term(
                x.low + w.low,
                Shape(
                    min(x.shape.width + w.shape.width, self.shape.width - x.low - w.low),
                    x.shape.signed or w.shape.signed,
                ),
            )
            for x, w in self.partial
        )
        made = [terms]
        while len(made[-1]) > 1:
            pairs = (made[-1][k : k + 2] for k in range(0, len(made[-1]), 2))
            made.append(
                tuple(p[0].plus(p[1], self.shape.width) if len(p) == 2 else p[0] for p in pairs)
            )
        return tuple(made)

    def multiply(self, m: Module, x: Value, factor: Value, name: str) -> list[Value]:
        """The partial products."""
        made: list[Value] = []
        for number, ((a, b), term) in enumerate(zip(self.partial, self.layers[0], strict=True)):
            left, right = a.of(x), b.of(factor) if b.known is None else C(b.known)
            wire = Signal(term.shape, name=f"{name}_m{number}")
            # A multiplier is not for a single bit.
            if b.known is None and b.gate:
                value = Mux(right, left, 0)
            elif a.gate:
                value = Mux(left, right, 0)
            else:
                value = left * right
            m.d.comb += wire.eq(value)
            made.append(wire)
        return made

    def add(self, m: Module, values: Sequence[Value], layer: int, name: str) -> list[Value]:
        """The terms behind a layer of sums, counted from 1."""
        terms, behind = self.layers[layer - 1 : layer + 1]
        made: list[Value] = []
        for number, term in enumerate(behind):
            pair = values[2 * number : 2 * number + 2]
            if len(pair) == 1:
                made.append(pair[0])
                continue
            first, second = terms[2 * number : 2 * number + 2]
            low = second.shift - first.shift
            above = resize(pair[0], low + first.above(second).width)[low:]
            total = (above.as_signed() if first.shape.signed else above) + pair[1]
            wire = Signal(term.shape, name=f"{name}_s{layer}_{number}")
            m.d.comb += wire.eq(Cat(resize(pair[0], low), resize(total, len(wire) - low)))
            made.append(wire)
        return made

    def whole(self, values: Sequence[Value]) -> Value:
        """The product, from the one sum."""
        if not values:
            return C(0, self.shape)
        bits = Cat(C(0, self.layers[-1][0].shift), values[0])
        value = resize(bits.as_signed() if values[0].shape().signed else bits, self.shape.width)
        return value.as_signed() if self.shape.signed else value


@dataclass(frozen=True)
class Products:
    """The products of all lanes, in the same stages.

    at: the stage of each step, of which the first multiplies.  In one stage they are whole.
    """

    lanes: tuple[Product, ...]
    at: tuple[int, ...]

    @classmethod
    def of(cls, x: Shape, factor: Field, levels: int, used: int, size: bool = False) -> Products:
        """Products with a field, from stage 1 on, in stages of so many levels.

        used: levels in front of the first.  size: of constants their absolute value multiplies.
        """
        shape, lanes = number_shape(factor.grid), list[Product]()
        for value in factor.rows[0].tolist():
            known = abs(value) if size else value
            own = Product(x, C(known).shape(), known) if factor.fixed else Product(x, shape)
            lanes.append(own)
        wires = all(lane.wires for lane in lanes)
        multiply = 0 if wires else MULTIPLY
        layers = 0 if wires else max(len(lane.layers) for lane in lanes) - 1
        stages = cut([multiply, *[CHAIN] * layers], levels, used)
        return cls(tuple(lanes), tuple(1 + stage for stage in stages))

    @property
    def wires(self) -> bool:
        """Whether all products are wires."""
        return all(lane.wires for lane in self.lanes)

    @property
    def cut(self) -> bool:
        """Whether there are several stages."""
        return self.first < self.last

    @property
    def first(self) -> int:
        """The stage that reads the operands."""
        return self.at[0]

    @property
    def last(self) -> int:
        """The stage that has the products."""
        return self.at[-1]

    def held(self, lane: Product) -> list[tuple[Term, ...]]:
        """What of a lane stands in registers between its stages, a list for each register."""
        made = list[tuple[Term, ...]]()
        for step, (at, behind) in enumerate(zip(self.at, self.at[1:], strict=False)):
            made += [lane.layers[min(step, len(lane.layers) - 1)]] * (behind - at)
        return made

    def build(
        self, m: Module, takes: Sequence[Value], k: int, value: Value, factor: Value
    ) -> Value:
        """The product of lane k in stage `last`, of operands in stage `first`."""
        if not self.cut:
            return value * factor
        lane, name = self.lanes[k], f"product{k}"
        values = lane.multiply(m, value, factor, name)
        stage = self.first
        for step, at in enumerate(self.at[1:], 1):
            values = [
                carried(m, part, takes, f"{name}_{step}_{number}", stage, at)
                for number, part in enumerate(values)
            ]
            stage = at
            if step < len(lane.layers):
                values = lane.add(m, values, step, name)
        return lane.whole(values)


def carried(
    m: Module, value: Value, takes: Sequence[Value], name: str, begin: int, end: int
) -> Value:
    """A value of stage `begin` in stage `end`, through a register for each stage between."""
    for stage in range(begin, end):
        last = stage + 1 == end
        value = held(m, value, takes[stage], name if last else f"{name}_at{stage + 1}")
    return value


def _slices(shape: Shape, most: int) -> list[Slice]:
    """An operand in slices of `most` bits; only the last has its sign, and one bit more for it."""
    made, low = list[Slice](), 0
    while shape.width - low > most + shape.signed:
        made.append(Slice(low, Shape(most)))
        low += most
    return [*made, Slice(low, Shape(shape.width - low, shape.signed))]
