"""A rounded sum of two branches under unequal scales, with the shortest factors that are exact.

Two branches a and b meet as p*a + q*b with exact integers p and q, which are as long as the
mantissas of the scales (24 bits each for float32), and are then rounded.  Shorter factors m and n
give another sum, but the same rounded result, if every level is still parted: the least m*a + n*b
that shall reach the level lies above the largest that shall not.  There are at most 2**16 pairs of
8-bit branches, so all of them are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .absorb import SHIFT_MAX, slopes, stepping
from .exact import Chain, direction
from .fixed import Grid, Ints
from .program import Edge

PAIRS_MAX = 1 << 18
FACTOR_MAX = 1 << 26


@dataclass(frozen=True)
class Shortened:
    """(m*a + n*b + bias + 2**(shift-1)) >> shift, clamped to lo..hi: exactly the rounded sum."""

    factors: tuple[int, int]
    bias: int
    shift: int
    lo: int
    hi: int


def shortened(a: Grid, b: Grid, factors: tuple[int, int], chain: Chain) -> Shortened | None:
    """Short factors of p*a + q*b for `chain`, whose last function makes integers; None if none fit.

    The chain is the same in every channel and never falls.
    """
    alike = all(function.channels == 1 for function in chain)
    if _count(a) * _count(b) > PAIRS_MAX or not alike or direction(chain, 0) <= 0:
        return None
    pairs = _values(a)[:, None], _values(b)[None, :]
    exact = (factors[0] * pairs[0] + factors[1] * pairs[1]).ravel()
    edge = Edge((1,), exact.min(keepdims=True), exact.max(keepdims=True))
    steps = stepping(edge, chain)
    if steps.at.shape[1] == 0:
        return None
    level = np.searchsorted(steps.at[0], exact, side="right")
    close = _closest(exact, steps.at[0])
    slope = slopes(chain, 1)[0]
    ratio = factors[0] * slope, factors[1] * slope
    for shift in range(1, SHIFT_MAX):
        low = [int(value * 2**shift // 1) for value in ratio]
        if max(map(abs, low)) >= FACTOR_MAX:
            return None
        for m in (low[0], low[0] + 1):
            for n in (low[1], low[1] + 1):
                sums = (m * pairs[0] + n * pairs[1]).ravel()
                # Most factors fail at the sums beside the steps, which are few.
                if _bias(sums[close], level[close], steps.lo, shift) is None:
                    continue
                bias = _bias(sums, level, steps.lo, shift)
                if bias is not None:
                    return Shortened((m, n), bias - (1 << (shift - 1)), shift, steps.lo, steps.hi)
    return None


def _count(grid: Grid) -> int:
    return (grid.hi - grid.lo) // grid.step + 1


def _closest(sums: Ints, steps: Ints) -> Ints:
    """Where, on either side of each step, the nearest of the sums stands."""
    order = np.argsort(sums, kind="stable")
    above = np.searchsorted(sums[order], steps)
    beside = np.concatenate([above, above - 1])
    return order[np.unique(np.clip(beside, 0, len(order) - 1))]


def _values(grid: Grid) -> Ints:
    return np.arange(grid.lo, grid.hi + 1, grid.step)


def _bias(sums: Ints, level: Ints, lo: int, shift: int) -> int | None:
    """What to add to the sums so that the shift gives lo + level, or None."""
    top = int(level.max())
    least = np.full(top + 1, np.iinfo(np.int64).max)
    most = np.full(top + 1, np.iinfo(np.int64).min)
    np.minimum.at(least, level, sums)
    np.maximum.at(most, level, sums)
    # The least sum of this level or a higher one, the largest of a lower one.
    reached = np.minimum.accumulate(least[::-1])[::-1][1:]
    missed = np.maximum.accumulate(most)[:-1]
    steps = (lo + 1 + np.arange(top)) << shift
    lowest, highest = int((steps - reached).max()), int((steps - 1 - missed).min())
    return (lowest + highest) // 2 if lowest <= highest else None
