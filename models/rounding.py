"""The rounding modes that quantised graphs state, exactly.

These decide constants while a program is built, and the integers at its border; at run time a
program rounds by `fixed.round_shift` alone.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF_EVEN = "half_even"
"""To the nearest, ties to even: ONNX's QuantizeLinear, and ROUND in QONNX."""
HALF_UP = "half_up"
"""To the nearest, ties away from zero."""
HALF_DOWN = "half_down"
"""To the nearest, ties towards zero."""
FLOOR, CEIL = "floor", "ceil"
UP = "up"
"""Away from zero."""
DOWN = "down"
"""Towards zero."""
MODES = (HALF_EVEN, HALF_UP, HALF_DOWN, FLOOR, CEIL, UP, DOWN)

_HALF = Fraction(1, 2)


def cut(mode: str, k: int) -> tuple[Fraction, bool]:
    """(c, reached): a real number v is rounded to k or more where v > c, or v = c if `reached`."""
    match mode:
        case "half_even":
            return k - _HALF, k % 2 == 0
        case "half_up":
            return k - _HALF, k > 0
        case "half_down":
            return k - _HALF, k <= 0
        case "floor":
            return Fraction(k), True
        case "ceil":
            return Fraction(k - 1), False
        case "up":
            return (Fraction(k - 1), False) if k > 0 else (Fraction(k), True)
        case "down":
            return (Fraction(k), True) if k > 0 else (Fraction(k - 1), False)
        case _:
            raise ValueError(mode)


def rounded(mode: str, value: Fraction) -> int:
    """`value` as an integer."""
    low = floor(value)
    at, reached = cut(mode, low + 1)
    return low + 1 if value > at or (value == at and reached) else low


def quotients(
    values: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any], mode: str
) -> NDArray[np.int64]:
    """(values - offset) / scale, rounded; exact for any finite floats.

    `scale` and `offset` are object arrays of fractions that broadcast against `values`.  Doubles
    decide all but the few quotients that lie within their error of a place where rounding jumps.
    """
    reals = values.astype(np.float64)
    divisors, shifts = scale.astype(np.float64), offset.astype(np.float64)
    steps = (reals - shifts) / divisors
    doubt = 2.0**-48 * (np.abs(reals) + np.abs(shifts)) / divisors
    jumps = 0.5 if mode in (HALF_EVEN, HALF_UP, HALF_DOWN) else 0.0
    near = np.abs(steps - jumps - np.rint(steps - jumps)) <= doubt
    near |= np.abs(steps) > 2.0**51
    result = np.clip(_plain(mode, steps), -(2.0**62), 2.0**62).astype(np.int64)
    if bool(near.any()):
        result[near] = _exactly(reals, scale, offset, mode, near)
    return result


def _exactly(
    reals: NDArray[np.float64],
    scale: NDArray[Any],
    offset: NDArray[Any],
    mode: str,
    near: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The rounded quotients where `near`, by fractions: each pair of value and scale once."""
    parts = [
        np.broadcast_to(np.arange(part.size).reshape(part.shape), reals.shape)[near]
        for part in (scale, offset)
    ]
    rows = np.stack([reals[near], *(part.astype(np.float64) for part in parts)], 1)
    unique, of = np.unique(rows, axis=0, return_inverse=True)
    found: list[int] = []
    for value, s, o in unique.tolist():
        exact = (Fraction(value) - offset.reshape(-1)[int(o)]) / scale.reshape(-1)[int(s)]
        found.append(min(max(rounded(mode, exact), -(1 << 62)), 1 << 62))
    return np.array(found, np.int64)[of.reshape(-1)]


def _plain(mode: str, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rounding away from ties and integers."""
    match mode:
        case "floor":
            return np.floor(steps)
        case "ceil":
            return np.ceil(steps)
        case "down":
            return np.trunc(steps)
        case "up":
            return np.sign(steps) * np.ceil(np.abs(steps))
        case _:
            return np.rint(steps)
