"""Fully binary networks: integers in, weights and activations in {-1, +1}, integer scores out.

Hubara et al., Binarized Neural Networks, arXiv 1602.02830, with batch normalisation and sign
absorbed in one integer threshold per channel (Umuroglu et al., FINN, arXiv 1612.07119).

A saved network is a container of kind "bitwright.binary-network", version 1: the document
{"name", "input_shape", "input_range", "layers": count, "metadata"} and the arrays `signs<i>`
(N, kh, kw, C), `thresholds<i>` (N,), `rising<i>` (N,) of each layer and `scores.signs` (N, S),
`scores.bias` (N,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import container
from ..fixed import BINARY, Grid, Ints, ProgramError
from ..layers import BatchNorm
from ..ops import Dot, Requantise, Reshape, Thresholds, Window
from ..program import INPUT, Edge, Node, Program

KIND, VERSION = "bitwright.binary-network", 1
LAYERS_MAX = 100


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
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

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
        return Program(self.name, edge, tuple(nodes), metadata=self.metadata)

    def save(self, path: str | Path) -> None:
        """Write the network to `path`, signs in 8 bits each before packing."""
        arrays: container.Arrays = {
            "scores.signs": self.signs.astype(np.int8),
            "scores.bias": self.bias,
        }
        for number, layer in enumerate(self.layers):
            arrays[f"signs{number}"] = layer.signs.astype(np.int8)
            arrays[f"thresholds{number}"] = layer.thresholds.astype(np.int32)
            arrays[f"rising{number}"] = layer.rising
        document = {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "input_range": list(self.input_range),
            "layers": len(self.layers),
            "metadata": dict(self.metadata),
        }
        container.save(path, KIND, VERSION, document, arrays)

    @classmethod
    def load(cls, path: str | Path) -> BinaryNetwork:
        """Read a network that `save` wrote."""
        document, arrays = container.load(path, KIND, [VERSION])
        try:
            return cls(
                document["name"],
                tuple(document["input_shape"]),
                tuple(document["input_range"]),
                tuple(_layer(arrays, number) for number in range(document["layers"])),
                arrays["scores.signs"].astype(np.int64),
                arrays["scores.bias"].astype(np.int64),
                document["metadata"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProgramError(
                f"{path} is no complete binary network ({error}); save it again"
            ) from None


def _layer(arrays: container.Arrays, number: int) -> BinaryLayer:
    return BinaryLayer(
        arrays[f"signs{number}"].astype(np.int64),
        arrays[f"thresholds{number}"].astype(np.int64),
        arrays[f"rising{number}"],
    )


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
