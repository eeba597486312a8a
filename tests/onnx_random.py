"""Seeded random graphs: chains and branches of the importer's operators under random scales.

Every second graph has powers of two for all its scales, so that sums fall on ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from onnx_build import QONNX
from onnx_judge import Graph

MODES = ("ROUND", "ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
ACTIVATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Relu", {}), ("Relu", {}), ("LeakyRelu", {"alpha": 0.125}), ("LeakyRelu", {"alpha": 0.3}),
    ("Sigmoid", {}), ("Tanh", {}), ("HardSigmoid", {}), ("Neg", {}), ("Identity", {}),
)  # fmt: skip
FOLDED = (("HardSwish", {}), ("Abs", {}), ("LeakyRelu", {"alpha": -0.5}), ("Sign", {}))
"""Functions that are not monotone, or have few values: right behind a quantiser."""


@dataclass(frozen=True)
class Image:
    """A tensor (C, H, W) on one grid."""

    name: str
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width


class Random:
    """A graph that grows by one random layer after the other."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.tied = seed % 2 == 0
        shape = (self.number(1, 4), self.number(4, 7), self.number(3, 7))
        kind = str(self.random.choice(["int8", "uint8", "float32"]))
        batch = 2 if seed % 5 == 0 else "N"
        self.graph = Graph(shape, kind, self.number(13, 23), batch, seed)
        zero = self.number(-9, 9) if kind == "int8" else self.number(0, 200) * (kind == "uint8")
        name = self.graph.start(1 / 16, zero)
        self.images = [Image(name, *shape)]

    def number(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def chance(self, of: float) -> bool:
        return bool(self.random.random() < of)

    def scale(self, about: float) -> float:
        about *= float(self.random.uniform(0.6, 1.6))
        return 2.0 ** round(log2(about)) if self.tied else float(np.float32(about))

    def quantised(self, x: str, channels: int, height: int, width: int) -> Image:
        """The tensor behind a random quantiser, which fits the values that it has."""
        g, bits = self.graph, self.number(2, 8)
        seen = g.look(x, 10, 1)[4:].astype(np.float64)  # behind the extremes
        low, high = (float(value) for value in np.quantile(seen, (0.03, 0.97)))
        reach = max(abs(low), abs(high), 1e-3)
        step, wide = self.scale(reach / 2 ** (bits - 1)), self.scale(max(high - low, 1e-3) / 200)
        form = self.number(0, 9)
        if form == 0 and low < 0 <= high:
            x = g.node("BipolarQuant", x, g.constant(step), domain=QONNX)
        elif form == 1:
            rows = channels if self.chance(0.5) else 1
            limits = np.sort(self.random.uniform(low, high, (rows, 5)), axis=1)
            limits = np.round(limits * 64) / 64 if self.tied else limits
            given = {"out_scale": step, "out_bias": -2 * step}
            x = g.node("MultiThreshold", x, g.constant(limits), domain=QONNX, **given)
        elif form < 5:
            kind, least = (np.uint8, 0) if self.chance(0.5) else (np.int8, -128)
            zero = min(max(round(least - low / wide), least), least + 255)
            parts = [g.constant(wide), g.constant(zero, kind)]
            x = g.node("QuantizeLinear", x, *parts)
            x = g.node("DequantizeLinear", x, *parts)
        else:
            more = {
                "rounding_mode": str(self.random.choice(MODES)),
                "signed": self.number(0, 1) if high > 0 else 1,
                "narrow": self.number(0, 1),
            }
            x = g.quant(x, step, bits, self.number(-2, 2) if self.chance(0.3) else 0, **more)
        return Image(x, channels, height, width)

    def activated(self, x: str, channels: int) -> str:
        """A tensor behind functions that the next quantiser absorbs."""
        g = self.graph
        if self.chance(0.3):
            column = (channels, 1, 1)
            gain = self.random.uniform(-1.5, 1.5, column)
            x = g.node("Mul", x, g.constant(np.round(gain * 4) / 4 if self.tied else gain))
            x = g.node("Sub", x, g.constant(self.random.uniform(-1, 1, column)))
        elif self.chance(0.3):
            parts = [self.random.uniform(-1.2, 1.2, channels) for _ in range(3)]
            parts.append(self.random.uniform(0.3, 2, channels))
            x = g.node("BatchNormalization", x, *map(g.constant, parts))
        for _ in range(self.number(0, 2)):
            op, attributes = ACTIVATIONS[self.number(0, len(ACTIVATIONS) - 1)]
            x = g.node(op, x, **attributes)
        return x

    # Layers: each takes an image and gives one.

    def conv(self, x: Image) -> Image:
        g = self.graph
        divisors = [n for n in range(1, x.channels + 1) if x.channels % n == 0]
        group = int(self.random.choice(divisors)) if self.chance(0.4) else 1
        outputs = group * self.number(1, 3)
        kernel = [self.number(1, min(3, size)) for size in x.shape[1:]]
        stride = [self.number(1, 2) for _ in kernel]
        pads = [self.number(0, 1) for _ in range(4)]
        values = self.random.integers(-7, 8, (outputs, x.channels // group, *kernel))
        about = 1 / (4.3 * sqrt(values[0].size))
        steps = [self.scale(about) for _ in range(outputs if self.chance(0.5) else 1)]
        w = g.node("DequantizeLinear", g.constant(values, np.int8),
                   g.constant(steps if len(steps) > 1 else steps[0]), axis=0)  # fmt: skip
        bias = [g.bias(outputs)] if self.chance(0.6) else []
        y = g.node("Conv", x.name, w, *bias, group=group, strides=stride, pads=pads)
        sizes = [
            (size + pads[k] + pads[k + 2] - kernel[k]) // stride[k] + 1
            for k, size in enumerate(x.shape[1:])
        ]
        return self.quantised(self.activated(y, outputs), outputs, *sizes)

    def function(self, x: Image) -> Image:
        op, attributes = FOLDED[self.number(0, len(FOLDED) - 1)]
        y = self.graph.node(op, x.name, **attributes)
        return self.quantised(y, *x.shape)

    def affine(self, x: Image) -> Image:
        return self.quantised(self.activated(x.name, x.channels), *x.shape)

    def pool(self, x: Image) -> Image:
        op = str(self.random.choice(["MaxPool", "AveragePool"]))
        more: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [self.number(1, 2)] * 2}
        if self.chance(0.5):
            more["pads"] = [1, 0, 0, 1]
        if op == "AveragePool":
            more["count_include_pad"] = self.number(0, 1)
        y = self.graph.node(op, x.name, **more)
        extra = int("pads" in more)
        sizes = [(size + extra - 2) // more["strides"][0] + 1 for size in x.shape[1:]]
        return self.quantised(y, x.channels, *sizes)

    def join(self, x: Image) -> Image:
        g = self.graph
        other = self.partner(x)
        if self.chance(0.4):
            y = g.node("Concat", x.name, other.name, axis=1)
            channels = 2 * x.channels
        else:
            y = g.node(str(self.random.choice(["Add", "Sub"])), x.name, other.name)
            channels = x.channels
        return self.quantised(self.activated(y, channels), channels, *x.shape[1:])

    def partner(self, x: Image) -> Image:
        """An earlier image of the same shape, or another quantisation of this one."""
        alike = [image for image in self.images if image.shape == x.shape and image is not x]
        if alike and self.chance(0.7):
            return alike[self.number(0, len(alike) - 1)]
        return self.quantised(x.name, *x.shape)

    def part(self, x: Image) -> Image:
        g = self.graph
        if x.channels > 1 and self.chance(0.5):
            first = self.number(0, x.channels - 2)
            y = g.node("Slice", x.name, g.ints(first), g.ints(99), g.ints(1), g.ints(2))
            return Image(y, -(-(x.channels - first) // 2), *x.shape[1:])
        y = g.node("Slice", x.name, g.ints(1, 0), g.ints(99, -1), g.ints(2, 3))
        return Image(y, x.channels, x.height - 1, x.width - 1)

    def larger(self, x: Image) -> Image:
        g = self.graph
        more = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        y = g.node("Resize", x.name, "", g.constant([1, 1, 2, 1]), **more)
        return Image(y, x.channels, 2 * x.height, x.width)

    def grow(self) -> None:
        """One more layer on the newest image, or on an earlier one."""
        x = self.images[-1]
        layers: list[Callable[[Image], Image]] = [self.conv] * 4 + [self.affine, self.join] * 2
        layers.append(self.function)
        if min(x.shape[1:]) > 2:
            layers += [self.pool, self.part]
        if x.height < 5:
            layers.append(self.larger)
        self.images.append(layers[self.number(0, len(layers) - 1)](x))

    def finished(self) -> ModelProto:
        g, x = self.graph, self.images[-1]
        match self.number(0, 3):
            case 0:
                return g.finished(x.name)
            case 1:
                return g.finished(g.node("GlobalAveragePool", x.name))
            case 2 if x.channels > 1:
                return g.finished(g.node("ArgMax", x.name, axis=1), TensorProto.INT64)
            case _:
                pass
        count = x.channels * x.height * x.width
        w = g.constant(self.random.integers(-7, 8, (count, 3)) / 8)
        return g.finished(g.node("Gemm", g.node("Flatten", x.name), w, g.bias(3)))


def random_graph(seed: int) -> ModelProto:
    """A graph of three to seven layers."""
    made = Random(seed)
    for _ in range(made.number(3, 7)):
        made.grow()
    return made.finished()
