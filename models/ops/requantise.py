"""Multiply, round, shift and clamp: scales and biases absorbed in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError, round_shift
from ..program import Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Requantise(Op):
    """y[..., c] = clamp((x[..., c] * multiplier[c] + bias[c] + 2**(shift-1)) >> shift, lo, hi).

    Round half up, or with `even` (0 or 1) a half to the even neighbour, as ONNX's quantisers do;
    arithmetic shift; `multiplier` and `bias` have shape (C,); 1 <= shift <= 62.
    """

    multiplier: Ints
    bias: Ints
    shift: int
    lo: int
    hi: int
    even: int = 0

    def check(self) -> None:
        if self.multiplier.ndim != 1 or self.multiplier.shape != self.bias.shape:
            raise ProgramError(
                "Requantise has one multiplier and one bias per channel, not shapes "
                f"{self.multiplier.shape} and {self.bias.shape}"
            )
        if not 1 <= self.shift <= 62:
            raise ProgramError(f"Requantise shifts by 1 to 62 bits, not {self.shift}")
        if self.even not in (0, 1):
            raise ProgramError(f"Requantise has even 0 or 1, not {self.even}")
        fits("a bound or a bias with its rounding", [self.lo, self.hi, *self.rounded_bias()])
        if self.lo > self.hi:
            raise ProgramError(f"Requantise clamps to lo <= hi, not {self.lo}..{self.hi}")

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        channels = len(self.multiplier)
        if x.channels != channels:
            raise ProgramError(
                f"Requantise has {channels} channels, and the last axis of {x.shape} is "
                f"{x.channels}; give one multiplier per channel"
            )
        lo, hi = self.sums(x)
        fits("a product before rounding", [*lo, *hi])
        zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
        less = 1 << (self.shift - 1)
        # The definition, of sums to which half a unit has been added already.
        ends = [
            round_shift(np.array(bound), one, zero - less, self.shift, self.lo, self.hi, self.even)
            for bound in (lo, hi)
        ]
        return Edge(x.shape, ends[0], ends[1])

    def rounded_bias(self) -> list[int]:
        """Bias + 2**(shift-1) per channel, in Python integers."""
        return [bias + (1 << (self.shift - 1)) for bias in self.bias.tolist()]

    def sums(self, x: Edge) -> tuple[list[int], list[int]]:
        """Bounds of x*multiplier + bias + half per channel, in Python integers."""
        half = 1 << (self.shift - 1)
        lo, hi = [], []
        for low, high, m, b in zip(
            x.lo.tolist(), x.hi.tolist(), self.multiplier.tolist(), self.bias.tolist(), strict=True
        ):
            ends = (low * m + b + half, high * m + b + half)
            # The product alone is a wire in hardware and a word in NumPy: it must fit as well.
            fits("a product before rounding", (low * m, high * m))
            lo.append(min(ends))
            hi.append(max(ends))
        return lo, hi

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        return round_shift(x, self.multiplier, self.bias, self.shift, self.lo, self.hi, self.even)
