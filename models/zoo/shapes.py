"""Networks of published shapes with random weights: for cycles, area and times, not for accuracy.

| name | shape | source |
|---|---|---|
| tfc | 784-64-64-64-10, weights and activations of 1 bit | FINN examples, TFC-w1a1 |
| cnv | 6 convolutions 64-64-128-128-256-256, 2 pools, dense 512-512-10, 1 bit | arXiv 1612.07119 |
| resnet8 | 8-bit residual network for 32x32x3 | MLPerf Tiny, arXiv 2106.07597 |
| dscnn | 8-bit depthwise-separable network for 49x10 spectrograms | MLPerf Tiny, arXiv 2106.07597 |

The same seed gives the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from ..fixed import BINARY, Grid, signed, unsigned
from ..ops import Add, DepthwiseDot, Dot, MaxPool, Requantise, Reshape, SumPool, Thresholds, Window
from ..program import INPUT, Edge, Node, Op, Program

SAME3 = (1, 1, 1, 1)
INT8, UINT8 = signed(8), unsigned(8)


class _Draft:
    """Nodes added one behind another, with random constants from one seed."""

    def __init__(self, name: str, edge: Edge, seed: int) -> None:
        self.name, self.edge = name, edge
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.last = INPUT
        self.edges = {INPUT: edge}

    def add(self, name: str, op: Op, *sources: str) -> str:
        """Add a node behind `sources`, or behind the last one; returns its name."""
        inputs = sources or (self.last,)
        self.edges[name] = op.infer(*(self.edges[source] for source in inputs))
        self.nodes.append(Node(name, op, inputs))
        self.last = name
        return name

    @property
    def here(self) -> Edge:
        """The edge of the last node."""
        return self.edges[self.last]

    def window(self, name: str, *sources: str, **window: tuple[int, ...]) -> str:
        """Add a sliding window, unless it would be the identity."""
        op = Window(**window)  # type: ignore[arg-type]  # sizes are checked by the operator
        source = sources[0] if sources else self.last
        if op.infer(self.edges[source]).shape == self.edges[source].shape:
            self.last = source
            return source
        return self.add(name, op, source)

    def weights(self, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
        """Random weights over the whole grid."""
        if grid.bipolar:
            return self.rng.choice([-1, 1], shape)
        return self.rng.integers(grid.lo + 1, grid.hi, shape, endpoint=True)

    def sign(self, name: str) -> str:
        """Add a threshold per channel, within the spread of the sums there."""
        edge = self.here
        spread = np.sqrt((edge.hi - edge.lo).astype(float))
        middle = (edge.lo + edge.hi) / 2
        cuts = np.rint(middle + self.rng.normal(0, 0.5, edge.channels) * spread).astype(np.int64)
        rising = self.rng.choice([-1, 1], edge.channels)
        return self.add(name, Thresholds(cuts[:, None], -rising, 2 * rising))

    def requantise(self, name: str, grid: Grid) -> str:
        """Add a multiplier and a shift that keep the spread of the sums on `grid`."""
        edge = self.here
        # Random sums stay far below their bounds; the square root is their usual reach.
        reach = int(edge.hi.max() - edge.lo.min())
        usual = max(1, int(reach / np.sqrt(self._terms())))
        shift = max(1, usual.bit_length() - grid.bits + 5)
        multiplier = self.rng.integers(64, 128, edge.channels)
        bias = self.rng.integers(-(1 << shift), 1 << shift, edge.channels) * 8
        return self.add(name, Requantise(multiplier, bias, shift, grid.lo, grid.hi))

    def _terms(self) -> int:
        op = self.nodes[-1].op
        return op.weights.shape[1] if isinstance(op, Dot | DepthwiseDot) else 1

    def dot(self, name: str, count: int, grid: Grid) -> str:
        """Add a dense layer, or a convolution behind a window."""
        return self.add(name, Dot(self.weights((count, self.here.channels), grid), grid))

    def depthwise(self, name: str, taps: int, grid: Grid) -> str:
        """Add a depthwise convolution behind a window."""
        channels = self.here.channels // taps
        return self.add(name, DepthwiseDot(self.weights((channels, taps), grid), grid))

    def program(self) -> Program:
        """All that was added."""
        return Program(self.name, self.edge, tuple(self.nodes))


def tfc(seed: int = 0) -> Program:
    """Binary dense network 784-64-64-64-10."""
    draft = _Draft("tfc", Edge.of((784,), BINARY), seed)
    for layer in range(3):
        draft.dot(f"fc{layer}", 64, BINARY)
        draft.sign(f"sign{layer}")
    draft.dot("fc3", 10, BINARY)
    return draft.program()


def cnv(seed: int = 0) -> Program:
    """Binary convolutional network of 1.54 million weights; the first layer takes 8-bit pixels."""
    draft = _Draft("cnv", Edge.of((32, 32, 3), UINT8), seed)
    for layer, count in enumerate((64, 64, 128, 128, 256, 256)):
        draft.window(f"conv{layer}_window", kernel=(3, 3))
        draft.dot(f"conv{layer}", count, BINARY)
        draft.sign(f"conv{layer}_sign")
        if layer in (1, 3):
            draft.window(f"pool{layer}_window", kernel=(2, 2), stride=(2, 2))
            draft.add(f"pool{layer}", MaxPool(4))
    draft.add("flat", Reshape((256,)))
    for layer, count in enumerate((512, 512)):
        draft.dot(f"fc{layer}", count, BINARY)
        draft.sign(f"fc{layer}_sign")
    draft.dot("fc2", 10, BINARY)
    return draft.program()


def resnet8(seed: int = 0) -> Program:
    """Residual network of three stacks of 16, 32 and 64 channels, int8 weights."""
    draft = _Draft("resnet8", Edge.of((32, 32, 3), UINT8), seed)
    _convolution(draft, "stem", 16, 3, 1, UINT8)
    for stack, (count, stride) in enumerate(((16, 1), (32, 2), (64, 2))):
        name, entry = f"stack{stack}", draft.last
        _convolution(draft, f"{name}_a", count, 3, stride, UINT8)
        branch = _convolution(draft, f"{name}_b", count, 3, 1, INT8)
        draft.last = entry
        if stride > 1:
            _convolution(draft, f"{name}_skip", count, 1, stride, INT8)
        draft.add(f"{name}_add", Add(), branch, draft.last)
        draft.requantise(f"{name}_relu", UINT8)
    _head(draft, 10)
    return draft.program()


def dscnn(seed: int = 0) -> Program:
    """Depthwise-separable network for keywords: a 10x4 convolution, four separable blocks."""
    draft = _Draft("dscnn", Edge.of((49, 10, 1), INT8), seed)
    draft.window("stem_window", kernel=(10, 4), stride=(2, 2), padding=(4, 1, 5, 1))
    draft.dot("stem", 64, INT8)
    draft.requantise("stem_relu", UINT8)
    for block in range(4):
        draft.window(f"depthwise{block}_window", kernel=(3, 3), padding=SAME3)
        draft.depthwise(f"depthwise{block}", 9, INT8)
        draft.requantise(f"depthwise{block}_relu", UINT8)
        draft.dot(f"pointwise{block}", 64, INT8)
        draft.requantise(f"pointwise{block}_relu", UINT8)
    _head(draft, 12)
    return draft.program()


def _convolution(
    draft: _Draft, name: str, count: int, kernel: int, stride: int, output: Grid
) -> str:
    pad = SAME3 if kernel == 3 else (0, 0, 0, 0)
    draft.window(f"{name}_window", kernel=(kernel,) * 2, stride=(stride,) * 2, padding=pad)
    draft.dot(name, count, INT8)
    return draft.requantise(f"{name}_scale", output)


def _head(draft: _Draft, classes: int) -> None:
    """A global average (a sum and a shift) and a dense layer."""
    height, width, channels = draft.here.shape
    draft.add("flat", Reshape((1, 1, prod(draft.here.shape))))
    draft.add("pool", SumPool(height * width))
    shift = max(1, (height * width).bit_length() - 1)
    ones = np.ones(channels, np.int64)
    draft.add("average", Requantise(ones, 0 * ones, shift, UINT8.lo, UINT8.hi))
    draft.dot("classes", classes, INT8)


SHAPES: Mapping[str, Callable[[], Program]] = {
    "tfc": tfc,
    "cnv": cnv,
    "resnet8": resnet8,
    "dscnn": dscnn,
}
