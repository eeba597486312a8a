"""One small dot product per channel, over the taps of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Grid, Ints, ProgramError
from ..program import Edge, Op, fits
from .dot import check_weights


@dataclass(frozen=True, eq=False)
class DepthwiseDot(Op):
    """y[..., c] = sum_k weights[c, k] * x[..., k*C + c]: weights (C, K) on a `grid` as for `Dot`.

    The last axis of x holds K taps of C channels each, as `Window` emits them.
    """

    weights: Ints
    grid: Grid

    def check(self) -> None:
        if self.weights.ndim != 2 or self.weights.size == 0:
            raise ProgramError(f"DepthwiseDot weights have shape (C, K), not {self.weights.shape}")
        check_weights("DepthwiseDot", self.weights, self.grid)

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        channels, taps = self.weights.shape
        if x.channels != channels * taps:
            raise ProgramError(
                f"DepthwiseDot takes {taps} taps of {channels} channels, {taps * channels} values, "
                f"and the last axis of {x.shape} is {x.channels}; put a Window before it"
            )
        lo, hi = x.lo.reshape(taps, channels), x.hi.reshape(taps, channels)
        w = self.weights.T
        largest = max(abs(int(x.lo.min())), abs(int(x.hi.max())), 1)
        fits("a depthwise dot product", [largest * int(np.abs(w).max()) * taps])
        positive, negative = np.maximum(w, 0), np.minimum(w, 0)
        return Edge(
            (*x.shape[:-1], channels),
            (positive * lo + negative * hi).sum(0),
            (positive * hi + negative * lo).sum(0),
        )

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        channels, taps = self.weights.shape
        return (x.reshape(*x.shape[:-1], taps, channels) * self.weights.T).sum(-2)
