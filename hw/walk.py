"""The reads of a sliding window: which input word each step wants, and how long words are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from ..models.fixed import Ints, ProgramError
from ..models.ops import Window
from .timing import NONE
from .unit import Place


@dataclass(frozen=True, eq=False)
class Buffered:
    """A window with a ring of `depth` words; depth 0 stands for the least that works."""

    op: Window
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Walk:
    """The reads of one frame: which word each step wants, and what each position still needs.

    Steps go through (position, tap, group); `words` is the number of input words in a frame.  A
    pixel that the window repeats is one position, whose taps are all that pixel; a row that it
    repeats is walked again.
    """

    op: Window
    place: Place

    @cached_property
    def groups(self) -> int:
        """Words in a pixel."""
        return self.place.inputs[0].channels // self.place.fold.simd

    @cached_property
    def words(self) -> int:
        """Input words in a frame."""
        return self.place.inputs[0].elements // self.place.fold.simd

    @cached_property
    def levels(self) -> dict[str, int]:
        """The counters that the steps go through, with their sizes, the innermost first."""
        rows, columns, _ = self.place.output.shape
        again_y, again_x = self.op.repeat
        return {
            "group": self.groups,
            "kx": self.op.kernel[1] * again_x,
            "ky": self.op.kernel[0],
            "ox": columns // again_x,
            "again": again_y,
            "oy": rows // again_y,
        }

    @cached_property
    def taps(self) -> tuple[Ints, np.ndarray]:
        """Raw pixel index and validity of each (row, ox, ky, kx); padding has indices outside."""
        height, width, _ = self.place.inputs[0].shape
        iy = self.op.rows(height)[:, None, :, None]
        ix = self.op.columns(width).reshape(self.levels["ox"], -1)[None, :, None, :]
        valid = (iy >= 0) & (iy < height) & (ix >= 0) & (ix < width)
        return iy * width + ix, valid

    @cached_property
    def reads(self) -> Ints:
        """Raw word index of each step."""
        pixel = self.taps[0].reshape(-1, 1)
        return (pixel * self.groups + np.arange(self.groups)).ravel()

    @cached_property
    def valid(self) -> np.ndarray:
        """Whether each step reads a word, not padding."""
        return np.repeat(self.taps[1].ravel(), self.groups)

    @cached_property
    def waits(self) -> Ints:
        """For each step the word that it waits for, or `NONE`: its own, if it reads one.

        Padding at the first position waits for the frame's first word, so that nothing of a frame
        leaves before the frame has begun.
        """
        begins = np.arange(len(self.reads)) < self.steps_per_position
        return np.where(self.valid, self.reads, np.where(begins, 0, NONE))

    @cached_property
    def low(self) -> Ints:
        """For each position, and the next frame's first, the first word that is still needed.

        Words that no position needs are taken and dropped, those before the first included.
        """
        pixel, valid = self.taps
        end = self.words // self.groups
        least = np.where(valid, pixel, end).reshape(-1, prod(pixel.shape[2:])).min(1)
        still = np.minimum.accumulate(least[::-1])[::-1]
        return np.append(still, end + still[0]) * self.groups

    @cached_property
    def released(self) -> Ints:
        """Words that position (oy, ox) releases at its end, the last time that it is walked."""
        return np.diff(self.low).reshape(self.levels["oy"], self.levels["again"], -1)[:, -1]

    @cached_property
    def steps_per_position(self) -> int:
        """Reads at one position."""
        return len(self.reads) // (len(self.low) - 1)

    @cached_property
    def least_depth(self) -> int:
        """The smallest ring in which every position finds all its words."""
        position = np.arange(len(self.reads)) // self.steps_per_position
        span = np.where(self.valid, self.reads - self.low[position] + 1, 1)
        return max(1, int(span.max()))

    @cached_property
    def strides(self) -> list[int]:
        """How far the raw index moves when 0, 1, 2, ... of the counters wrap."""
        step, strides = 1, list[int]()
        for size in self.levels.values():
            # The first step at which exactly the inner counters are at their last value.
            strides.append(int(self.reads[step] - self.reads[step - 1]) if size > 1 else 0)
            step *= size
        return [*strides, self.words + int(self.reads[0] - self.reads[-1])]

    def release(self, depth: int) -> Ints:
        """For each input word the step whose end makes room for it in a ring of `depth`."""
        frame, rest = np.divmod(np.arange(self.words) - depth, self.words)
        position = np.searchsorted(self.low, rest, side="right")
        positions = len(self.low) - 1
        return (frame * positions + position) * self.steps_per_position - 1


def walk_of(op: Buffered, place: Place) -> tuple[Walk, int]:
    """The reads of a window, and the depth of its ring."""
    walk = Walk(op.op, place)
    depth = op.depth or walk.least_depth
    if depth < walk.least_depth:
        raise ProgramError(
            f"a window ring of {depth} words is too small; it needs {walk.least_depth} or more"
        )
    return walk, depth
