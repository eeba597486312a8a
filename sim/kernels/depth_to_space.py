"""Depth to space: rows of pixels copied to their places."""

from __future__ import annotations

import numpy as np

from ...models.ops import DepthToSpace
from ...models.program import Edge
from .kernel import Array, Kernel, prepare


@prepare.register
def _(op: DepthToSpace, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    (rows, columns, _), (by, bx), (height, width) = inputs[0].shape, op.block, op.size
    channels = output.channels

    def kernel(x: Array) -> Array:
        out = np.empty((len(x), rows * by, columns * bx, channels), x.dtype)
        to = out.reshape(len(x), rows, by, columns, bx * channels)
        to[...] = x.reshape(len(x), rows, columns, by, bx * channels).swapaxes(2, 3)
        return out[:, :height, :width]

    return kernel
