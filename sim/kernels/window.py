"""Windows as rows of taps (im2col), copied pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...models.ops import Window
from ...models.program import Edge
from .kernel import Array, Kernel, prepare, storage


@prepare.register
def _(op: Window, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    height, width, _ = inputs[0].shape
    iy, ix = op.rows(height), op.columns(width)
    kind = storage(output)
    # A value that no tap ever shows need not fit.
    pad = kind(op.pad if op.padded_taps(height, width).any() else 0)

    def kernel(x: Array) -> Array:
        out = np.empty((len(x), *output.shape), kind)
        _copy_taps(np.ascontiguousarray(x), iy, ix, pad, out.reshape(len(x), -1))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _copy_taps(x: Array, iy: Array, ix: Array, pad: np.integer[Any], out: Array) -> None:
    frames, height, width, channels = x.shape
    for n in range(frames):
        at = 0
        for oy in range(iy.shape[0]):
            for ox in range(ix.shape[0]):
                for ky in range(iy.shape[1]):
                    y = iy[oy, ky]
                    for kx in range(ix.shape[1]):
                        column = ix[ox, kx]
                        if 0 <= y < height and 0 <= column < width:
                            for c in range(channels):
                                out[n, at + c] = x[n, y, column, c]
                        else:
                            for c in range(channels):
                                out[n, at + c] = pad
                        at += channels
