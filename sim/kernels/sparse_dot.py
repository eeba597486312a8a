"""Dot products of mostly zero weights: a dense kernel for each block that stands by itself.

Rows and columns that no weight joins are computed apart: those of a grouped convolution, of
Winograd's taps, or of a matrix whose columns are read by some rows alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...models.fixed import Ints
from ...models.ops import Dot, Select, SparseDot
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, storage

BLOCKS_MAX = 64
"""The most blocks that are computed apart."""


@prepare.register
def _(op: SparseDot, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind, parts = storage(output), list[tuple[Ints | slice, Kernel]]()
    for rows, columns in blocks(op.weights):
        edge = Select(columns).infer(*inputs)
        dot = Dot(op.weights[np.ix_(rows, columns)], op.grid)
        dense = _narrowed(prepare(dot, (edge,), dot.infer(edge)), edge, _run(columns))
        if len(rows) == output.channels:
            return lambda x: dense(x).astype(kind, copy=False)
        parts.append((_run(rows), dense))

    def kernel(x: Array) -> Array:
        out = np.zeros((*x.shape[:-1], output.channels), kind)
        for rows, dense in parts:
            out[..., rows] = dense(x)
        return out

    return kernel


def _narrowed(dense: Kernel, edge: Edge, columns: Ints | slice) -> Kernel:
    """The kernel of a block, on the whole input."""
    kind = storage(edge)
    return lambda x: dense(x[..., columns].astype(kind, copy=False))


def _run(places: Ints) -> Ints | slice:
    """Rising places as a slice where they stand side by side."""
    begin, end = int(places[0]), int(places[-1]) + 1
    return slice(begin, end) if end - begin == len(places) else places


def blocks(weights: Ints) -> list[tuple[Ints, Ints]]:
    """Rows and columns, rising, of the blocks that no weight joins; rows of zeros are in none.

    Of more than `BLOCKS_MAX` blocks neighbours share one, since each is a kernel of its own.
    """
    kept = weights != 0
    label = _joined(kept)
    roots, of_column = np.unique(label, return_inverse=True)
    # Columns that nothing reads are blocks, too, without rows.
    rows = np.flatnonzero(kept.any(1))
    of_row = of_column[kept[rows].argmax(1)]
    used = np.unique(of_row)
    share = np.zeros(len(roots), np.int64)
    share[used] = np.arange(len(used)) * min(len(used), BLOCKS_MAX) // max(1, len(used)) + 1
    read = np.where(kept.any(0), share[of_column], 0)
    return [
        (rows[share[of_row] == one], np.flatnonzero(read == one))
        for one in range(1, int(share.max()) + 1)
    ]


@njit(cache=True, nogil=True)
def _joined(kept: NDArray[np.bool_]) -> Ints:
    """For each column the first of all that rows join to it: sets of columns, joined row by row."""
    rows, columns = kept.shape
    parent = np.arange(columns)
    for row in range(rows):
        first = -1
        for column in range(columns):
            if not kept[row, column]:
                continue
            root = column
            while parent[root] != root:
                root = parent[root]
            parent[column] = root
            if first >= 0 and root != first:
                low, high = min(root, first), max(root, first)
                parent[high] = low
                root = low
            first = root
    for column in range(columns):
        parent[column] = parent[parent[column]]
    return parent
