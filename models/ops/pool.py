"""Pooling over the taps of a window: the largest value, or the sum, of each channel."""

from __future__ import annotations

from dataclasses import dataclass

from ..fixed import Ints, ProgramError
from ..program import Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Pool(Op):
    """(..., K*C) -> (..., C): `size` taps of each channel reduced to one value.

    Abstract: `MaxPool` and `SumPool` say how.  An average is a sum and a `Requantise`; a global
    pool is a `Reshape` to (1, 1, H*W*C) and a pool of H*W taps.
    """

    size: int

    def check(self) -> None:
        if self.size < 1:
            raise ProgramError(f"{type(self).__name__} takes 1 tap or more, not {self.size}")

    def taps(self, x: Edge) -> tuple[Ints, Ints]:
        """Bounds of x as (K, C)."""
        if x.channels % self.size:
            raise ProgramError(
                f"{type(self).__name__} splits the last axis of {x.shape} into {self.size} taps, "
                f"which does not divide {x.channels}; put a Window of {self.size} taps before it"
            )
        return x.lo.reshape(self.size, -1), x.hi.reshape(self.size, -1)

    def split(self, x: Ints) -> Ints:
        """X as (..., K, C)."""
        return x.reshape(*x.shape[:-1], self.size, x.shape[-1] // self.size)


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """y[..., c] = max_k x[..., k*C + c]."""

    def infer(self, *edges: Edge) -> Edge:
        lo, hi = self.taps(edges[0])
        return Edge((*edges[0].shape[:-1], lo.shape[1]), lo.max(0), hi.max(0), edges[0].step)

    def __call__(self, *xs: Ints) -> Ints:
        return self.split(xs[0]).max(-2)


@dataclass(frozen=True, eq=False)
class SumPool(Pool):
    """y[..., c] = sum_k x[..., k*C + c]."""

    def infer(self, *edges: Edge) -> Edge:
        lo, hi = self.taps(edges[0])
        fits("a sum over taps", [self.size * int(lo.min()), self.size * int(hi.max())])
        return Edge((*edges[0].shape[:-1], lo.shape[1]), lo.sum(0), hi.sum(0))

    def __call__(self, *xs: Ints) -> Ints:
        return self.split(xs[0]).sum(-2)
