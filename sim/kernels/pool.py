"""Pools: the taps of all channels of a row reduced at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import MaxPool, SumPool
from ...models.ops.pool import Pool
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, storage


@prepare.register(MaxPool)
@prepare.register(SumPool)
def _(op: Pool, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)
    reduce = _largest if isinstance(op, MaxPool) else _sum

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], output.channels), kind)
        taps = np.ascontiguousarray(x).reshape(-1, op.size, output.channels)
        reduce(taps, out.reshape(-1, output.channels))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _largest(x: Array, out: Array) -> None:
    for row in range(len(x)):
        # A maximum so far may lie below all that the output can be: it is kept in x's own type.
        best = x[row, 0].copy()
        for k in range(1, x.shape[1]):
            for c in range(x.shape[2]):
                best[c] = max(best[c], x[row, k, c])
        for c in range(x.shape[2]):
            out[row, c] = best[c]


@njit(cache=True, nogil=True)
def _sum(x: Array, out: Array) -> None:
    for row in range(len(x)):
        for c in range(x.shape[2]):
            total = np.int64(0)
            for k in range(x.shape[1]):
                total += x[row, k, c]
            out[row, c] = total
