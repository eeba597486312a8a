"""The indices of the largest values of the last axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op


@dataclass(frozen=True, eq=False)
class TopK(Op):
    """(..., C) -> (..., k): indices by falling value, ties to the smaller index; k = 1: arg-max."""

    k: int = 1

    def check(self) -> None:
        if not 1 <= self.k <= 64:
            raise ProgramError(f"TopK keeps 1 to 64 values, not {self.k}")

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        if x.channels < self.k:
            raise ProgramError(f"TopK of {self.k} needs as many channels, and {x.shape} has fewer")
        return Edge((*x.shape[:-1], self.k), np.array([0]), np.array([x.channels - 1]))

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        return np.argsort(~x, axis=-1, kind="stable")[..., : self.k].astype(np.int64)
