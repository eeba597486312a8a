"""Sums of the table entries that inputs choose, all results of an input at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import TableSum
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: TableSum, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)
    tables = np.ascontiguousarray(op.tables.transpose(1, 2, 0).astype(np.int32))

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], tables.shape[2]), kind)
        _add_up(rows(x), tables, out.reshape(-1, tables.shape[2]))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _add_up(x: Array, tables: Array, out: Array) -> None:
    sums = np.empty(tables.shape[2], np.int64)
    for row in range(len(x)):
        sums[:] = 0
        for c in range(x.shape[1]):
            entries = tables[c, x[row, c]]
            for n in range(len(sums)):
                sums[n] += entries[n]
        for n in range(len(sums)):
            out[row, n] = sums[n]
