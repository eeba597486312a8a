"""Sums of chosen table entries, result by result."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Lookup
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Lookup, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)
    entries = op.entries.astype(np.uint32)

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], len(entries)), kind)
        _add_up(rows(x), entries, out.reshape(-1, len(entries)))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _add_up(x: Array, entries: Array, out: Array) -> None:
    for row in range(len(x)):
        for n in range(len(entries)):
            total = np.int64(0)
            for at in entries[n]:
                total += x[row, at]
            out[row, n] = total
