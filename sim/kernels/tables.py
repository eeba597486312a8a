"""Inner products with the words of codebooks, all words of a sub-space at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Tables
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, storage


@prepare.register
def _(op: Tables, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    spaces, words, size = op.codebooks.shape
    books = np.ascontiguousarray(op.codebooks.transpose(0, 2, 1))
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], spaces * words), kind)
        values = np.ascontiguousarray(x).reshape(-1, spaces, size)
        _build(values, books, out.reshape(-1, spaces, words))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _build(x: Array, books: Array, out: Array) -> None:
    sums = np.empty(books.shape[2], np.int64)
    for row in range(len(x)):
        for m in range(x.shape[1]):
            sums[:] = 0
            for j in range(x.shape[2]):
                value = np.int64(x[row, m, j])
                for k in range(len(sums)):
                    sums[k] += value * books[m, j, k]
            for k in range(len(sums)):
                out[row, m, k] = sums[k]
