"""Lookups, the table in the output's narrow storage and cut to the input's range."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Table
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Table, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    (edge,) = inputs
    kind = storage(output)
    first = edge.grid.lo
    reached = op.values[:, first - op.lo : edge.grid.hi - op.lo + 1]
    # A channel of narrower range than the edge may have entries that do not fit: none is read.
    table = np.ascontiguousarray(reached.astype(kind))

    def kernel(x: Array) -> Array:
        out = np.empty(x.shape, kind)
        _look_up(rows(x), table, first, out.reshape(-1, x.shape[-1]))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _look_up(x: Array, table: Array, first: int, out: Array) -> None:
    shared = len(table) == 1
    for row in range(len(x)):
        for c in range(x.shape[1]):
            out[row, c] = table[0 if shared else c, np.int64(x[row, c]) - first]
