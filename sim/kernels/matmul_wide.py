"""Exact products of integer matrices whose values fit neither signs nor 8 bits.

Floating-point matrix products are the fastest integer products at hand, and exact within a bound:
float32 holds every integer up to 2**24, float64 up to 2**53. While the sum of the magnitudes of
the products stays within that, every partial sum in every order, fused or not, is such an integer
and no operation rounds. Long rows are cut into chunks that keep the bound, and the chunks are
added in int64. What is too wide even for short chunks of float64 goes through int64 loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]

# The largest magnitude below which every integer is a value of the type.
EXACT_LIMITS = {np.float32: 2**24, np.float64: 2**53}
INT64_LIMIT = 2**63

# Below this length of a chunk the additions of the chunks outweigh the products.
_SHORTEST_CHUNK = 64
# A block of K_BLOCK x N_BLOCK int64 weights stays in the second-level cache.
_K_BLOCK = 128
_N_BLOCK = 512


def wide_matmul(x: Array, weights: Array) -> Array:
    """Return the exact int64 products (M, N) of integers x (M, K) with weights (N, K).

    Raises OverflowError unless every sum of |x[i, k] * weights[j, k]| over k is provably below
    2**63, so no result is ever wrapped; the proof, in float64, gives away a relative margin of
    (K + 4) * 2**-52. Costs one scan of both matrices and
    M * N * K multiply-additions: float32, float64 or int64 ones, the first that are exact. The
    float products run on the threads of NumPy's BLAS.
    """
    _check_operands(x, weights)
    product = max(1, magnitude(x) * magnitude(weights))
    length = x.shape[1]
    if length * product >= INT64_LIMIT:
        _refuse_overflow(x, weights)
    for kind, limit in EXACT_LIMITS.items():
        chunk = limit // product
        if chunk >= min(length, _SHORTEST_CHUNK):
            return chunked_float_matmul(x, weights.astype(kind), chunk)
    return _int64_matmul(x, weights)


def chunked_float_matmul(x: Array, weights: Array, chunk: int) -> Array:
    """Return the int64 products (M, N) of integers x (M, K) with float weights (N, K).

    Exact when the magnitudes of any `chunk` products sum up to no more than the type of `weights`
    holds exactly (`EXACT_LIMITS`).
    """
    exact = x.astype(weights.dtype)
    out = np.zeros((len(x), len(weights)), np.int64)
    for k in range(0, x.shape[1], max(1, chunk)):
        part = exact[:, k : k + chunk] @ weights[:, k : k + chunk].T
        out += part.astype(np.int64)
    return out


def magnitude(values: Array) -> int:
    """Return the largest absolute value, 0 for none, as an integer that cannot overflow."""
    return max(int(values.max()), -int(values.min())) if values.size else 0


def _check_operands(x: Array, weights: Array) -> None:
    if x.dtype.kind not in "iub" or weights.dtype.kind not in "iub":
        raise TypeError(
            f"wide_matmul multiplies integers, got {x.dtype} and {weights.dtype}; "
            "quantize them first"
        )
    if x.ndim != 2 or weights.ndim != 2 or x.shape[1] != weights.shape[1]:
        raise ValueError(
            f"wide_matmul takes x (M, K) and weights (N, K), got {x.shape} and {weights.shape}; "
            "pass the weights with one output a row"
        )


def _refuse_overflow(x: Array, weights: Array) -> None:
    """Raise OverflowError unless every sum of magnitudes is surely below 2**63.

    The float64 sums err by less than (K + 3) * 2**-53 of their value, in any order.
    """
    sums = np.abs(x.astype(np.float64)) @ np.abs(weights.astype(np.float64)).T
    bound = float(sums.max()) * (1 + (x.shape[1] + 4) * 2.0**-52)
    if bound >= INT64_LIMIT:
        raise OverflowError(
            f"the products of a row may sum up to {bound:.4g}, beyond int64 (2**63 = 9.223e18); "
            "requantize one operand to fewer bits"
        )


def _int64_matmul(x: Array, weights: Array) -> Array:
    out = np.zeros((len(x), len(weights)), np.int64)
    columns = np.ascontiguousarray(weights.T, np.int64)
    _accumulate_int64(np.ascontiguousarray(x, np.int64), columns, out)
    return out


@njit(cache=True, nogil=True)
def _accumulate_int64(x, columns, out):
    """Add x (M, K) times columns (K, N) to out (M, N), a cached block of the columns at a time."""
    length, outputs = columns.shape
    for first in range(0, outputs, _N_BLOCK):
        last = min(first + _N_BLOCK, outputs)
        for start in range(0, length, _K_BLOCK):
            stop = min(start + _K_BLOCK, length)
            for i in range(len(x)):
                row = out[i, first:last]
                for k in range(start, stop):
                    scale = x[i, k]
                    column = columns[k, first:last]
                    for j in range(len(row)):
                        row[j] += scale * column[j]
