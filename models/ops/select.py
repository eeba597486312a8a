"""Some channels of the last axis: what splits, slices and grouped convolutions keep."""

from __future__ import annotations

from dataclasses import dataclass

from ..fixed import Ints, ProgramError
from ..program import Edge, Op


@dataclass(frozen=True, eq=False)
class Select(Op):
    """(..., C) -> (..., K): y[..., j] = x[..., channels[j]], `channels` in rising order."""

    channels: Ints

    def check(self) -> None:
        if self.channels.ndim != 1 or not self.channels.size:
            raise ProgramError(
                f"Select channels have shape (K,) with K of 1 or more, not {self.channels.shape}"
            )
        if self.channels[0] < 0:
            raise ProgramError(
                f"Select counts channels from 0, and {self.channels[0]} is below; name existing "
                "channels"
            )
        falls = (self.channels[1:] <= self.channels[:-1]).nonzero()[0]
        if falls.size:
            before, behind = self.channels[falls[0] : falls[0] + 2]
            raise ProgramError(
                f"Select takes channels in rising order, and {behind} follows {before}; sort them, "
                "each once"
            )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        if self.channels[-1] >= x.channels:
            raise ProgramError(
                f"Select takes channel {self.channels[-1]}, and the last axis of {x.shape} has "
                f"channels 0 to {x.channels - 1}; name existing channels"
            )
        lo, hi = x.lo[self.channels], x.hi[self.channels]
        # Signs of which only one is left are a constant, which is no sign any more.
        step = x.step if lo.min() < hi.max() else 1
        return Edge((*x.shape[:-1], len(self.channels)), lo, hi, step)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        return x[..., self.channels]
