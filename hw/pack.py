"""Two products in one multiplier: (b * 2**k + a) * x = b * x * 2**k + a * x.

The operands fit 18 x 18 signed bits, the multipliers of ECP5, and so those of Xilinx 7 (25 x 18).
Sums of packed products are made as they are, while those of `a` fit their k bits; then they are
split: a negative low part has borrowed 1 from the high one, which is given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from amaranth.hdl import C, Cat, Module, Shape, Signal, Value
from amaranth.hdl import signed as signed_shape

from ..models.fixed import Grid, Ints, signed, unsigned
from .elastic import resize

MULTIPLIER = 18
"""Bits of both operands of a multiplier, with sign."""


def number_shape(grid: Grid) -> Shape:
    """The shape of `elastic.number`."""
    return signed_shape(2) if grid.bipolar else Shape(grid.bits, grid.signed)


@dataclass(frozen=True)
class Pack:
    """How two weights share a multiplier.

    low: k, the bits of the low part.  layers: layers of sums of packed products.  sum: the shape of
    each part behind them.
    """

    inputs: Grid
    weights: Grid
    low: int
    layers: int
    sum: Shape

    @classmethod
    def of(cls, inputs: Grid, weights: Grid, simd: int) -> Pack | None:
        """None where a multiplier is too small, or where one input bit makes it a gate."""
        x, low = number_shape(inputs), MULTIPLIER - 1 - weights.bits
        ends = [a * b for a, b in product((inputs.lo, inputs.hi), (weights.lo, weights.hi))]
        sign = min(ends) < 0
        small = x.width + (not x.signed) > MULTIPLIER or inputs.bits == 1
        if small or low < weights.bits or not _fits(ends, 1, low, sign):
            return None
        layers = 0
        while 1 << layers < simd and _fits(ends, 2 << layers, low, sign):
            layers += 1
        most = next(b for b in range(1, low + 1) if _fits(ends, 1 << layers, b, sign))
        return cls(inputs, weights, low, layers, Shape(most, sign))

    @property
    def stored(self) -> Grid:
        """The grid of a pair in memory: `a` and above it `b`, less 1 where `a` is negative."""
        bits = self.weights.bits
        return signed(2 * bits + 1) if self.weights.signed else unsigned(2 * bits)

    @property
    def most(self) -> int:
        """Bits of packed sums that matter."""
        return self.low + self.sum.width

    @property
    def product(self) -> Shape:
        """The shape of a packed product."""
        x = number_shape(self.inputs)
        width = self.low + self.stored.bits - self.weights.bits + x.width
        return Shape(width, x.signed or self.weights.signed)

    def words(self, a: Ints, b: Ints) -> Ints:
        """Pairs of weights as they are stored."""
        bits = self.weights.bits
        return ((b - (a < 0)) << bits) | (a & ((1 << bits) - 1))

    def operand(self, word: Value) -> Value:
        """B * 2**k + a, from a stored pair: wires only."""
        bits = self.weights.bits
        if not self.weights.signed:
            return Cat(word[:bits], C(0, self.low - bits), word[bits:])
        sign = word[bits - 1].replicate(self.low - bits)
        return Cat(word[:bits], sign, word[bits:]).as_signed()

    def split(self, m: Module, sums: Sequence[Value], name: str) -> tuple[list[Value], list[Value]]:
        """Both parts of packed sums: those of `a` and those of `b`."""
        low, high = list[Value](), list[Value]()
        for k, term in enumerate(sums):
            # A term that no other was added to is narrower than the sums, and has a sign above.
            value = resize(term, self.most)
            parts = [Signal(self.sum, name=f"{name}_{part}{k}") for part in ("a", "b")]
            above = value[self.low : self.most]
            if self.sum.signed:
                above = above + value[self.low - 1]
            m.d.comb += [parts[0].eq(value[: self.sum.width]), parts[1].eq(above)]
            low.append(parts[0])
            high.append(parts[1])
        return low, high


def _fits(ends: Sequence[int], count: int, bits: int, sign: bool) -> bool:
    """Whether the sum of so many products lies on so many bits."""
    top = 1 << (bits - sign)
    return count * min(ends) >= (-top if sign else 0) and count * max(ends) < top
