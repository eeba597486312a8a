"""Tap transforms: sums of whole taps, all channels of each at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.fixed import Ints
from ...models.ops import TapTransform
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: TapTransform, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind, taps = storage(output), op.matrix.shape[1]
    channels = output.channels // len(op.matrix)
    # Sums wrap harmlessly on their way, at any width that holds the result.
    sums = np.int32 if np.iinfo(kind).bits <= 32 else np.int64
    row, tap = np.nonzero(op.matrix)
    begins = np.searchsorted(row, np.arange(len(op.matrix) + 1))
    factors = op.matrix[row, tap].astype(sums)

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], output.channels), kind)
        values = rows(x)
        values = values.reshape(len(values), taps, channels)
        total = np.empty(channels, sums)
        results = out.reshape(len(values), len(op.matrix), channels)
        _add_up(values, begins, tap, factors, total, results)
        return out

    return kernel


@njit(cache=True, nogil=True)
def _add_up(x: Array, begins: Ints, tap: Ints, factors: Array, sums: Array, out: Array) -> None:
    size = np.uintp(x.shape[2])
    for n in range(len(x)):
        for j in range(len(begins) - 1):
            sums[:] = 0
            for k in range(begins[j], begins[j + 1]):
                values, factor = x[n, tap[k]], factors[k]
                for c in range(size):
                    sums[c] += values[c] * factor
            result = out[n, j]
            for c in range(size):
                result[c] = sums[c]
