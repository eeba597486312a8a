"""Scales, biases and rounding folded into the integers of one operator, by exact fractions.

An accumulator a of channel c stands for the real number scale[c] * a + offset[c].  Rounded to steps
of size `step` on a grid lo..hi it becomes

    y = clamp(floor(r*a + o + 1/2), lo, hi),    r = scale/step,  o = offset/step.

Accumulators that stand for another function of a, `real`, are rounded by

    y = clamp(floor(real(a)/step + 1/2), lo, hi),

with `real` computed in float64, to thresholds or to the entries of a table.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .fixed import Grid, Ints, ProgramError
from .ops import Requantise, Table, Thresholds
from .program import Edge

Floats = NDArray[np.float64]
Real = Callable[[Ints], Floats]
"""What accumulators (..., C) stand for."""

MULTIPLIER_BITS = 16
SHIFT_MAX = 40
# Products and sums stay below, so that `Requantise` fits signed 64 bits with room for its half.
SUM_MAX = 1 << 61


def _fractions(values: Floats, step: Fraction) -> list[Fraction]:
    return [Fraction(value) / step for value in values.tolist()]


def requantise(edge: Edge, scale: Floats, offset: Floats, step: Fraction, grid: Grid) -> Requantise:
    """The nearest multiplier and bias per channel, with the largest shift that fits.

    Multipliers are signed 16-bit numbers; y differs from its definition only where r*a + o + 1/2
    lies within (|a| + 1) / 2**(shift + 1) of an integer.
    """
    ratios, offsets = _fractions(scale, step), _fractions(offset, step)
    ends = np.maximum(np.abs(edge.lo), np.abs(edge.hi)).tolist()
    for shift in range(SHIFT_MAX, 0, -1):
        multiplier = [round(ratio * 2**shift) for ratio in ratios]
        bias = [round(value * 2**shift) for value in offsets]
        largest = max(
            end * abs(m) + abs(b) for end, m, b in zip(ends, multiplier, bias, strict=True)
        )
        if max(map(abs, multiplier)) < 1 << (MULTIPLIER_BITS - 1) and largest < SUM_MAX:
            return Requantise(np.array(multiplier), np.array(bias), shift, grid.lo, grid.hi)
    raise ProgramError(
        f"a scale of {float(max(map(abs, ratios))):.3g} steps needs a multiplier of more than "
        f"{MULTIPLIER_BITS} bits; calibrate with inputs of the usual size"
    )


def thresholds(edge: Edge, scale: Floats, offset: Floats, step: Fraction, grid: Grid) -> Thresholds:
    """Exactly y, as hi - lo comparisons per channel, clamped to what the accumulator can reach."""
    count = grid.hi - grid.lo
    rows = np.empty((len(scale), count), np.int64)
    rising = np.empty(len(scale), bool)
    channels = zip(_fractions(scale, step), _fractions(offset, step), strict=True)
    for channel, (ratio, constant) in enumerate(channels):
        # y >= level exactly where r*a >= level - 1/2 - o.
        cuts = [grid.lo + k - Fraction(1, 2) - constant for k in range(1, count + 1)]
        lo, hi = int(edge.lo[channel]), int(edge.hi[channel])
        rising[channel] = ratio >= 0
        rows[channel] = sorted(min(max(_first(ratio, cut, lo, hi), lo), hi + 1) for cut in cuts)
    return Thresholds(rows, np.where(rising, grid.lo, grid.hi), np.where(rising, 1, -1))


def _first(ratio: Fraction, cut: Fraction, lo: int, hi: int) -> int:
    """The least integer a at which (ratio * a >= cut) takes the value it has for large a."""
    if ratio > 0:
        return ceil(cut / ratio)
    if ratio < 0:
        return floor(cut / ratio) + 1
    return lo if cut <= 0 else hi + 1


def monotone(
    edge: Edge, real: Real, rising: NDArray[np.bool_], step: float, grid: Grid
) -> Thresholds:
    """The thresholds of a function that rises or falls throughout each channel, by bisection.

    `rising` (C,) says which; a constant channel may be called either.
    """
    levels = np.arange(grid.lo + 1, grid.hi + 1)[:, None]
    least = np.broadcast_to(edge.lo, (len(levels), edge.channels)).copy()
    most = np.broadcast_to(edge.hi + 1, least.shape).copy()
    while bool((least < most).any()):
        middle = (least + most) // 2
        # From the threshold on a rising function has reached its level, a falling one has left it.
        past = (_level(real(middle), step, grid) >= levels) == rising
        open_ = least < most
        most = np.where(open_ & past, middle, most)
        least = np.where(open_ & ~past, middle + 1, least)
    rows = np.sort(least.T, 1)
    return Thresholds(rows, np.where(rising, grid.lo, grid.hi), np.where(rising, 1, -1))


def sign(edge: Edge, real: Real, rising: NDArray[np.bool_]) -> Thresholds:
    """One threshold per channel: +1 where real(a) >= 0, else -1; `rising` as for `monotone`."""
    found = monotone(edge, lambda a: (real(a) >= 0).astype(np.float64), rising, 1.0, Grid(0, 1))
    return Thresholds(found.thresholds, 2 * found.offset - 1, 2 * found.step)


def table(edge: Edge, real: Real, step: float, grid: Grid) -> Table:
    """The entries of a function, one row where all channels have the same."""
    lo, hi = edge.grid.lo, edge.grid.hi
    inputs = np.broadcast_to(np.arange(lo, hi + 1)[:, None], (hi - lo + 1, edge.channels))
    rows = _level(real(inputs), step, grid).T
    return Table(rows[:1] if bool((rows == rows[0]).all()) else rows, lo)


def _level(values: Floats, step: float, grid: Grid) -> Ints:
    return np.clip(np.floor(values / step + 0.5), grid.lo, grid.hi).astype(np.int64)
