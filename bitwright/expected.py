"""Outputs against what a user expects: value by value, and by the class that comes first."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitwright.models.fixed import Ints, ProgramError
from bitwright.models.layers import ArgMax
from bitwright.models.network import Network
from bitwright.models.ops import TopK
from bitwright.models.program import Program

Array = NDArray[Any]
Mask = NDArray[np.bool_]

SHARE = 1 / 1000
"""Of an output step: so far an output may lie off the expected value."""
ROUNDINGS = 8
"""Units in the last place by which float32 may be off after an inner product."""
SHARE_MAX = 0.49
"""However coarse the floats are, an output that is one step off is seen."""


@dataclass(frozen=True, eq=False)
class Expected:
    """Expected values of a program's outputs, (N, *shape) in the model's own layout and scale."""

    program: Program
    values: Array

    @classmethod
    def of(cls, program: Program, values: Array, frames: int) -> Expected:
        """The first `frames` of `values`, which may hold more."""
        own = (frames, *program.output_border.own_shape(program.output))
        values = values[:frames] if values.ndim else values
        if values.shape != own:
            raise ProgramError(
                f"expected values have shape {own}, not {values.shape}; reshape them"
            )
        return cls(program, values)

    def missed(self, outputs: Ints, reference: Ints) -> Mask:
        """Which outputs are not as expected, in the program's layout; missing frames are missed.

        Off by a thousandth of an output step is as expected.  Expected values in float32 or less
        may be off by their own roundings beside the largest value of a frame (of 8-bit networks a
        step can be less than a hundred units in the last place), but never by a whole step.
        """
        border, edge = self.program.output_border, self.program.output
        came = min(len(outputs), len(self.values))
        step = np.abs(np.broadcast_to([float(scale) for scale in border.scale], reference.shape))
        noise = ROUNDINGS * self._epsilon * self._largest(reference)
        allowed = np.minimum(np.maximum(step * SHARE, noise), step * SHARE_MAX)
        wrong = np.ones(self.values.shape, bool)
        off = np.abs(self.program.answer(outputs[:came]).astype(np.float64) - self.values[:came])
        wrong[:came] = ~(off <= border.outward(allowed[:came], edge))
        return border.inward(wrong, edge)

    @property
    def _epsilon(self) -> float:
        """The share of a value that one unit in the last place can be."""
        dtype = self.values.dtype
        rounded = dtype.kind == "f" and dtype.itemsize < np.dtype(np.float64).itemsize
        return float(np.finfo(dtype).eps) if rounded else 0.0

    def _largest(self, reference: Ints) -> NDArray[np.float64]:
        """The largest real value of each frame, before a function that the host applies."""
        real = np.abs(self.program.output_border.real(reference))
        return real.max(tuple(range(1, real.ndim)), keepdims=True)

    def agreement(self, outputs: Ints, lost: Mask) -> dict[str, int] | None:
        """In how many frames the expected class comes first: {"agreeing", "frames"}.

        The class is that of the largest value, the first of equals, or the first that a `TopK`
        lists; None where the outputs are not one row of them.  `lost`: outputs without a value.
        """
        edge, listed = self.program.output, isinstance(self.program.nodes[-1].op, TopK)
        if len(edge.shape) != 1 or (edge.elements == 1 and not listed):
            return None
        came = min(len(outputs), len(self.values))
        found, wanted = (
            values[:came].reshape(came, edge.elements)
            for values in (self.program.answer(outputs), self.values)
        )
        alike = found[:, 0] == wanted[:, 0] if listed else found.argmax(1) == wanted.argmax(1)
        agreeing = int((alike & ~lost[:came].any(1)).sum())
        return {"agreeing": agreeing, "frames": len(self.values)}


def check_classes(network: Network) -> None:
    """Raise unless a network gives classes: scores, of which the largest is one, or its number."""
    shape = network.shapes[network.output]
    if (prod(shape) == 1) != isinstance(network.nodes[-1].layer, ArgMax):
        raise ProgramError(
            f"network {network.name!r} gives no classes that labels could name: its output is "
            f"{shape}; leave the labels out"
        )
