"""Depthwise dot products, all channels of a tap at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import DepthwiseDot
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, storage


@prepare.register
def _(op: DepthwiseDot, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    channels, taps = op.weights.shape
    weights = np.ascontiguousarray(op.weights.T)
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], channels), kind)
        values = np.ascontiguousarray(x).reshape(-1, taps, channels)
        _multiply(values, weights, out.reshape(-1, channels))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _multiply(x: Array, weights: Array, out: Array) -> None:
    sums = np.empty(x.shape[2], np.int64)
    for row in range(len(x)):
        sums[:] = 0
        for k in range(x.shape[1]):
            for c in range(x.shape[2]):
                sums[c] += x[row, k, c] * weights[k, c]
        for c in range(x.shape[2]):
            out[row, c] = sums[c]
