"""Small seeded networks as other tools write them, to judge the importer and the oracle by.

`quantised(recipe, folder)` gives what ONNX Runtime's own quantiser makes of a float network, for
every recipe in `RECIPES`; `HAND_MADE` holds the QONNX and QCDQ networks.  `frames(model, n)` are
inputs for any of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper
from onnx_build import QONNX, Array, Builder

# Float networks.


def float_residual() -> ModelProto:
    """A residual CNN: an identity branch, then a stride of 2 with a 1x1 projection branch."""
    b = Builder((1, 12, 12), seed=1)
    stem = b.node("Relu", _conv(b, "x", 6, 1, 3))
    first = b.node("Relu", _conv(b, stem, 6, 6, 3))
    first = b.node("Relu", b.node("Add", _conv(b, first, 6, 6, 3), stem))
    main = b.node("Relu", _conv(b, first, 8, 6, 3, strides=[2, 2]))
    main = _conv(b, main, 8, 8, 3)
    side = _conv(b, first, 8, 6, 1, strides=[2, 2])
    joined = b.node("Relu", b.node("Add", main, side))
    pooled = b.node("Flatten", b.node("GlobalAveragePool", joined))
    return b.model(_gemm(b, pooled, 5, 8), (5,), "residual")


def float_depthwise() -> ModelProto:
    """A depthwise-separable CNN with ReLU6 and an average pool."""
    b = Builder((1, 12, 12), seed=2)
    low, high = b.constant(0), b.constant(6)
    x = b.node("Clip", _conv(b, "x", 6, 1, 3, strides=[2, 2]), low, high)
    x = b.node("Clip", _conv(b, x, 6, 1, 3, group=6), low, high)
    x = b.node("Clip", _conv(b, x, 10, 6, 1), low, high)
    x = b.node("AveragePool", x, kernel_shape=[3, 3], strides=[3, 3])
    return b.model(_gemm(b, b.node("Flatten", x), 5, 40), (5,), "depthwise")


def float_mlp() -> ModelProto:
    b = Builder((20,), seed=3)
    x = b.node("Relu", _gemm(b, "x", 16, 20))
    x = b.node("Relu", _gemm(b, x, 12, 16))
    return b.model(_gemm(b, x, 5, 12), (5,), "mlp")


def _conv(b: Builder, x: str, outputs: int, inputs: int, kernel: int, **more: object) -> str:
    weights = b.constant(b.weights(outputs, inputs, kernel, kernel))
    return b.convolution(x, weights, kernel, b.bias(outputs), **more)


def _gemm(b: Builder, x: str, outputs: int, inputs: int) -> str:
    return b.node("Gemm", x, b.constant(b.weights(outputs, inputs)), b.bias(outputs), transB=1)


FLOATS: dict[str, Callable[[], ModelProto]] = {
    "residual": float_residual,
    "depthwise": float_depthwise,
    "mlp": float_mlp,
}


def frames(model: ModelProto, number: int, seed: int = 0) -> Array:
    """Random frames that fit the model's input."""
    kind = model.graph.input[0].type.tensor_type
    shape = (number, *(dim.dim_value for dim in kind.shape.dim[1:]))
    random = np.random.default_rng(seed)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return random.normal(0, 1, shape).astype(np.float32)


# Quantised by ONNX Runtime.


@dataclass(frozen=True)
class Recipe:
    """What ONNX Runtime's quantiser is asked for."""

    network: str
    format: str
    per_channel: bool
    activations: str
    weights: str

    def __str__(self) -> str:
        per = "channel" if self.per_channel else "tensor"
        return f"{self.network}-{self.format}-{per}-{self.activations}-{self.weights}"


RECIPES = [
    Recipe(network, form, per_channel, *kinds)
    for network, form, per_channel, kinds in product(
        FLOATS,
        ("QDQ", "QOperator"),
        (False, True),
        (("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")),
    )
]


