"""Decision trees, one after another."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Tree
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Tree, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)
    trees = len(op.order)
    channels = op.order + op.inputs_of(inputs[0]) * np.arange(trees)[:, None]

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], trees), kind)
        _descend(rows(x), channels, op.thresholds, out.reshape(-1, trees))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _descend(x: Array, channels: Array, thresholds: Array, out: Array) -> None:
    for row in range(len(x)):
        for c in range(len(channels)):
            # Nodes in heap order: the children of node k are 2k + 1 and 2k + 2.
            node = 0
            for channel in channels[c]:
                node = 2 * node + 1 + (np.int64(x[row, channel]) >= thresholds[c, node])
            out[row, c] = node - thresholds.shape[1]
