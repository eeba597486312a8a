"""The same small constant matrix for every channel, over the taps of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op

ENTRIES_MAX = 1 << 8
"""Entries of a matrix: 16 taps of 16, those of Winograd's tiles of two by two."""
RESULTS_MAX = 1 << 20
"""Channels of all results together, whose bounds are computed one by one."""
ENTRY_MAX = 1 << 15
SUM_MAX = 1 << 61
"""What sums stay below, so that an adder graph may shift and share parts of them in 64 bits."""


@dataclass(frozen=True, eq=False)
class TapTransform(Op):
    """y[..., j*C + c] = sum_t matrix[j, t] * x[..., t*C + c]: `matrix` (J, T) of integers.

    The last axis of x holds T taps of C channels each, as `Window` emits them, that of y J taps.
    With the matrices of Lavin and Gray (arXiv 1509.09308) these are the transforms of Winograd's
    tiles, which turn a convolution into products of single taps.
    """

    matrix: Ints

    def check(self) -> None:
        if self.matrix.ndim != 2 or self.matrix.size == 0:
            raise ProgramError(f"TapTransform has a matrix (J, T), not {self.matrix.shape}")
        if self.matrix.size > ENTRIES_MAX:
            raise ProgramError(
                f"TapTransform has a matrix of at most {ENTRIES_MAX} entries, not "
                f"{self.matrix.size}; use smaller tiles"
            )
        if int(self.matrix.max()) > ENTRY_MAX or int(self.matrix.min()) < -ENTRY_MAX:
            raise ProgramError(
                f"TapTransform has entries of {-ENTRY_MAX}..{ENTRY_MAX}, and these span "
                f"{int(self.matrix.min())}..{int(self.matrix.max())}; scale them down"
            )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        results, taps = self.matrix.shape
        if x.channels % taps:
            raise ProgramError(
                f"TapTransform takes {taps} taps of some channels each, and the last axis of "
                f"{x.shape} is {x.channels}, no multiple; put a Window before it"
            )
        if results * (x.channels // taps) > RESULTS_MAX:
            raise ProgramError(
                f"TapTransform gives at most {RESULTS_MAX} channels, not "
                f"{results * (x.channels // taps)}; split them before it"
            )
        end = max(abs(x.grid.lo), abs(x.grid.hi))
        most = end * int(np.abs(self.matrix).max()) * taps
        if most >= SUM_MAX:
            raise ProgramError(
                f"a tap transform reaches {most}, beyond {SUM_MAX}; use narrower inputs"
            )
        lo, hi = x.lo.reshape(taps, -1), x.hi.reshape(taps, -1)
        positive, negative = np.maximum(self.matrix, 0), np.minimum(self.matrix, 0)
        low, high = positive @ lo + negative @ hi, positive @ hi + negative @ lo
        return Edge((*x.shape[:-1], low.size), low.ravel(), high.ravel())

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        results, taps = self.matrix.shape
        channels = x.shape[-1] // taps
        y = self.matrix @ x.reshape(*x.shape[:-1], taps, channels)
        return y.reshape(*x.shape[:-1], results * channels)
