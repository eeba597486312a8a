"""Quantisers, and operators on integers with scales beside them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np
from onnx import ModelProto, TensorProto
from onnx_build import QONNX
from onnx_cases import CASES, IMAGE, ROW, SCALES, SIGNS, UNEVEN, Body, case, conv, linear
from onnx_judge import Graph

# Quantisers.

MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "ROUND_TO_ZERO", "HALF_UP",
         "HALF_DOWN", "half_down")  # fmt: skip
for _mode, _zero in product(MODES, (0, 3)):
    case(
        f"quant-{_mode}-{_zero}",
        lambda g, x, m=_mode, z=_zero: g.quant(x, 0.125, 5, z, rounding_mode=m),
        end=None,
    )
    case(f"quant-{_mode}-{_zero}-falling",
         lambda g, x, m=_mode, z=_zero: g.quant(g.node("Neg", x), 0.125, 7, z, rounding_mode=m),
         end=None)  # fmt: skip
for _signed, _narrow, _bits in product((0, 1), (0, 1), (1, 2, 5)):
    if (_signed, _narrow, _bits) not in ((0, 1, 1),):
        case(f"quant-{_signed}{_narrow}-{_bits}",
             lambda g, x, s=_signed, n=_narrow, b=_bits: g.quant(x, 0.3, b, signed=s, narrow=n),
             end=None)  # fmt: skip
case("quant-per-channel", lambda g, x: g.quant(x, SCALES, 6), end=None)
case("quant-per-channel-conv", lambda g, x: conv(g, g.quant(x, SCALES * 10, 3), 4, 3, (2, 2)))
ZEROS = np.reshape([1, 0, -4], (3, 1, 1))
case("quant-zero-per-channel", lambda g, x: g.quant(x, SCALES, 6, ZEROS), end=None)
case("quant-16-bits", lambda g, x: g.quant(conv(g, x, 4, 3, (3, 3)), 1 / 512, 16), end=None)
case("int-quant", lambda g, x: g.node("IntQuant", x, *(g.constant(v) for v in (0.3, 1, 4)),
                                      domain=QONNX, signed=1, narrow=1), end=None)  # fmt: skip
case("bipolar", lambda g, x: g.node("BipolarQuant", x, g.constant(0.3), domain=QONNX), end=None)
case("bipolar-per-channel", lambda g, x: conv(g, g.node(
    "BipolarQuant", x, g.constant(abs(SIGNS)), domain=QONNX), 4, 3, (2, 2)))  # fmt: skip
case("quant-twice", lambda g, x: g.quant(g.quant(x, 0.3, 4), 0.7, 3, rounding_mode="CEIL"))
case("quant-relu-quant", lambda g, x: g.quant(g.node("Relu", g.quant(x, 0.3, 4)), 0.1, 3))
for _name, _body in {
    "quant": lambda g, x: g.quant(x, 0.0625, 5),
    "quant-floor": lambda g, x: g.quant(x, 0.125, 6, rounding_mode="FLOOR"),
    "quant-half-up": lambda g, x: g.quant(x, 0.125, 6, 2, rounding_mode="HALF_UP"),
    "quant-channels": lambda g, x: g.quant(x, abs(SIGNS), 5),
    "bipolar": lambda g, x: g.node("BipolarQuant", x, g.constant(0.3), domain=QONNX),
    "sign-bit": lambda g, x: g.quant(x, 0.3, 1),
    "shifted": lambda g, x: g.quant(g.node("Sub", g.node("Mul", x, g.constant(2)),
                                           g.constant(0.3)), 0.25, 4),
    "relu": lambda g, x: g.quant(g.node("Relu", x), 0.25, 4, signed=0),
    "twice": lambda g, x: g.quant(g.node("Relu", g.quant(x, 0.1)), 0.25, 4, signed=0),
}.items():  # fmt: skip

    def _raw(b: Body = _body) -> ModelProto:
        g = Graph(IMAGE, "float32", seed=1)
        return g.finished(g.quant(conv(g, b(g, "x"), 4, 3, (2, 2)), UNEVEN))

    CASES[f"input-{_name}"] = _raw


case("qdq-int8", linear("int8", 0.125, 0), end=None)
case("qdq-uint8", linear("uint8", 0.125, 7), end=None)
case("qdq-uint8-odd", linear("uint8", 0.1, 255), end=None)
case("qdq-int16", linear("int16", 0.001, -3), end=None, opset=21)
case("qdq-axis", linear("int8", SCALES.reshape(-1), [0, 0, 0], axis=1), end=None)
case("qdq-axis-3", linear("uint8", np.linspace(0.1, 0.3, 6), [9] * 6, axis=-1))
case("qdq-old", linear("uint8", 0.125, 7), end=None, opset=10)
case("qdq-newest", linear("int8", 0.125, 7), end=None, opset=23)
case("quantizelinear-end", lambda g, x: g.node("QuantizeLinear", x, g.constant(0.3),
                                               g.constant(9, np.int8)), end=None,
     output=TensorProto.INT8)  # fmt: skip
case("quantizelinear-default", lambda g, x: g.node("QuantizeLinear", x, g.constant(0.3)), end=None,
     output=TensorProto.UINT8)  # fmt: skip
case("quantizelinear-type", lambda g, x: g.node(
    "QuantizeLinear", x, g.constant(0.3), output_dtype=int(TensorProto.INT16)), end=None,
     output=TensorProto.INT16, opset=23)  # fmt: skip
case("dequantize-zero-per-channel", lambda g, x: g.node(
    "DequantizeLinear", g.node("QuantizeLinear", x, g.constant(0.3), g.constant(9, np.int8)),
    g.constant([0.1, 0.2, 0.3]), g.constant([1, -2, 3], np.int8), axis=1), end=None)  # fmt: skip


def trunc(rest: Sequence[float], zero: float = 0, **attributes: Any) -> Body:
    def body(g: Graph, x: str) -> str:
        parts = [g.constant(v) for v in (0.0625, zero, *rest)]
        return g.node("Trunc", x, *parts, domain=QONNX, **attributes)

    return body


for _mode in ("FLOOR", "ROUND", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"):
    case(f"trunc-{_mode}", trunc((8, 5), rounding_mode=_mode), end=None)
    case(f"trunc-second-{_mode}", trunc((8, 0.25, 5), 3, rounding_mode=_mode), end=None)
case("trunc-default", trunc((8, 4), 2), end=None)
case("trunc-unsigned", trunc((8, 0.5, 3), signed=0, narrow=1, rounding_mode="FLOOR"), end=None)
case("trunc-narrow", trunc((8, 0.5, 3), signed=1, narrow=1, rounding_mode="FLOOR"))
case("trunc-off-grid", trunc((8, 6), rounding_mode="CEIL"), scale=0.0371)
case(
    "trunc-of-pool",
    lambda g, x: trunc((12, 8), rounding_mode="FLOOR")(
        g, g.node("Mul", g.node("AveragePool", x, kernel_shape=[4, 4]), g.constant(16.0))
    ),
)


def thresholds(shape: tuple[int, ...], **attributes: Any) -> Body:
    def body(g: Graph, x: str) -> str:
        limits = np.sort(g.random.integers(-60, 60, shape) / 8, axis=1)
        return g.node("MultiThreshold", x, g.constant(limits), domain=QONNX, **attributes)

    return body


case("multithreshold", thresholds((3, 5)), end=None)
case("multithreshold-shared", thresholds((1, 3), out_scale=0.3, out_bias=-0.7), end=None)
case("multithreshold-negative", thresholds((3, 3), out_scale=-0.3, out_bias=-0.7), end=None)
case("multithreshold-features", thresholds((10, 2)), ROW, end=None)
case("multithreshold-last", lambda g, x: g.node("Transpose", thresholds(
    (3, 4), data_layout="NHWC")(g, g.node("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2]),
     end=None)  # fmt: skip
case("multithreshold-one", thresholds((3, 1), out_scale=2.0, out_bias=-1.0), end=None)
case("multithreshold-many", thresholds((3, 40)), end=None)
case("multithreshold-falling", lambda g, x: thresholds((3, 20))(g, g.node("Neg", x)), end=None)

# Integer operators.


def integer_case(name: str, body: Body, shape: tuple[int, ...], kind: str, output: int) -> None:
    def build() -> ModelProto:
        g = Graph(shape, kind, seed=crc32(name.encode()))
        return g.finished(body(g, "x"), output)

    assert name not in CASES
    CASES[name] = build


def pair(g: Graph, kind: str, scale: Any, zero: Any = 3) -> list[str]:
    return [g.constant(scale), g.constant(zero, np.dtype(kind))]


def stored(g: Graph, kind: str, *shape: int) -> str:
    info = np.iinfo(kind)
    return g.constant(g.random.integers(info.min, info.max + 1, shape), np.dtype(kind))


def qlinear_conv(kind: str, per_channel: bool, bias: bool, **more: Any) -> Body:
    def body(g: Graph, x: str) -> str:
        scale = g.random.uniform(0.01, 0.03, 4) if per_channel else 0.02
        w_zero = np.zeros(4) if per_channel else 11
        rest = [g.constant(g.random.integers(-999, 999, 4), np.int32)] if bias else []
        return g.node(
            "QLinearConv",
            x,
            *pair(g, kind, 0.05),
            stored(g, "int8", 4, 3, 3, 3),
            *pair(g, "int8", scale, w_zero),
            *pair(g, kind, 0.41, 9),
            *rest,
            **more,
        )

    return body  # fmt: skip


def qgemm(kind: str, bias: bool, quantised: bool, **more: Any) -> Body:
    def body(g: Graph, x: str) -> str:
        shape = (5, 10) if more.get("transB") else (10, 5)
        scale, zero = g.random.uniform(0.01, 0.03, 5), g.random.integers(-5, 5, 5)
        c = g.constant(g.random.integers(-999, 999, 5), np.int32) if bias else ""
        return g.node(
            "QGemm",
            x,
            *pair(g, kind, 0.05),
            stored(g, "int8", *shape),
            *pair(g, "int8", scale, zero),
            c,
            *(pair(g, kind, 0.3) if quantised else []),
            domain="com.microsoft",
            **more,
        )

    return body  # fmt: skip


def microsoft(
    op: str, kind: str, other: tuple[int, ...] | None = None, swap: bool = False, **more: Any
) -> Body:
    """A QLinear operator of ONNX Runtime, perhaps with a constant operand."""

    def body(g: Graph, x: str) -> str:
        operands = [["x", *pair(g, kind, 0.0313, 5)]]
        if other is not None:
            operands.append([stored(g, kind, *other), *pair(g, kind, 0.0171, 9)])
        flat = [name for one in (operands[::-1] if swap else operands) for name in one]
        return g.node(op, *flat, *pair(g, kind, 0.0391, 2), domain="com.microsoft", **more)

    return body  # fmt: skip


def two_branches(op: str, kind: str, **more: Any) -> Body:
    """A QLinear operator of two tensors that depend on the input."""

    def body(g: Graph, x: str) -> str:
        side = g.node(
            "QLinearLeakyRelu",
            x,
            *pair(g, kind, 0.0313, 5),
            *pair(g, kind, 0.0171, 9),
            domain="com.microsoft",
            alpha=0.15,
        )
        operands = [x, *pair(g, kind, 0.0313, 5), side, *pair(g, kind, 0.0171, 9)]
        result = pair(g, kind, 0.0391, 2)
        operands = [*result, *operands] if op == "QLinearConcat" else [*operands, *result]
        return g.node(op, *operands, domain="com.microsoft", **more)

    return body  # fmt: skip


for _kind in ("int8", "uint8"):
    _type = getattr(TensorProto, _kind.upper())

    def _enter(
        name: str,
        body: Body,
        shape: tuple[int, ...] = IMAGE,
        output: int = _type,
        kind: str = _kind,
    ) -> None:
        integer_case(f"{name}-{kind}", body, shape, kind, output)

    _enter("qlinearconv", qlinear_conv(_kind, True, True, pads=[1, 0, 2, 1], strides=[2, 1]))
    _enter("qlinearconv-tensor", qlinear_conv(_kind, False, False))
    _enter("qgemm", qgemm(_kind, True, True, transB=1, alpha=0.7), ROW)
    _enter("qgemm-real", qgemm(_kind, True, False), ROW, int(TensorProto.FLOAT))
    _enter("qgemm-no-bias", qgemm(_kind, False, True), ROW)
    _enter("qlinearmatmul", lambda g, x, k=_kind: g.node(
        "QLinearMatMul", x, *pair(g, k, 0.05), stored(g, "int8", 10, 4),
        *pair(g, "int8", g.random.uniform(0.01, 0.03, 4), [1, 0, -5, 2]), *pair(g, k, 0.3)),
           ROW)  # fmt: skip
    _enter(
        "convinteger",
        lambda g, x, k=_kind: g.node(
            "ConvInteger",
            x,
            stored(g, "int8", 4, 3, 2, 2),
            g.constant(7, np.dtype(k)),
            g.constant([1, 0, -3, 9], np.int8),
            pads=[1, 1, 0, 0],
        ),
        output=TensorProto.INT32,
    )
    _enter(
        "convinteger-plain",
        lambda g, x: g.node("ConvInteger", x, stored(g, "uint8", 4, 3, 2, 2)),
        output=TensorProto.INT32,
    )
    _enter("matmulinteger", lambda g, x, k=_kind: g.node(
        "MatMulInteger", x, stored(g, "uint8", 10, 4), g.constant(7, np.dtype(k)),
        g.constant([1, 0, 3, 200], np.uint8)), ROW, TensorProto.INT32)  # fmt: skip
    _enter("qlinearadd", two_branches("QLinearAdd", _kind))
    _enter("qlinearconcat", two_branches("QLinearConcat", _kind, axis=1))
    for _op in ("QLinearAdd", "QLinearMul"):
        for _name, _shape in (("all", IMAGE), ("channel", (3, 1, 1)), ("scalar", ())):
            _enter(f"{_op}-{_name}", microsoft(_op, _kind, _shape))
            _enter(f"{_op}-{_name}-first", microsoft(_op, _kind, _shape, swap=True))
    for _count in (0, 1):
        _enter(
            f"QLinearAveragePool-{_count}",
            microsoft(
                "QLinearAveragePool",
                _kind,
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
                count_include_pad=_count,
            ),
        )
    _enter("QLinearGlobalAveragePool", microsoft("QLinearGlobalAveragePool", _kind))
    _enter("QLinearLeakyRelu", microsoft("QLinearLeakyRelu", _kind, alpha=0.15))
    _enter("QLinearSigmoid", microsoft("QLinearSigmoid", _kind))
    _enter("microsoft-qdq", lambda g, x, k=_kind: g.node(
        "QuantizeLinear", g.node("DequantizeLinear", x, *pair(g, k, 0.3), domain="com.microsoft"),
        *pair(g, k, 0.7), domain="com.microsoft"))  # fmt: skip
