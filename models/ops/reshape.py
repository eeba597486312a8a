"""The same stream of values under another shape: no arithmetic and no hardware."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """Any shape -> `shape`, values in row-major order; `Reshape((H*W*C,))` is flatten."""

    shape: tuple[int, ...]

    def check(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise ProgramError(f"Reshape has positive sizes, not {self.shape}")

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        if prod(self.shape) != x.elements:
            raise ProgramError(
                f"Reshape from {x.shape} to {self.shape} changes the number of values from "
                f"{x.elements} to {prod(self.shape)}"
            )
        lo, hi = self._follow(x.lo, x), self._follow(x.hi, x)
        return Edge(self.shape, lo.min(0), hi.max(0), x.step)

    def _follow(self, bound: Ints, x: Edge) -> Ints:
        return np.broadcast_to(bound, x.shape).reshape(-1, self.shape[-1])

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        return x.reshape(len(x), *self.shape)
