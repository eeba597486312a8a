"""Sliding windows: each output position holds the taps that a convolution or pooling reads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import MAX_ELEMENTS, Edge, Op, fits


@dataclass(frozen=True, eq=False)
class Window(Op):
    """(H, W, C) -> (Ho, Wo, kh*kw*C): the taps of every kernel position, in the order (ky, kx, c).

    `kernel`, `stride`, `dilation` are (vertical, horizontal), `padding` is (top, left, bottom,
    right), and `pad` is the integer that padded taps hold (0 stands for zero; on inputs in
    {-1, +1} a padding of 0 makes the output {-1, 0, 1}).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    pad: int = 0

    def check(self) -> None:
        for name, size, least in (
            ("kernel", 2, 1),
            ("stride", 2, 1),
            ("padding", 4, 0),
            ("dilation", 2, 1),
        ):
            value = getattr(self, name)
            if len(value) != size or min(value) < least or max(value) > 1 << 16:
                raise ProgramError(
                    f"Window {name} has {size} integers from {least} to 65536, not {value}"
                )

        fits("the padding value", [self.pad])

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from the first to the last tap, both included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))  # type: ignore[return-value]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of output positions."""
        top, left, bottom, right = self.padding
        sizes = []
        for size, before, after, reach, stride in zip(
            (height, width), (top, left), (bottom, right), self.reach, self.stride, strict=True
        ):
            if size + before + after < reach:
                raise ProgramError(
                    f"Window reaches {self.reach[0]}x{self.reach[1]}, beyond the padded input of "
                    f"{height + top + bottom}x{width + left + right}; pad more or use a smaller "
                    "kernel"
                )
            sizes.append((size + before + after - reach) // stride + 1)
        return sizes[0], sizes[1]

    def rows(self, height: int) -> Ints:
        """Input row read by output row oy and tap ky, shape (Ho, kh); out of range where padded."""
        oy = np.arange(self.output_size(height, 1 << 20)[0])[:, None]
        return oy * self.stride[0] + np.arange(self.kernel[0]) * self.dilation[0] - self.padding[0]

    def columns(self, width: int) -> Ints:
        """Input column read by output column ox and tap kx, shape (Wo, kw)."""
        ox = np.arange(self.output_size(1 << 20, width)[1])[:, None]
        return ox * self.stride[1] + np.arange(self.kernel[1]) * self.dilation[1] - self.padding[1]

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        if len(x.shape) != 3:
            raise ProgramError(f"Window takes (H, W, C), not {x.shape}; reshape the input")
        height, width, channels = x.shape
        size = self.output_size(height, width)
        taps = prod(size) * prod(self.kernel) * channels
        if taps > MAX_ELEMENTS:
            raise ProgramError(
                f"Window makes {taps} values of a frame, above the limit of {MAX_ELEMENTS}; use a "
                "smaller kernel or input"
            )
        padded = self.padded_taps(height, width)
        lo = np.tile(x.lo, (len(padded), 1))
        hi = np.tile(x.hi, (len(padded), 1))
        lo[padded] = np.minimum(lo[padded], self.pad)
        hi[padded] = np.maximum(hi[padded], self.pad)
        step = 2 if x.step == 2 and (abs(self.pad) == 1 or not padded.any()) else 1
        return Edge((*size, len(padded) * channels), lo.ravel(), hi.ravel(), step)

    def padded_taps(self, height: int, width: int) -> np.ndarray:
        """For each tap (ky, kx), flat, whether padding reaches it at some position."""
        iy, ix = self.rows(height), self.columns(width)
        row = np.any((iy < 0) | (iy >= height), axis=0)
        column = np.any((ix < 0) | (ix >= width), axis=0)
        return np.logical_or.outer(row, column).ravel()

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        frames, height, width, channels = x.shape
        iy, ix = self.rows(height), self.columns(width)
        (ho, kh), (wo, kw) = iy.shape, ix.shape
        top, left = self.padding[:2]
        bottom = max(0, int(iy.max()) - height + 1)
        right = max(0, int(ix.max()) - width + 1)
        around = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x, around, constant_values=self.pad)
        taps = padded[:, iy[:, None, :, None] + top, ix[None, :, None, :] + left]
        return taps.reshape(frames, ho, wo, kh * kw * channels)
