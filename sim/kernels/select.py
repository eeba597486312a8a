"""Some channels of each row, copied one by one."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...models.ops import Select
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage


@prepare.register
def _(op: Select, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)

    def kernel(x: Array) -> Array:
        out = np.empty((*x.shape[:-1], len(op.channels)), kind)
        _copy(rows(x), op.channels, out.reshape(-1, len(op.channels)))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _copy(x: Array, channels: Array, out: Array) -> None:
    for row in range(len(x)):
        for k in range(len(channels)):
            out[row, k] = x[row, channels[k]]
