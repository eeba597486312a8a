"""Images whose pixels stand in blocks, or whose blocks stand as pixels: what lays them row by row.

DepthToSpace and SpaceToDepth only move values, as a reshape and a transposition do: a stream
follows them by its index alone, and functions that wait see the channels that the graph's tensor
had before.  Where a layer needs the image row by row, the operator that makes it so is found from
the index, however the graph wrote the move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import ops
from ..exact import Chain
from ..fixed import Ints
from ..program import Op


@dataclass(frozen=True, eq=False)
class Blocks:
    """What lays an edge (h, w, c) out as an image (H, W, C) row by row.

    The edge's channels are put in the order `order` first.  `sources` (K, C) are the channels that
    each channel of the image comes from; `index`, of the image's shape, says at which flat position
    of the tensor (C, H, W) each element stands then; `block` is (by, bx).
    """

    block: tuple[int, int]
    order: Ints
    sources: Ints
    index: Ints
    gathers: bool
    """Whether blocks of the edge's pixels become channels, and not the other way."""

    @property
    def op(self) -> Op:
        """The operator; a `ProgramError` where its block is too large."""
        height, width, _ = self.index.shape
        if self.gathers:
            return ops.Window(self.block, self.block)
        if self.block[0] == 1:
            return ops.Reshape(self.index.shape)
        return ops.DepthToSpace(self.block, (height, width))

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this from other ways to lay the same edge out."""
        return self.block, self.gathers, self.index.shape, self.order.tobytes()

    @property
    def reorders(self) -> bool:
        """Whether the edge's channels stand in another order than the operator takes."""
        return bool((np.diff(self.order) < 0).any())

    def mixes(self, chain: Chain) -> bool:
        """Whether channels that become one have different functions."""
        if len(self.sources) == 1:
            return False
        return any(
            function.parameters(other) != function.parameters(first)
            for function in chain
            if function.channels > 1
            for first, *others in self.sources.T.tolist()
            for other in others
        )


def row_by_row(index: Ints) -> bool:
    """Whether a tensor (C, H, W) stands as an image (H, W, C) does, its channels in any order."""
    height, width, _ = index.shape
    place = np.arange(height * width).reshape(height, width, 1)
    channel, at = np.divmod(index, height * width)
    return bool((at == place).all() and (channel == channel[0, 0]).all())


def blocks(shape: tuple[int, int, int], index: Ints) -> Blocks | None:
    """What lays a tensor of `shape` (C, H, W), whose edge (h, w, c) stands as `index` says.

    None where no operator does.
    """
    return _spread_out(shape, index) or _gathered(shape, index)


def _spread_out(shape: tuple[int, int, int], index: Ints) -> Blocks | None:
    """Each position of the edge holds the pixels of a block."""
    (channels, height, width), (rows, columns, _) = shape, index.shape
    if height % rows or width % columns:
        return None
    by, bx = height // rows, width // columns
    first, corner = index[0, 0], np.arange(rows)[:, None] * by * width + np.arange(columns) * bx
    channel, place = np.divmod(first, height * width)
    y, x = np.divmod(place, width)
    if (y >= by).any() or (x >= bx).any() or (index != first + corner[..., None]).any():
        return None
    pixel = y * bx + x
    order = np.argsort(pixel, kind="stable").reshape(by * bx, channels)
    if (channel[order] != channel[order[0]]).any():
        order = np.lexsort((channel, pixel)).reshape(by * bx, channels)
    moved = index[..., order.reshape(by, bx, channels)].swapaxes(1, 2)
    return Blocks((by, bx), order.ravel(), order, moved.reshape(height, width, channels), False)


def _gathered(shape: tuple[int, int, int], index: Ints) -> Blocks | None:
    """Each block of the edge's pixels holds the channels of a position."""
    (channels, height, width), (rows, columns, count) = shape, index.shape
    if rows % height or columns % width:
        return None
    by, bx = rows // height, columns // width
    moved = index.reshape(height, by, width, bx, count).swapaxes(1, 2)
    moved = moved.reshape(height, width, channels)
    if not row_by_row(moved):
        return None
    every = np.arange(count)
    return Blocks((by, bx), every, np.tile(every, by * bx)[None], moved, True)
