"""Fully binary networks: integers in, weights and activations in {-1, +1}, integer scores out.

Hubara et al., Binarized Neural Networks, arXiv 1602.02830, with batch normalisation and sign
absorbed in one integer threshold per channel (Umuroglu et al., FINN, arXiv 1612.07119).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, prod

import numpy as np
from numpy.typing import NDArray

from ..fixed import BINARY, Grid, Ints
from ..layers import BatchNorm
from ..ops import Dot, Requantise, Reshape, Thresholds, Window
from ..program import INPUT, Edge, Node, Program


@dataclass(frozen=True, eq=False)
class BinaryLayer:
    """A convolution without padding by `signs` (N, kh, kw, C), and one threshold per channel.

    y[n] = +1 where (acc[n] >= thresholds[n]) == rising[n], else -1.  A dense layer is a
    convolution as large as its input.
    """

    signs: Ints
    thresholds: Ints
    rising: NDArray[np.bool_]

    def nodes(self, name: str, source: str) -> list[Node]:
        """The layer as window, dot product and thresholds."""
        count, height, width, channels = self.signs.shape
        rows = self.signs.reshape(count, height * width * channels)
        direction = np.where(self.rising, 1, -1)
        sign = Thresholds(self.thresholds[:, None], -direction, 2 * direction)
        return [
            Node(f"{name}_window", Window((height, width)), (source,)),
            Node(f"{name}_dot", Dot(rows, BINARY), (f"{name}_window",)),
            Node(f"{name}_sign", sign, (f"{name}_dot",)),
        ]


@dataclass(frozen=True, eq=False)
class BinaryNetwork:
    """Binary layers, then scores[n] = bias[n] + sum_s signs[n, s] * x[s] of the flat values.

    `input_range` are the least and the largest integer of the input, (H, W, C).
    """

    name: str
    input_shape: tuple[int, int, int]
    input_range: tuple[int, int]
    layers: tuple[BinaryLayer, ...]
    signs: Ints
    bias: Ints

    def program(self) -> Program:
        """The exact integer program; its output are the scores."""
        nodes: list[Node] = []
        source = INPUT
        for number, layer in enumerate(self.layers):
            nodes += layer.nodes(f"layer{number}", source)
            source = nodes[-1].name
        # (2*acc + 2*bias + 1) >> 1 is acc + bias exactly; the bounds never bind.
        bound = self.signs.shape[1] + int(np.abs(self.bias).max())
        bias = Requantise(np.full_like(self.bias, 2), 2 * self.bias, 1, -bound, bound)
        nodes += [
            Node("flat", Reshape((self.signs.shape[1],)), (source,)),
            Node("scores_dot", Dot(self.signs, BINARY), ("flat",)),
            Node("scores", bias, ("scores_dot",)),
        ]
        edge = Edge.of(self.input_shape, Grid(*self.input_range))
        return Program(self.name, edge, tuple(nodes))


def sign_of_batch_norm(signs: Ints, norm: BatchNorm, largest_input: int) -> BinaryLayer:
    """The layer that computes sign(norm(acc)), sign(0) = +1, in one integer comparison.

    gamma*(a - mean)/sigma + beta >= 0 is a >= q for gamma > 0 and a <= q for gamma < 0, where
    q = mean - beta*sigma/gamma.  sigma is the float64 square root; all else is exact fractions.
    """
    bound = prod(signs.shape[1:]) * largest_input
    sigma = np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    cuts = [
        _cut(*map(Fraction, values))
        for values in zip(
            norm.gamma.tolist(), norm.beta.tolist(), norm.mean.tolist(), sigma.tolist(), strict=True
        )
    ]
    thresholds = [min(max(cut, -bound), bound + 1) for cut, _ in cuts]
    return BinaryLayer(signs, np.array(thresholds), np.array([rising for _, rising in cuts]))


def _cut(gamma: Fraction, beta: Fraction, mean: Fraction, sigma: Fraction) -> tuple[int, bool]:
    """The least integer at which the sign changes, and whether it rises there."""
    if gamma == 0:  # a constant sign: no accumulator of 62 bits reaches the other side
        return -(1 << 62), beta >= 0
    cut = mean - beta * sigma / gamma
    return (ceil(cut), True) if gamma > 0 else (floor(cut) + 1, False)
