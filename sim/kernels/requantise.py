"""Multiply, round, shift and clamp in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Requantise
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Requantise, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    bias = np.array(op.rounded_bias())
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty(x.shape, kind)
        flat = out.reshape(-1, x.shape[-1])
        _requantise(rows(x), op.multiplier, bias, op.shift, op.lo, op.hi, op.even, flat)
        return out

    return kernel


@njit(cache=True, nogil=True)
def _requantise(
    x: Array, multiplier: Array, bias: Array, shift: int, lo: int, hi: int, even: int, out: Array
) -> None:
    rest = (1 << shift) - 1
    for row in range(len(x)):
        for c in range(x.shape[1]):
            total = np.int64(x[row, c]) * multiplier[c] + bias[c]
            result = total >> shift
            if even and total & rest == 0:
                result -= result & 1
            out[row, c] = min(max(result, lo), hi)
