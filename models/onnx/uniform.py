"""One scale for integers whose channels have several: what comparing, mixing and padding need."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

import numpy as np

from ..exact import Affine, fraction_array
from ..ops import Scale
from ..program import Edge

BITS_MAX = 48
"""Widest integers under a common scale."""


def uniform(affine: Affine, channels: int, also: tuple[Fraction, ...] = ()) -> bool:
    """Whether channels share a positive scale and an offset, and integers stand for `also`."""
    scale, offset, _ = np.broadcast_arrays(affine.scale, affine.offset, np.empty(channels))
    alike = len(set(scale.tolist())) == 1 and len(set(offset.tolist())) == 1 and scale[0] > 0
    return alike and all(((value - offset[0]) / scale[0]).denominator == 1 for value in also)


def unified(
    edge: Edge, affine: Affine, also: tuple[Fraction, ...] = ()
) -> tuple[Scale, Affine] | None:
    """Exact factors and terms for an edge's channels, and the scale and offset that all share then.

    Integers stand for the reals `also` under it as well.  None where they would be too wide.
    """
    scale, offset, _ = np.broadcast_arrays(affine.scale, affine.offset, np.empty(edge.channels))
    first = offset[0]
    numbers = [*scale, *(value - first for value in (*offset, *also))]
    below, least = 1, min((n.denominator for n in numbers if n), default=1)
    for value in filter(None, numbers):
        below = lcm(below, value.denominator)
        if below // least >> BITS_MAX:  # the integer that stands for that value is as large
            return None
    step = Fraction(gcd(*(int(value * below) for value in numbers)) or 1, below)
    multiplier = [int(value / step) for value in scale]
    bias = [int((value - first) / step) for value in offset]
    ends = zip(edge.lo.tolist(), edge.hi.tolist(), multiplier, bias, strict=True)
    others = [int((value - first) / step) for value in also]
    widest = max(
        *(max(abs(lo * m), abs(hi * m)) + abs(b) for lo, hi, m, b in ends), 0, *map(abs, others)
    )
    if widest.bit_length() >= BITS_MAX:
        return None
    return Scale(np.array(multiplier), np.array(bias)), Affine(
        fraction_array(step), fraction_array(first)
    )
