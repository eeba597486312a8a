"""Dot products of the last axis with constant rows of weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Grid, Ints, ProgramError
from ..program import Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Dot(Op):
    """y[..., n] = sum_s weights[n, s] * x[..., s].

    `weights` has shape (N, S) and lies on `grid`: {-1, +1} (binary), {-1, 0, 1} (ternary), or
    integers of 2 to 16 bits.  Binary weights on inputs in {-1, +1} become XNOR and popcount, on
    zero-padded ones the same under a mask, on integers additions and subtractions.
    """

    weights: Ints
    grid: Grid

    def check(self) -> None:
        if self.weights.ndim != 2 or self.weights.size == 0:
            raise ProgramError(
                f"{type(self).__name__} weights have shape (N, S), not {self.weights.shape}"
            )
        check_weights(type(self).__name__, self.weights, self.grid)

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        if x.channels != self.weights.shape[1]:
            raise ProgramError(
                f"{type(self).__name__} has weights for {self.weights.shape[1]} inputs, and the "
                f"last axis of {x.shape} is {x.channels}; flatten or reshape first"
            )
        lo, hi = dot_range(self.weights, x.lo, x.hi)
        return Edge((*x.shape[:-1], len(self.weights)), lo, hi)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        return x @ self.weights.T


def check_weights(name: str, weights: Ints, grid: Grid) -> None:
    """Raise unless weights lie on a grid of at most 16 bits."""
    if grid.bits > 16:
        raise ProgramError(f"{name} weights take 1 to 16 bits, not {grid.bits}; quantise them")
    if not grid.holds(weights):
        raise ProgramError(
            f"{name} weights span {int(weights.min())}..{int(weights.max())}, outside "
            f"{grid.lo}..{grid.hi} step {grid.step}; declare a wider grid"
        )


def dot_range(weights: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    """Bounds of sum_s weights[n, s] * x[s] for lo[s] <= x[s] <= hi[s], attained, per row n."""
    largest = max(abs(int(lo.min())), abs(int(hi.max())), abs(int(lo.max())), abs(int(hi.min())))
    # An intermediate bound in Python integers: NumPy would wrap silently.
    fits("a dot product", [largest * int(np.abs(weights).max()) * weights.shape[1]])
    positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
    return positive @ lo + negative @ hi, positive @ hi + negative @ lo
