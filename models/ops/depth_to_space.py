"""Blocks of pixels that stand in the channels, put in their places in the image."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..fixed import Ints, ProgramError
from ..program import Edge, Op

BLOCK_MAX = 256
SIZE_MAX = 1 << 16


@dataclass(frozen=True, eq=False)
class DepthToSpace(Op):
    """(H', W', by*bx*C) -> (H, W, C): y[h, w, c] = x[h//by, w//bx, (h%by*bx + w%bx)*C + c].

    `block` is (by, bx), `size` is (H, W): of the last row and column of blocks what lies beyond it
    is dropped.
    """

    block: tuple[int, int]
    size: tuple[int, int]

    def check(self) -> None:
        for name, most in (("block", BLOCK_MAX), ("size", SIZE_MAX)):
            value = getattr(self, name)
            if len(value) != 2 or min(value) < 1 or max(value) > most:
                raise ProgramError(
                    f"DepthToSpace {name} has 2 integers from 1 to {most}, not {value}"
                )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        if len(x.shape) != 3:
            raise ProgramError(f"DepthToSpace takes (H, W, C), not {x.shape}; reshape the input")
        pixels = prod(self.block)
        if x.channels % pixels:
            raise ProgramError(
                f"DepthToSpace takes {pixels} pixels of some channels each, and the last axis of "
                f"{x.shape} is {x.channels}, no multiple; use another block"
            )
        blocks = tuple(-(-s // b) for s, b in zip(self.size, self.block, strict=True))
        if x.shape[:2] != blocks:
            raise ProgramError(
                f"DepthToSpace of size {self.size} takes {blocks[0]}x{blocks[1]} blocks, not "
                f"{x.shape[0]}x{x.shape[1]}; correct the size"
            )
        lo, hi = x.lo.reshape(pixels, -1).min(0), x.hi.reshape(pixels, -1).max(0)
        return Edge((*self.size, len(lo)), lo, hi, x.step)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        (by, bx), (height, width) = self.block, self.size
        frames, rows, columns, values = x.shape
        channels = values // (by * bx)
        pixels = x.reshape(frames, rows, columns, by, bx, channels).transpose(0, 1, 3, 2, 4, 5)
        image = pixels.reshape(frames, rows * by, columns * bx, channels)
        return image[:, :height, :width].copy()
