"""Convolution with product-quantised weights by table lookup (Q-CNN, arXiv 1512.06473, eq. 8).

Each run of Cs input channels, at each tap and output, has one of the K words of its sub-space as
weights. The products of a pixel's Cs channels with all K words are built once and then only looked
up and added: C * K multiply-additions a pixel and C / Cs additions a tap and output take the place
of C multiply-additions a tap and output.

A table holds its entries of neighbouring pixels side by side, so that one lookup adds a vector of
them. Pixels lie in rows of one pitch with the padding between them, hence a tap is one shift of all
pixels; a stride splits the pixels into phases, each again with neighbours side by side.

Entries are int16. Words that could leave it for some input of the grid are cut into shorter ones,
each with a table of its own; one channel always fits. The sums are exact whatever they are, and
quicker where the words that are looked up one after another surely stay within int16 in sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...models.fixed import Grid, ProgramError
from .kernel import aligned
from .lookup_loops import (
    AVX2,
    BUILT,
    LANES,
    PORTABLE,
    STRETCHES,
    TERMS,
    VECTORS,
    convolver,
    has_avx2,
    spread,
)
from .matmul_int8 import INT32_MAX

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]

INT16 = Grid(-(2**15), 2**15 - 1)
OFFSET = 128  # Raises int8 to uint8.

# What a pass is cut to: as many lookups of an output pay for widening and storing its sum, and as
# many bytes of tables and of sums stay in the second-level cache.
LOOKUPS = 18
TABLE_BYTES = 2**18
SUM_BYTES = 2**19


@dataclass(frozen=True)
class Places:
    """Where the pixels of an image (height, width) lie in a row of places, for windows over it.

    Padded pixel (y, x) has phase (y % stride, x % stride) and there place
    y // stride * pitch + x // stride; the right padding of a row is the left one of the next.
    """

    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    @cached_property
    def output(self) -> Pair:
        """Height and width of the output."""
        reach = zip(self.size, self.padding, self.kernel, self.stride, strict=True)
        height, width = ((n + 2 * pad - taps) // step + 1 for n, pad, taps, step in reach)
        return height, width

    @property
    def pitch(self) -> int:
        return max(-(-(self.size[1] + self.padding[1]) // self.stride[1]), self.output[1])

    @property
    def used(self) -> int:
        """Places up to the last output."""
        return (self.output[0] - 1) * self.pitch + self.output[1]

    @property
    def filled(self) -> int:
        """Places up to the last padded row."""
        return -(-(self.size[0] + 2 * self.padding[0]) // self.stride[0]) * self.pitch

    @property
    def phases(self) -> int:
        return self.stride[0] * self.stride[1]

    @cached_property
    def shifts(self) -> tuple[Array, Array]:
        """Phase (T,) and shift (T,) that take an output's place to each tap's pixel."""
        y, x = (grid.ravel() for grid in np.indices(self.kernel))
        (sy, sx), pitch = self.stride, self.pitch
        return y % sy * sx + x % sx, y // sy * pitch + x // sx

    def pixels(self, length: int) -> tuple[Array, Array]:
        """Places of the rows (H,) and of the columns (W,), to be added; a phase has `length`."""
        y, x = (np.arange(n) + pad for n, pad in zip(self.size, self.padding, strict=True))
        (sy, sx), pitch = self.stride, self.pitch
        return y % sy * sx * length + y // sy * pitch, x % sx * length + x // sx


@dataclass(frozen=True)
class Plan:
    """How much is done at once: `spaces` tables for `blocks` blocks of `vectors` vectors of places.

    A word's row in a table has `length` entries of each phase; a phase of the image has `size`
    places, with those that the last block of tables reads in vain.
    """

    spaces: int
    vectors: int
    blocks: int
    length: int
    size: int

    @classmethod
    def choose(cls, places: Places, outputs: int, spaces: int, words: int) -> Plan:
        """Choose for `outputs` outputs and `spaces` sub-spaces of `words` words a group."""
        needed = -(-places.used // LANES)
        vectors = min(VECTORS, key=lambda v: -(-needed // v) * (v + 0.5))
        reach = int(places.shifts[1].max())
        entry = 2 * words * places.phases

        def length(blocks: int) -> int:
            return _up(blocks * vectors * LANES + reach, BUILT * LANES)

        taps = places.kernel[0] * places.kernel[1]
        together = max(
            n for n in range(1, spaces + 1)
            if spaces % n == 0
            and (n == 1 or (n * taps <= LOOKUPS and n * entry * length(1) <= TABLE_BYTES))
        )  # fmt: skip
        every = -(-needed // vectors)
        blocks = max(
            n for n in range(1, every + 1)
            if n == 1
            or (
                together * entry * length(n) <= TABLE_BYTES
                and 4 * outputs * n * vectors * LANES <= SUM_BYTES
            )
        )  # fmt: skip
        parts = -(-every // blocks)
        blocks = -(-every // parts)
        size = (parts - 1) * blocks * vectors * LANES + length(blocks)
        return cls(together, vectors, blocks, length(blocks), max(size, places.filled))


@dataclass(frozen=True, eq=False)
class Workspace:
    """Memory of a call: pixels (C / 2, phases, size) uint16, a table and the sums of a pass.

    owner: the convolution whose shapes and padding these are.
    """

    owner: LookupConv
    pixels: Array
    table: Array
    sums: Array


@dataclass(frozen=True, eq=False)
class LookupConv:
    """A convolution of images (N, H, W, C) of integers of `grid` by lookup, exact in int32.

    `words` (S, K, ceil(width / 2)) are pairs of int8 in an int16 and `starts` (S, K) what is added
    to their products; `order` are the channels that meet them, None for all as they are. `offsets`
    (G, passes, N, lookups) are where the rows of each output stand in the tables of a pass, `plan`
    the shape of these, and any `stretch` lookups of an output together fit int16.
    """

    places: Places
    grid: Grid
    channels: int
    order: Array | None
    words: Array
    starts: Array
    offsets: Array
    stretch: int
    plan: Plan

    @classmethod
    def pack(
        cls, places: Places, grid: Grid, codebooks: Array, indices: Array, groups: int = 1
    ) -> LookupConv:
        """Pack codebooks (M, K, Cs) int8 and indices (N, T, M / groups), taps T row by row.

        Output n, of group n // (N / groups), has at tap t the word indices[n, t, i] of codebooks[m]
        as weights of the Cs channels from m * Cs on, m being the i-th sub-space of the group.
        """
        _check(places, grid, codebooks, indices, groups)
        spaces, words, size = codebooks.shape
        outputs, taps, _ = indices.shape
        parts, cut, low, high = _cut_to_fit(codebooks, grid)
        found = indices.astype(np.int64).reshape(groups, -1, taps, spaces // groups)
        found = found.transpose(0, 3, 1, 2).repeat(parts, axis=1)
        space = np.arange(len(cut)).reshape(groups, -1, 1, 1)
        plan = Plan.choose(places, outputs // groups, found.shape[1], words)

        def by_pass(values: Array) -> Array:
            whole = values.reshape(groups, -1, plan.spaces, *values.shape[2:])
            return whole.transpose(0, 1, 3, 2, 4).reshape(*whole.shape[:2], whole.shape[3], -1)

        lows, highs = by_pass(low[space, found]), by_pass(high[space, found])
        bound = max(int(highs.sum(axis=(1, 3)).max()), -int(lows.sum(axis=(1, 3)).min()))
        if bound > INT32_MAX:
            raise ProgramError(
                f"the sums of an output may reach {bound}, beyond int32 ({INT32_MAX}); "
                "use fewer channels or a narrower input"
            )
        row = (space % plan.spaces * words + found) * (places.phases * plan.length)
        phase, shift = places.shifts
        offsets = by_pass(row + phase * plan.length + shift)
        starts = cut.sum(axis=2) * (-OFFSET if grid.lo < 0 else 0)
        channels = np.arange(spaces * size).reshape(spaces, 1, size)
        order = _cut(channels, parts).ravel()
        natural = np.array_equal(order, channels.ravel())
        return cls(
            places=places,
            grid=grid,
            channels=spaces * size,
            order=None if natural else order,
            words=cut.astype(np.int8, order="C").view(np.int16),
            # Of 1x1 windows they come in other orders, and the kernel would copy them.
            starts=starts.astype(np.int16, order="C"),
            offsets=offsets.astype(np.uint16 if offsets.max() < 2**16 else np.uint32, order="C"),
            stretch=_stretch(lows, highs),
            plan=plan,
        )

    def __call__(self, x: Array, workspace: Workspace | None = None) -> Array:
        """Return the outputs (N, Ho, Wo, outputs) int32 of images x (N, H, W, C) int8 or uint8.

        A workspace of one's own saves the making of one; two threads must not share it.
        """
        self._check_input(x)
        space = workspace or self.workspace()
        if space.owner is not self:
            raise ProgramError("a workspace is another convolution's; make one with workspace()")
        groups, _, outputs, _ = self.offsets.shape
        out = np.empty((len(x), *self.places.output, groups * outputs), np.int32)
        convolve = convolver(self.form, self.words.shape[2])
        for image, result in zip(x, out, strict=True):
            self.arrange(image, space.pixels)
            convolve(
                space.pixels, self.words, self.starts, self.offsets, self.stretch,
                self.plan.length, space.table, space.sums, result, self.places.pitch,
            )  # fmt: skip
        return out

    def workspace(self) -> Workspace:
        """Return memory for the calls, whose pixels are all padding yet."""
        plan, phases = self.plan, self.places.phases
        spaces, words, depth = self.words.shape
        pixels = aligned((spaces * depth, phases, plan.size), np.uint16)
        pixels[...] = self.flip
        return Workspace(
            owner=self,
            pixels=pixels,
            table=aligned((plan.spaces * words, phases * plan.length), np.int16),
            sums=aligned((plan.blocks, self.offsets.shape[2], plan.vectors * LANES), np.int32),
        )

    def arrange(self, image: Array, pixels: Array) -> None:
        """Write an image (H, W, C) to the pixels of a workspace, raised to unsigned."""
        octets = image.view(np.uint8)
        octets = octets if self.order is None else octets[..., self.order]
        pairs = np.ascontiguousarray(octets).view(np.uint16)
        rows, columns = self.places.pixels(self.plan.size)
        spread(pairs, self.flip, rows, columns, pixels.reshape(len(pixels), -1))

    @property
    def flip(self) -> np.uint16:
        """What raises a pair of inputs to unsigned, and is a pair of raised zeros."""
        return np.uint16(OFFSET * 257 if self.grid.lo < 0 else 0)

    @cached_property
    def form(self) -> int:
        """The quickest exact form of the products: AVX2 saturates where two leave int16 in sum."""
        top = max(0, self.grid.hi) + (OFFSET if self.grid.lo < 0 else 0)
        pairs = self.words.view(np.int8).astype(np.int64).reshape(-1, 2)
        low, high = (clip(pairs, 0).sum(axis=1) * top for clip in (np.minimum, np.maximum))
        exact = INT16.lo <= low.min() and high.max() <= INT16.hi
        return AVX2 if exact and has_avx2() else PORTABLE

    def _check_input(self, x: Array) -> None:
        shape = (*self.places.size, self.channels)
        if x.dtype not in (np.int8, np.uint8) or x.shape[1:] != shape:
            raise ProgramError(
                f"x must be int8 or uint8 (N, {', '.join(map(str, shape))}), "
                f"got {x.dtype} {x.shape}; pack again for other images"
            )
        if x.size and not self.grid.lo <= int(x.min()) <= int(x.max()) <= self.grid.hi:
            raise ProgramError(
                f"x must stay within {self.grid.lo}..{self.grid.hi}, got {x.min()}..{x.max()}; "
                "pack again with a wider grid"
            )


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _cut(words: Array, parts: int) -> Array:
    """Cut the last axis of words (M, K, Cs) into parts of one even length, zero beyond."""
    spaces, count, size = words.shape
    width = -(-size // parts)
    padded = np.pad(words, ((0, 0), (0, 0), (0, width * parts - size)))
    cut = padded.reshape(spaces, count, parts, width).transpose(0, 2, 1, 3)
    return np.pad(cut.reshape(-1, count, width), ((0, 0), (0, 0), (0, width % 2)))


def _cut_to_fit(codebooks: Array, grid: Grid) -> tuple[int, Array, Array, Array]:
    """Cut words into as few parts as let the entries fit int16.

    Returns the number of parts, the words and their least and largest entry. A word of one channel
    always fits: 128 * 255 < 2**15.
    """
    lo, hi = min(grid.lo, 0), max(grid.hi, 0)
    parts = 1
    while True:
        words = _cut(codebooks.astype(np.int64), parts)
        low = np.minimum(words * lo, words * hi).sum(axis=2)
        high = np.maximum(words * lo, words * hi).sum(axis=2)
        if INT16.lo <= low.min() and high.max() <= INT16.hi:
            return parts, words, low, high
        parts += 1


def _stretch(lows: Array, highs: Array) -> int:
    """Return how many lookups (..., L) in a row surely stay within int16 in sum.

    `lows` and `highs` are the least and largest entry of each looked-up word, which fit it alone.
    """
    for stretch in STRETCHES:
        whole = lows.shape[-1] // stretch * stretch
        low, high = (
            each[..., :whole].reshape(*each.shape[:-1], -1, stretch).sum(axis=-1)
            for each in (lows, highs)
        )
        if INT16.lo <= low.min(initial=0) and high.max(initial=0) <= INT16.hi:
            return stretch
    raise AssertionError("a single entry fits int16")


def _check(places: Places, grid: Grid, codebooks: Array, indices: Array, groups: int) -> None:
    if codebooks.dtype != np.int8 or codebooks.ndim != 3 or not codebooks.size:
        raise ProgramError(
            f"codebooks must be int8 (M, K, Cs) and not empty, got {codebooks.dtype} "
            f"{codebooks.shape}; quantise the words to 8 bits"
        )
    if min(*places.padding, 0) < 0 or min(places.stride) < 1:
        raise ProgramError(
            f"padding is 0 or more and a stride 1 or more, not {places.padding} and "
            f"{places.stride}; crop the images first"
        )
    spaces, words, _ = codebooks.shape
    taps = places.kernel[0] * places.kernel[1]
    if taps > TERMS:
        raise ProgramError(
            f"a kernel has at most {TERMS} taps, got {taps}; split it into kernels of fewer"
        )
    if groups < 1 or spaces % groups or indices.ndim != 3 or len(indices) % groups:
        raise ProgramError(
            f"{groups} groups must share {spaces} sub-spaces and indices {indices.shape} evenly; "
            "let no sub-space cross a group"
        )
    if indices.shape[1:] != (taps, spaces // groups) or not len(indices):
        raise ProgramError(
            f"indices must be (N, {taps}, {spaces // groups}), got {indices.shape}; "
            "give each output a word for each tap and sub-space of its group"
        )
    if indices.dtype.kind not in "iu" or not 0 <= int(indices.min()) <= int(indices.max()) < words:
        raise ProgramError(
            f"indices must be integers within 0..{words - 1}, got {indices.dtype} "
            f"{indices.min()}..{indices.max()}; each names one of the words"
        )
    if grid.lo < -OFFSET or grid.hi > (OFFSET - 1 if grid.lo < 0 else 2 * OFFSET - 1):
        raise ProgramError(
            f"the input must fit int8 or uint8, got {grid.lo}..{grid.hi}; requantise it to 8 bits"
        )
    if min(places.output) < 1:
        raise ProgramError(
            f"a kernel of {places.kernel} does not fit an image of {places.size} padded by "
            f"{places.padding}; pad it more"
        )