def quantised(recipe: Recipe, folder: Path) -> ModelProto:
    """ONNX Runtime's quantisation of a float network; `folder` takes its files."""
    from onnxruntime import quantization as ort  # optional: its tests skip without it

    source, target = folder / f"{recipe.network}.onnx", folder / f"{recipe}.onnx"
    model = FLOATS[recipe.network]()
    onnx.save(model, source)

    class Reader(ort.CalibrationDataReader):
        def __init__(self) -> None:
            self.data: Iterator[dict[str, Array]] = iter(
                {"x": frame[None]} for frame in frames(model, 32, seed=9)
            )

        def get_next(self) -> dict[str, Array] | None:
            return next(self.data, None)

    types = {"int8": ort.QuantType.QInt8, "uint8": ort.QuantType.QUInt8}
    with silence():
        ort.quantize_static(
            source,
            target,
            Reader(),
            quant_format=ort.QuantFormat[recipe.format],
            per_channel=recipe.per_channel,
            activation_type=types[recipe.activations],
            weight_type=types[recipe.weights],
        )
    return onnx.load(target)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing printed, nothing logged."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as sink, redirect_stdout(sink), redirect_stderr(sink):  # noqa: PTH123
            yield
    finally:
        logging.disable(before)


# QONNX and QCDQ, by hand.


@dataclass(frozen=True)
class Style:
    """How a hand-made network writes its quantisers: the bits, and one scale or one per channel."""

    weight_bits: int
    activation_bits: int
    per_channel: bool = True
    qcdq: bool = False
    bipolar: bool = False

    def weights(self, b: Builder, *shape: int) -> str:
        """Quantised weights, outputs first."""
        values, bits = b.weights(*shape), self.weight_bits
        axes = tuple(range(1, len(shape))) if self.per_channel else None
        size = np.abs(values).mean(axis=axes, keepdims=self.per_channel).astype(np.float32)
        if self.bipolar:
            return b.node("BipolarQuant", b.constant(values), b.constant(size), domain=QONNX)
        largest = np.abs(values).max(axis=axes, keepdims=self.per_channel)
        scale = 1.4 * size if bits <= 2 else largest / (2 ** (bits - 1) - 1)
        if not self.qcdq:
            return _quant(b, b.constant(values), scale, bits, signed=1, narrow=int(bits > 1))
        limit = 2 ** (bits - 1) - 1
        whole = np.clip(np.rint(values / scale), -limit, limit)
        stored = b.constant(whole, np.int8)
        zero = b.constant(np.zeros(scale.size if self.per_channel else ()), np.int8)
        flat = b.constant(scale.reshape(-1) if self.per_channel else scale)
        return b.node("DequantizeLinear", stored, flat, zero, axis=0)

    def activation(self, b: Builder, x: str, signed: bool, spread: float = 2.0) -> str:
        """Quantised activations, of a range of about `spread` either way."""
        bits = self.activation_bits
        if self.bipolar:
            return b.node("BipolarQuant", x, b.constant(np.float32(1)), domain=QONNX)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        scale = np.float32(spread * b.random.uniform(0.9, 1.1) / max(high, 1))
        if not self.qcdq:
            return _quant(b, x, scale, bits, signed=int(signed), narrow=0)
        return _qcdq(b, x, scale, low, high)


def _quant(b: Builder, x: str, scale: Array | np.float32, bits: int, **attributes: int) -> str:
    parts = [b.constant(value) for value in (scale, 0, bits)]
    return b.node("Quant", x, *parts, domain=QONNX, rounding_mode="ROUND", **attributes)


def _qcdq(b: Builder, x: str, scale: np.float32, low: int, high: int) -> str:
    dtype = np.int8 if low < 0 else np.uint8
    step, zero = b.constant(scale), b.constant(0, dtype)
    x = b.node("QuantizeLinear", x, step, zero)
    if (low, high) != (np.iinfo(dtype).min, np.iinfo(dtype).max):
        x = b.node("Clip", x, b.constant(low, dtype), b.constant(high, dtype))
    return b.node("DequantizeLinear", x, step, zero)


def _input(b: Builder, style: Style) -> str:
    """The network's input on a grid of 8 bits, whatever follows."""
    if style.qcdq:
        return _qcdq(b, "x", np.float32(1 / 32), -128, 127)
    return _quant(b, "x", np.float32(1 / 32), 8, signed=1, narrow=0)


