"""Multiply and add per channel, without rounding: common scales of branches, biases, negation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """y[..., c] = x[..., c] * multiplier[c] + bias[c], exact.

    `multiplier` and `bias` have shape (C,), of any sign, zero included.  Outputs that are all -1
    or +1 (signs negated, or 2*x - 1 of bits) are stored in one bit.
    """

    multiplier: Ints
    bias: Ints

    def check(self) -> None:
        if self.multiplier.ndim != 1 or self.multiplier.shape != self.bias.shape:
            raise ProgramError(
                "Scale has one multiplier and one bias per channel, not shapes "
                f"{self.multiplier.shape} and {self.bias.shape}"
            )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        channels = len(self.multiplier)
        if x.channels != channels:
            raise ProgramError(
                f"Scale has {channels} channels, and the last axis of {x.shape} is "
                f"{x.channels}; give one multiplier per channel"
            )
        bounds = list(zip(x.lo.tolist(), x.hi.tolist(), strict=True))
        constants = list(zip(self.multiplier.tolist(), self.bias.tolist(), strict=True))
        ends = [(lo * m, hi * m) for (lo, hi), (m, _) in zip(bounds, constants, strict=True)]
        # The product alone is a wire in hardware and a word in NumPy: it must fit as well.
        fits("a scaled product", (end for pair in ends for end in pair))
        ends = [sorted((a + b, z + b)) for (a, z), (_, b) in zip(ends, constants, strict=True)]
        fits("a scaled output", (end for pair in ends for end in pair))
        lo, hi = np.array(ends).T
        return Edge(x.shape, lo, hi, 2 if self._signs(x, lo, hi) else 1)

    def _signs(self, x: Edge, lo: Ints, hi: Ints) -> bool:
        """True if every output is -1 or +1, and both occur."""
        # Of two values or one, nothing lies between the ends.
        ends_only = (x.hi - x.lo <= 1) | (self.multiplier == 0) | (x.step == 2)
        outer = bool(((np.abs(lo) == 1) & (np.abs(hi) == 1) & ends_only).all())
        return outer and (int(lo.min()), int(hi.max())) == (-1, 1)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        return x * self.multiplier + self.bias
