"""The sum of two branches, in the output's type from the start."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Add
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Add, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)

    def kernel(a: Array, b: Array) -> Array:
        out = np.empty(a.shape, kind)
        _add(rows(a), rows(b), out.reshape(-1, a.shape[-1]))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _add(a: Array, b: Array, out: Array) -> None:
    for row in range(len(a)):
        for c in range(a.shape[1]):
            out[row, c] = np.int64(a[row, c]) + np.int64(b[row, c])
