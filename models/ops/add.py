"""The element-wise sum of two branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..fixed import Ints, ProgramError
from ..program import Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Add(Op):
    """y = a + b, both of one shape."""

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, *edges: Edge) -> Edge:
        a, b = edges
        if a.shape != b.shape:
            raise ProgramError(
                f"Add takes two inputs of one shape, not {a.shape} and {b.shape}; "
                "bring the branches to one shape"
            )
        fits("a sum", [int(a.lo.min()) + int(b.lo.min()), int(a.hi.max()) + int(b.hi.max())])
        return Edge(a.shape, a.lo + b.lo, a.hi + b.hi)

    def __call__(self, *xs: Ints) -> Ints:
        a, b = xs
        return a + b
