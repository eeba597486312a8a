"""Sums of table entries that the inputs choose: a matrix product of quantised activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Grid, Ints, ProgramError
from ..program import Edge, Op, fits
from .dot import check_weights


@dataclass(frozen=True, eq=False)
class TableSum(Op):
    """y[..., n] = sum_c tables[n, c, x[..., c]].

    `tables` has shape (N, C, leaves), on a `grid` as the weights of `Dot`; inputs lie in
    0..leaves-1.  Behind `Tree` it is MADDNESS's product, one lookup and one addition for each
    codebook and result (arXiv 2106.10860).
    """

    tables: Ints
    grid: Grid

    def check(self) -> None:
        if self.tables.ndim != 3 or self.tables.size == 0:
            raise ProgramError(
                f"TableSum tables have shape (N, C, leaves), not {self.tables.shape}"
            )
        check_weights("TableSum", self.tables, self.grid)

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        results, inputs, leaves = self.tables.shape
        if x.channels != inputs:
            raise ProgramError(
                f"TableSum has tables for {inputs} inputs, and the last axis of {x.shape} is "
                f"{x.channels}; flatten or reshape first"
            )
        for c, (lo, hi) in enumerate(zip(x.lo.tolist(), x.hi.tolist(), strict=True)):
            if lo < 0 or hi >= leaves:
                raise ProgramError(
                    f"TableSum has entries for 0..{leaves - 1}, and channel {c} of its input lies "
                    f"in {lo}..{hi}; extend the tables or clamp the input"
                )
        fits("a sum of table entries", [int(np.abs(self.tables).max()) * inputs])
        reached = [self.tables[:, c, x.lo[c] : x.hi[c] + 1] for c in range(inputs)]
        lo, hi = (np.sum([end(part, 1) for part in reached], 0) for end in (np.min, np.max))
        return Edge((*x.shape[:-1], results), lo, hi)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        y = np.zeros((*x.shape[:-1], len(self.tables)), np.int64)
        for c, entries in enumerate(self.tables.transpose(1, 2, 0)):
            y += entries[x[..., c]]
        return y
