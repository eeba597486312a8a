"""Dot products: XNOR and popcount, int8 with the processor's dot instructions, or wide integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.fixed import Grid
from ...models.ops import Dot
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, rows, storage
from .matmul_int8 import ACTIVATIONS, INT32_MAX, int8_matmul, pack_int8
from .matmul_wide import wide_matmul
from .matmul_xnor import pack_bits, pack_signs, xnor_matmul, xnor_matmul_masked


@prepare.register
def _(op: Dot, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    product = _product(op, inputs[0])
    kind = storage(output)

    def kernel(x: Array) -> Array:
        return product(rows(x)).astype(kind, copy=False).reshape(*x.shape[:-1], output.channels)

    return kernel


def _product(op: Dot, edge: Edge) -> Kernel:
    """The quickest exact product of rows (R, S) of this edge with the weights."""
    if op.grid.bipolar and edge.step == 2:
        signs = pack_signs(op.weights > 0)
        return lambda x: xnor_matmul(pack_bits(x > 0), signs)
    if op.grid.bipolar and _within(edge.grid, Grid(-1, 1)):
        signs = pack_signs(op.weights > 0)
        return lambda x: xnor_matmul_masked(pack_bits(x != 0), pack_bits(x > 0), signs)
    kind: Any = np.dtype(storage(edge))
    if kind in ACTIVATIONS and _within(op.grid, Grid(-128, 127)):
        packed = pack_int8(op.weights.astype(np.int8))
        if ACTIVATIONS[kind] * packed.norm <= INT32_MAX:
            return lambda x: int8_matmul(x, packed)
    return lambda x: wide_matmul(x.astype(np.int64), op.weights)


def _within(grid: Grid, outer: Grid) -> bool:
    return outer.lo <= grid.lo and grid.hi <= outer.hi