def hand_mlp(style: Style) -> ModelProto:
    """Three matrix products, with batch normalisation before two activations."""
    b = Builder((20,), seed=11 + style.weight_bits)
    x = _input(b, style)
    for outputs, inputs in ((16, 20), (12, 16)):
        x = b.node("Gemm", x, style.weights(b, outputs, inputs), transB=1)
        x = _activated(b, style, b.normalised(x, outputs))
    x = b.node("MatMul", x, b.node("Transpose", style.weights(b, 5, 12), perm=[1, 0]))
    return b.model(b.node("Add", x, b.bias(5)), (5,), "hand_mlp")


def hand_cnn(style: Style) -> ModelProto:
    """Convolutions, a max pool, a residual sum, a stride, and a matrix product."""
    b = Builder((1, 10, 10), seed=31 + style.weight_bits)
    x = b.convolution(_input(b, style), style.weights(b, 6, 1, 3, 3), 3)
    x = _activated(b, style, b.normalised(x, 6))
    x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    side = x
    x = b.convolution(x, style.weights(b, 6, 6, 3, 3), 3)
    x = style.activation(b, b.normalised(x, 6), signed=True)
    x = style.activation(b, b.node("Add", x, side), signed=True, spread=3.0)
    x = b.convolution(x, style.weights(b, 8, 6, 3, 3), 3, strides=[2, 2])
    x = b.node("Flatten", _activated(b, style, b.normalised(x, 8)))
    x = b.node("Gemm", x, style.weights(b, 5, 72), b.bias(5), transB=1)
    return b.model(x, (5,), "hand_cnn")


def _activated(b: Builder, style: Style, x: str) -> str:
    if style.bipolar:
        return style.activation(b, x, signed=True)
    return style.activation(b, b.node("Relu", x), signed=False)


def multi_threshold_cnn(bits: int) -> ModelProto:
    """Whole weights and thresholds per channel, as a streamlined network has them."""
    b = Builder((1, 8, 8), seed=50 + bits, kind="int8")
    steps = 2**bits - 1
    x = b.node("Cast", "x", to=int(onnx.TensorProto.FLOAT))
    for channels, inputs, spread in ((4, 1, 600), (6, 4, 40)):
        weights = b.random.integers(-3, 4, (channels, inputs, 3, 3))
        x = b.convolution(x, b.constant(weights), 3)
        limits = np.sort(b.random.integers(-spread, spread, (channels, steps)) + 0.5, axis=1)
        attributes = {"out_dtype": f"INT{bits + 1}", "out_bias": float(-(2 ** (bits - 1)))}
        x = b.node("MultiThreshold", x, b.constant(limits), domain=QONNX, **attributes)
    x = b.node("Flatten", b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    x = b.node("MatMul", x, b.constant(b.random.integers(-3, 4, (96, 5))))
    return b.model(b.node("Mul", x, b.constant(0.0371)), (5,), "multi_threshold")


def _hand_made() -> dict[str, Callable[[], ModelProto]]:
    made: dict[str, Callable[[], ModelProto]] = {}
    pairs = [(1, 1), (1, 4), (2, 2), (3, 3), (4, 4), (8, 8), (2, 8), (8, 3)]
    styles = [Style(w, a, per_channel) for w, a in pairs for per_channel in (False, True)]
    styles += [Style(1, 1, per_channel, bipolar=True) for per_channel in (False, True)]
    styles += [Style(n, n, per, qcdq=True) for n in (3, 4, 8) for per in (False, True)]
    for style, (shape, build) in product(styles, (("mlp", hand_mlp), ("cnn", hand_cnn))):
        kind = "qcdq" if style.qcdq else "bipolar" if style.bipolar else "qonnx"
        per = "channel" if style.per_channel else "tensor"
        name = f"{kind}-{shape}-w{style.weight_bits}a{style.activation_bits}-{per}"
        made[name] = lambda build=build, style=style: build(style)
    for bits in (1, 2, 3, 4):
        made[f"multithreshold-cnn-a{bits}"] = lambda bits=bits: multi_threshold_cnn(bits)
    return made


HAND_MADE = _hand_made()
"""The hand-made networks by name, each as the function that builds it."""
