"""Dot products of mostly zero weights: the dense kernel over the columns that some row reads."""

from __future__ import annotations

import numpy as np

from ...models.ops import Dot, Select, SparseDot
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, storage


@prepare.register
def _(op: SparseDot, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    read = np.flatnonzero(op.weights.any(0))
    if not len(read):
        kind = storage(output)
        return lambda x: np.zeros((*x.shape[:-1], output.channels), kind)
    edge = Select(read).infer(*inputs)
    dense = prepare(Dot(op.weights[:, read], op.grid), (edge,), output)
    kind = storage(edge)

    def kernel(x: Array) -> Array:
        return dense(x[..., read].astype(kind, copy=False))

    return kernel
