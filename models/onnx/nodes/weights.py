"""Real weights as integers with one scale per row: what a dot product in hardware takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from ...exact import Fractions
from ...fixed import BINARY, TERNARY, Grid, Ints, ProgramError, signed
from ..constants.constant import Constant
from ..graph import Node

BITS_MAX = 16
MANTISSA = 53
"""Bits of a float64."""
INTEGER_BITS = 62
FAR = 1 << 20
"""An exponent that no float64 has."""
CHUNK = 1 << 20
"""Weights that are looked at together."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Row n stands for scale[n] * weights[n]: weights (N, S) on `grid`, scale (N,)."""

    weights: Ints
    scale: Fractions
    grid: Grid

    def sums(self, offsets: Fractions) -> Fractions:
        """Per row the sum of real weights times `offsets` (S,)."""
        if not offsets.any():
            return np.array([Fraction(0)] * len(self.weights), object)
        return (self.weights.astype(object) @ offsets) * self.scale


def integer_rows(node: Node, weights: Constant, columns: Fractions) -> Rows:
    """`weights` (N, S) times a scale per input, `columns` (S,), as integers with row scales."""
    found = _numerators(weights) or _dyadic(weights)
    if found is not None:
        numbers, scales = found
        if _alike(scales, 1) and _alike(columns, 0):
            return _reduced(node, numbers, scales[:, 0] * columns[0])
    return _by_row(node, weights, columns)


def stand_in(weights: Constant) -> Rows:
    """Rows of the right shape, with which an import goes on behind an obstacle."""
    alternating = 1 - 2 * (np.indices(weights.shape).sum(0) % 2)
    return Rows(alternating, np.array([Fraction(1)] * weights.shape[0], object), BINARY)


def _numerators(weights: Constant) -> tuple[Ints, Fractions] | None:
    """Numerators and their scales (N, S) of quantised weights, or of integers."""
    if weights.values.dtype.kind not in "iub":
        return None
    scale = np.array(Fraction(1), object) if weights.scale is None else weights.scale
    return weights.values.astype(np.int64), np.broadcast_to(scale, weights.shape)


def _dyadic(weights: Constant) -> tuple[Ints, Fractions] | None:
    """The same of finite floats that need few bits in each row: some rows at a time."""
    if weights.values.dtype.kind != "f" or not bool(np.isfinite(weights.values).all()):
        return None
    scale = np.array(Fraction(1), object) if weights.scale is None else weights.scale
    scale = np.broadcast_to(scale, weights.shape)
    if not _alike(scale, 1):
        return None
    numbers, powers = np.empty(weights.shape, np.int64), np.empty((len(scale), 1), object)
    rows = max(1, CHUNK // weights.shape[1])
    for start in range(0, len(scale), rows):
        part = slice(start, start + rows)
        values = weights.values[part].astype(np.float64)
        lowest, above = _exponents(values)
        if bool((above - lowest > INTEGER_BITS).any()):
            return None
        numbers[part] = np.ldexp(values, -lowest[:, None])
        step = np.maximum(np.gcd.reduce(numbers[part], axis=1), 1)
        numbers[part] //= step[:, None]
        powers[part, 0] = [
            n * Fraction(2) ** k for n, k in zip(step.tolist(), lowest.tolist(), strict=True)
        ]
    if int(np.abs(numbers).max()) >> BITS_MAX:
        return None
    return numbers, np.broadcast_to(powers * scale[:, :1], weights.shape)


def _exponents(values: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Per row the exponent of the lowest bit that is set, and one above the highest."""
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, MANTISSA).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    lowest = np.where(whole == 0, FAR, exponents - MANTISSA + zeros).min(1)
    above = np.where(whole == 0, -FAR, exponents).max(1)
    empty = lowest == FAR
    return np.where(empty, 0, lowest).astype(np.int64), np.where(empty, 0, above).astype(np.int64)


def _alike(values: Fractions, axis: int) -> bool:
    """Whether values are the same along an axis."""
    first = values[(slice(None),) * axis + (slice(0, 1),)]
    return values.strides[axis] == 0 or bool((values == first).all())


def _by_row(node: Node, weights: Constant, columns: Fractions) -> Rows:
    """Rows on the coarsest grid that holds each."""
    rows, scales = [], []
    for values in _rows(weights):
        reals = values * columns
        below = lcm(*(value.denominator for value in reals))
        numbers = [int(value * below) for value in reals]
        step = gcd(*numbers) or 1
        small = [number // step for number in numbers]
        if max(map(abs, small)) >> BITS_MAX:
            raise ProgramError(
                f"{node}: its weights lie on no grid of at most {BITS_MAX} bits; quantise them"
            )
        rows.append(small)
        scales.append(Fraction(step, below))
    return _reduced(node, np.array(rows, np.int64), np.array([*scales, None], object)[:-1])


def _rows(weights: Constant) -> Iterator[NDArray[np.object_]]:
    for n in range(weights.shape[0]):
        yield weights.moved(lambda v, n=n: v[n]).fractions()


def _reduced(node: Node, numbers: Ints, scale: Fractions) -> Rows:
    """Without a factor that all weights share, on the narrowest grid."""
    step = int(np.gcd.reduce(numbers, axis=None)) or 1
    numbers, scale = numbers // step, scale * step
    lo, hi = int(numbers.min()), int(numbers.max())
    bits = Grid(min(lo, 0), max(hi, 0)).bits
    if bits > BITS_MAX:
        raise ProgramError(
            f"{node}: its weights span {lo}..{hi}, and a dot product takes weights of at most "
            f"{BITS_MAX} bits; quantise them to fewer"
        )
    if lo >= -1 and hi <= 1:
        return Rows(numbers, scale, TERNARY if (numbers == 0).any() else BINARY)
    return Rows(numbers, scale, signed(max(bits, 2) + (lo >= 0)))
