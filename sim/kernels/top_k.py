"""The indices of the largest values, by insertion into a short sorted list."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import TopK
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: TopK, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], op.k), kind)
        _largest(rows(x), out.reshape(-1, op.k))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _largest(x: Array, out: Array) -> None:
    kept = out.shape[1]
    for row in range(len(x)):
        filled = 0
        for c in range(x.shape[1]):
            place = filled
            # Strictly greater: a tie leaves the earlier index in front.
            while place > 0 and x[row, c] > x[row, out[row, place - 1]]:
                place -= 1
            if place == kept:
                continue
            for k in range(min(filled, kept - 1), place, -1):
                out[row, k] = out[row, k - 1]
            out[row, place] = c
            filled = min(filled + 1, kept)
