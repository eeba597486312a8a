"""Multiply and add in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Scale
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Scale, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty(x.shape, kind)
        _scale(rows(x), op.multiplier, op.bias, out.reshape(-1, x.shape[-1]))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _scale(x: Array, multiplier: Array, bias: Array, out: Array) -> None:
    for row in range(len(x)):
        for c in range(x.shape[1]):
            out[row, c] = np.int64(x[row, c]) * multiplier[c] + bias[c]
