"""A lookup: any function of a narrow integer, monotone or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op

ENTRIES_MAX = 4096


@dataclass(frozen=True, eq=False)
class Table(Op):
    """y[..., c] = values[c, x[..., c] - lo].

    `values` has shape (C, R), or (1, R) for one table that all channels share; R is at most 4096.
    Every input lies in lo..lo+R-1.  Outputs that are all -1 or +1 are stored in one bit.
    """

    values: Ints
    lo: int

    def check(self) -> None:
        if self.values.ndim != 2 or self.values.size == 0:
            raise ProgramError(f"Table values have shape (C, R), not {self.values.shape}")
        if self.values.shape[1] > ENTRIES_MAX:
            raise ProgramError(
                f"Table has at most {ENTRIES_MAX} entries a channel, not {self.values.shape[1]}; "
                "requantise its input to fewer values"
            )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        rows, entries = self.values.shape
        if rows not in (1, x.channels):
            raise ProgramError(
                f"Table has {rows} channels, and the last axis of {x.shape} is {x.channels}; "
                "give one row of values per channel, or one for all"
            )
        last = self.lo + entries - 1
        for c, (lo, hi) in enumerate(zip(x.lo.tolist(), x.hi.tolist(), strict=True)):
            if lo < self.lo or hi > last:
                raise ProgramError(
                    f"Table has values for {self.lo}..{last}, and channel {c} of its input lies "
                    f"in {lo}..{hi}; extend the table or clamp the input"
                )
        reached = [self.values[c % rows][self._entries(x, c)] for c in range(x.channels)]
        lo, hi = (np.array([end(v) for v in reached]) for end in (np.min, np.max))
        signs = all(bool((np.abs(v) == 1).all()) for v in reached)
        both = (int(lo.min()), int(hi.max())) == (-1, 1)
        return Edge(x.shape, lo, hi, 2 if signs and both else 1)

    def _entries(self, x: Edge, c: int) -> slice:
        """The entries that the inputs of a channel reach: of a bipolar edge not that of 0."""
        return slice(int(x.lo[c]) - self.lo, int(x.hi[c]) - self.lo + 1, x.step)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        rows = np.arange(x.shape[-1]) if len(self.values) > 1 else 0
        return self.values[rows, x - self.lo]
