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
        lines = np.ascontiguousarray(x).reshape(len(x), height, -1)
        _copy_taps(lines, iy, ix, pad, out.reshape(len(x), -1))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _copy_taps(x: Array, iy: Array, ix: Array, pad: np.integer[Any], out: Array) -> None:
    """X (N, H, W*C); taps side by side in the input are copied as one run."""
    taps = ix.shape[1]
    channels = out.shape[1] // (iy.size * ix.size)
    width = x.shape[2] // channels
    run = taps if taps == 1 or ix[0, 1] - ix[0, 0] == 1 else 1
    for n in range(len(x)):
        at = 0
        for oy in range(iy.shape[0]):
            for ox in range(ix.shape[0]):
                for ky in range(iy.shape[1]):
                    y = iy[oy, ky]
                    for kx in range(0, taps, run):
                        column = ix[ox, kx]
                        begin, end = max(0, -column), min(run, width - column)
                        if y < 0 or y >= x.shape[1] or end < begin:
                            begin, end = 0, 0
                        row = x[n, y] if begin < end else x[n, 0]
                        for c in range(begin * channels):
                            out[n, at + c] = pad
                        for c in range(begin * channels, end * channels):
                            out[n, at + c] = row[column * channels + c]
                        for c in range(end * channels, run * channels):
                            out[n, at + c] = pad
                        at += run * channels
