"""Thresholds counted for all channels of a row at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Thresholds
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Thresholds, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    edge = inputs[0]
    # Beyond the range a threshold means always or never; hi + 1 may not fit the storage.
    wide = np.int32 if storage(edge) is not np.int64 else np.int64
    limits = np.clip(op.thresholds.T, edge.grid.lo, edge.grid.hi + 1)
    if edge.grid.hi + 1 > np.iinfo(wide).max:
        wide = np.int64
    limits = np.ascontiguousarray(limits.astype(wide))
    offset, step = op.offset.astype(np.int64), op.step.astype(np.int64)
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty(x.shape, kind)
        _count(rows(x), limits, offset, step, out.reshape(-1, x.shape[-1]))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _count(x: Array, limits: Array, offset: Array, step: Array, out: Array) -> None:
    channels = x.shape[1]
    counts = np.empty(channels, np.int32)
    for row in range(len(x)):
        counts[:] = 0
        for k in range(len(limits)):
            for c in range(channels):
                counts[c] += x[row, c] >= limits[k, c]
        for c in range(channels):
            out[row, c] = offset[c] + step[c] * counts[c]
