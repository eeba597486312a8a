"""Winograd's tiles: Lavin and Gray, Fast Algorithms for Convolutional Networks, arXiv 1509.09308.

Weights are those of `uniform`; a 3x3 convolution of stride 1 computes two by two outputs Y at a
time from four by four inputs d, with 16 products of a channel and a filter in place of 36:

    Y = A^T [ (G g G^T) * (B^T d B) ] A        g 3x3 weights, * entry by entry

With 2G for G on both sides all is integers, and 4 Y comes out, exactly.  Of the transformed weights
those of a corner are multiples of 4, of an edge of 2: these factors move behind the sum over the
channels, into the constants of A, where they are wires.  As operators, taps outermost:

    Window 4x4, stride 2  ->  TapTransform B^T (x) B^T  ->  SparseDot, a block for each tap
    ->  TapTransform A^T (x) A^T with the factors  ->  DepthToSpace 2x2

Inputs of b bits become b + 3 bits, weights of b bits b + 4; nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ..fixed import Ints, frozen, signed
from ..layers import Slide
from ..ops import DepthToSpace, SparseDot, TapTransform
from .method import Compressed, Method, Product, Site, Sums, check_limits
from .problem import Floats, LayerProblem
from .uniform import Uniform

INPUTS = frozen(np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]))
"""B^T."""
WEIGHTS = frozen(np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]))
"""2 G."""
OUTPUTS = frozen(np.array([[1, 1, 1, 0], [0, 1, -1, -1]]))
"""A^T."""
FACTORS = frozen(np.array([2, 1, 1, 2]))
"""What divides each row of `WEIGHTS`."""
GAIN = 4
"""How many times too large the results are."""
KERNEL, TILE, BLOCK = (3, 3), (4, 4), (2, 2)


@dataclass(frozen=True, eq=False)
class Tiled(Product):
    """Weights whose 3x3 convolutions of stride 1 are computed by tiles, where that is less work."""

    plain: Compressed

    def dense(self) -> Floats:
        return self.plain.dense()

    @property
    def bits(self) -> int:
        """Those of the plain weights: what tiles store follows from them."""
        return self.plain.bits

    def lower(self, site: Site) -> Sums:
        if not pays(site.slide, site.edge(site.windows).shape):
            return self.plain.lower(site)
        sums = tiles(site, self.plain.weights)
        return Sums(sums, site.scale * self.plain.scale / GAIN)


def pays(slide: Slide, shape: tuple[int, ...]) -> bool:
    """Whether the tiles of a convolution to `shape` take fewer products than its windows."""
    if slide != Slide(KERNEL, padding=slide.padding):
        return False
    rows, columns = shape[:2]
    return blocks(rows) * blocks(columns) * prod(TILE) < rows * columns * prod(KERNEL)


def blocks(size: int) -> int:
    """Tiles along an axis of so many results."""
    return -(-size // BLOCK[0])


def tiles(site: Site, weights: Ints) -> str:
    """Append a 3x3 convolution with weights (N, 9*C); return the edge of its sums, `GAIN`-fold."""
    rows, columns, _ = site.edge(site.windows).shape
    top, left, bottom, right = site.slide.padding
    # Of an odd size the last tile reads a row more, which gives results that are dropped.
    more = (2 * blocks(rows) - rows, 2 * blocks(columns) - columns)
    slide = Slide(TILE, BLOCK, (top, left, bottom + more[0], right + more[1]))
    windows = site.window("tiles", site.source, slide)
    inputs = site.emit("tile_inputs", TapTransform(np.kron(INPUTS, INPUTS)), windows)
    products = site.emit("products", transformed(weights), inputs)
    factors = np.kron(FACTORS, FACTORS)
    outputs = TapTransform(np.kron(OUTPUTS, OUTPUTS) * factors)
    sums = site.emit("tile_outputs", outputs, products)
    return site.emit("image", DepthToSpace(BLOCK, (rows, columns)), sums)


def transformed(weights: Ints) -> SparseDot:
    """The products of weights (N, 9*C) tap by tap: the transformed weights, divided exactly."""
    filters = weights.reshape(len(weights), *KERNEL, -1)
    grown = np.einsum("iy,kx,nyxc->iknc", WEIGHTS, WEIGHTS, filters)
    taps = (grown // np.multiply.outer(FACTORS, FACTORS)[:, :, None, None]).reshape(
        prod(TILE), *grown.shape[2:]
    )
    count, results, channels = taps.shape
    matrix = np.zeros((count, results, count, channels), np.int64)
    matrix[np.arange(count), :, np.arange(count)] = taps
    most = max(int(taps.max()), -int(taps.min()) - 1, 0)
    return SparseDot(matrix.reshape(count * results, -1), signed(max(2, most.bit_length() + 1)))


@dataclass(frozen=True)
class Winograd(Method):
    """Integers of `bits` bits, as `Uniform` finds them, whose convolutions become tiles."""

    bits: int = 8

    def __post_init__(self) -> None:
        # Transformed weights take 4 bits more, and products 16 at most.
        check_limits(self, "winograd", bits=(2, 12))

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"winograd": cls()}

    @property
    def depthwise(self) -> Method:
        # A filter of one channel has no sum that would pay for the transforms.
        return Uniform(self.bits)

    def start(self, problem: LayerProblem, weights: Floats) -> Tiled:
        return Tiled(Uniform(self.bits).start(problem, weights))

    def compress(self, problem: LayerProblem, weights: Floats) -> Tiled:
        return Tiled(Uniform(self.bits).compress(problem, weights))
