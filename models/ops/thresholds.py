"""Multi-thresholds: any monotone quantised activation, with whatever scale and bias came before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Thresholds(Op):
    """y[..., c] = offset[c] + step[c] * #{k : x[..., c] >= thresholds[c, k]}.

    `thresholds` has shape (C, T); `offset` and `step` (C,).  A negative step makes a falling
    function.  One threshold with offset -1 and step 2 (or 1 and -2) is a sign, whose result is
    stored in one bit.  Thresholds absorb batch normalisation (gamma <= 0 too), scale and bias
    exactly (Umuroglu et al., FINN, arXiv 1612.07119, section 4.2.2).
    """

    thresholds: Ints
    offset: Ints
    step: Ints

    def check(self) -> None:
        channels = self.thresholds.shape[0]
        if self.thresholds.ndim != 2 or self.thresholds.size == 0:
            raise ProgramError(f"thresholds have shape (C, T), not {self.thresholds.shape}")
        for name in ("offset", "step"):
            if getattr(self, name).shape != (channels,):
                raise ProgramError(
                    f"Thresholds {name} has shape ({channels},), not {getattr(self, name).shape}"
                )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        channels, count = self.thresholds.shape
        if x.channels != channels:
            raise ProgramError(
                f"Thresholds has {channels} channels, and the last axis of {x.shape} is "
                f"{x.channels}; give one row of thresholds per channel"
            )
        fits("a threshold", [int(x.hi.max()) + 1])
        for step, offset in zip(self.step.tolist(), self.offset.tolist(), strict=True):
            fits("a threshold output", [offset, offset + step * count])
        ends = [
            self.offset + self.step * (bound[:, None] >= self.thresholds).sum(1)
            for bound in (x.lo, x.hi)
        ]
        lo, hi = np.minimum(*ends), np.maximum(*ends)
        # A sign that never changes is a constant, which is no sign any more.
        return Edge(x.shape, lo, hi, 2 if self.is_sign and lo.min() < hi.max() else 1)

    @property
    def is_sign(self) -> bool:
        """True if every output is -1 or +1."""
        one = self.thresholds.shape[1] == 1
        return one and bool(((np.abs(self.offset) == 1) & (self.step == -2 * self.offset)).all())

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        count = np.zeros(x.shape, np.int64)
        for column in self.thresholds.T:
            count += x >= column
        return self.offset + self.step * count
