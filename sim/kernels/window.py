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
        _copy_taps(np.ascontiguousarray(x), iy, ix, pad, out.reshape(-1))
        return out

    return kernel


@njit(cache=True, nogil=True)
def _copy_taps(x: Array, iy: Array, ix: Array, pad: np.integer[Any], out: Array) -> None:
    """X (N, H, W, C) to all taps in a row; taps side by side in the input are copied as one run."""
    frames, height, width, channels = x.shape
    taps = ix.shape[1]
    run = taps if taps == 1 or ix[0, 1] - ix[0, 0] == 1 else 1
    size = run * channels
    source = x.ravel()
    at = 0
    for n in range(frames):
        for oy in range(iy.shape[0]):
            for ox in range(ix.shape[0]):
                for ky in range(iy.shape[1]):
                    y = iy[oy, ky]
                    for kx in range(0, taps, run):
                        column = ix[ox, kx]
                        begin = ((n * height + y) * width + column) * channels
                        # Unsigned: Numba wraps signed indices round, which spoils vector copies.
                        to, come = np.uintp(at), np.uintp(begin)
                        if y < 0 or y >= height:
                            for c in range(np.uintp(size)):
                                out[to + c] = pad
                        elif column >= 0 and column + run <= width:
                            for c in range(np.uintp(size)):
                                out[to + c] = source[come + c]
                        else:
                            for tap in range(run):
                                inside = 0 <= column + tap < width
                                for c in range(tap * channels, (tap + 1) * channels):
                                    out[at + c] = source[begin + c] if inside else pad
                        at += size
