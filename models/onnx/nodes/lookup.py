"""Tables of the graph: values of a constant list, at places that depend on the input."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from ...exact import Affine, Function, Round, fraction_array
from ...fixed import ProgramError
from ...rounding import FLOOR
from ..constants.constant import blamed
from ..graph import Node
from ..importer import Importer
from ..streams import ZERO, Stream
from ..uniform import BITS_MAX


@dataclass(frozen=True, eq=False)
class Lookup(Function):
    """numbers[u] for integers u; beyond either end the number there.  Not monotone."""

    numbers: tuple[int, ...]

    def value(self, channel: int, u: Fraction) -> Fraction:
        return Fraction(self.numbers[min(max(int(u), 0), len(self.numbers) - 1)])

    def direction(self, channel: int) -> int:
        return 0


def look_up(importer: Importer, node: Node, axis: int) -> Stream:
    """The numbers of a constant list at the places that a stream of integers names."""
    with blamed(node):
        values = importer.constant(node, 0, "its values").fractions()
    x = importer.settled(importer.stream(node, 1), node)
    if values.ndim != 1 or axis not in (0, -1) or not values.size:
        raise ProgramError(
            f"{node}: it picks rows of shape {values.shape} along axis {axis} by places that "
            "depend on the input, and hardware looks single values up; give a list of numbers"
        )
    lo, hi = ends(importer, x)
    if lo < 0 or hi >= values.size or not whole(x):
        raise ProgramError(
            f"{node}: places of {float(lo):.6g}..{float(hi):.6g} are not all whole numbers in "
            f"0..{values.size - 1}; clip them before it"
        )
    below = lcm(*(value.denominator for value in values))
    step = Fraction(gcd(*(int(value * below) for value in values)) or 1, below)
    numbers = tuple(int(value / step) for value in values)
    if max(map(abs, numbers)).bit_length() >= BITS_MAX:
        raise ProgramError(
            f"{node}: its values are integers of more than {BITS_MAX} bits times one scale; "
            "quantise them"
        )
    x = x.applied(Lookup(numbers), node.name)
    x = x.applied(Round(FLOOR, min(numbers), max(numbers)), node.name)
    return x.applied(Affine(fraction_array(step), ZERO), node.name)


def whole(x: Stream) -> bool:
    """Whether a settled stream holds whole numbers."""
    numbers = (*x.affine.scale, *x.affine.offset)
    return all(number.denominator == 1 for number in numbers)


def ends(importer: Importer, x: Stream) -> tuple[Fraction, Fraction]:
    """The lowest and highest real of a settled stream."""
    edge = importer.edge(x)
    scale, offset, _ = np.broadcast_arrays(x.affine.scale, x.affine.offset, np.empty(x.channels))
    bounds = [
        value * s + o
        for low, high, s, o in zip(edge.lo.tolist(), edge.hi.tolist(), scale, offset, strict=True)
        for value in (low, high)
    ]
    return min(bounds), max(bounds)
