"""Branches side by side along the channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op


@dataclass(frozen=True, eq=False)
class Concatenate(Op):
    """(..., C1), (..., C2), ... -> (..., C1 + C2 + ...)."""

    inputs: ClassVar[tuple[int, int]] = (2, 16)

    def infer(self, *edges: Edge) -> Edge:
        if len({edge.shape[:-1] for edge in edges}) > 1:
            raise ProgramError(
                "Concatenate takes inputs that differ in channels only, not "
                f"{', '.join(str(edge.shape) for edge in edges)}"
            )
        return Edge(
            (*edges[0].shape[:-1], sum(edge.channels for edge in edges)),
            np.concatenate([edge.lo for edge in edges]),
            np.concatenate([edge.hi for edge in edges]),
            2 if all(edge.step == 2 for edge in edges) else 1,
        )

    def __call__(self, *xs: Ints) -> Ints:
        return np.concatenate(xs, -1)
