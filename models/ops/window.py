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

    `kernel`, `stride`, `dilation`, `repeat` are (vertical, horizontal), `padding` is (top, left,
    bottom, right), and `pad` is the integer that padded taps hold (0 stands for zero; on inputs in
    {-1, +1} a padding of 0 makes the output {-1, 0, 1}).  Negative padding crops: rows and columns
    that no window sees.  `repeat` lets the window see each row and column so many times, one after
    another (nearest-neighbour upsampling); it goes with a plain window of one tap only.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    pad: int = 0
    repeat: tuple[int, int] = (1, 1)

    def check(self) -> None:
        for name, size, least in (
            ("kernel", 2, 1),
            ("stride", 2, 1),
            ("padding", 4, -(1 << 16)),
            ("dilation", 2, 1),
            ("repeat", 2, 1),
        ):
            value = getattr(self, name)
            if len(value) != size or min(value) < least or max(value) > 1 << 16:
                raise ProgramError(
                    f"Window {name} has {size} integers from {least} to 65536, not {value}"
                )
        if self.repeats:
            for name, plain in _ONE_TAP.items():
                if getattr(self, name) != plain:
                    raise ProgramError(
                        f"a Window with repeat {self.repeat} has {name} {plain}, not "
                        f"{getattr(self, name)}; put a second Window behind it"
                    )
        fits("the padding value", [self.pad])

    @property
    def repeats(self) -> bool:
        """Whether some row or column is seen more than once."""
        return self.repeat != (1, 1)

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from the first to the last tap, both included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))  # type: ignore[return-value]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of output positions."""
        sizes = self._padded(0, height), self._padded(1, width)
        if sizes[0] < self.reach[0] or sizes[1] < self.reach[1]:
            raise ProgramError(
                f"Window reaches {self.reach[0]}x{self.reach[1]}, beyond the padded input of "
                f"{sizes[0]}x{sizes[1]}; pad more or use a smaller kernel"
            )
        return self._positions(0, height), self._positions(1, width)

    def _padded(self, axis: int, size: int) -> int:
        """Rows or columns that the window sees, padding included."""
        return size * self.repeat[axis] + self.padding[axis] + self.padding[axis + 2]

    def _positions(self, axis: int, size: int) -> int:
        return (self._padded(axis, size) - self.reach[axis]) // self.stride[axis] + 1

    def rows(self, height: int) -> Ints:
        """Input row read by output row oy and tap ky, shape (Ho, kh); out of range where padded."""
        return self._reads(0, height)

    def columns(self, width: int) -> Ints:
        """Input column read by output column ox and tap kx, shape (Wo, kw)."""
        return self._reads(1, width)

    def _reads(self, axis: int, size: int) -> Ints:
        position = np.arange(self._positions(axis, size))[:, None] * self.stride[axis]
        tap = np.arange(self.kernel[axis]) * self.dilation[axis]
        return (position + tap - self.padding[axis]) // self.repeat[axis]

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
        top, left = max(0, -int(iy.min())), max(0, -int(ix.min()))
        bottom = max(0, int(iy.max()) - height + 1)
        right = max(0, int(ix.max()) - width + 1)
        around = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x, around, constant_values=self.pad)
        taps = padded[:, iy[:, None, :, None] + top, ix[None, :, None, :] + left]
        return taps.reshape(frames, ho, wo, kh * kw * channels)


_ONE_TAP: dict[str, tuple[int, ...]] = {
    "kernel": (1, 1),
    "stride": (1, 1),
    "padding": (0, 0, 0, 0),
    "dilation": (1, 1),
}
"""What goes with `repeat`: its rows and columns are then read in order, by constant strides."""
