"""The operators that round: ONNX's quantisers, ONNX Runtime's QLinear family and QONNX, exactly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import onnx
from onnx_exact import (
    REAL,
    TIES,
    Array,
    Exact,
    Rounding,
    add,
    as_object,
    common_unit,
    divide,
    from_fractions,
    matmul,
    multiply,
    quotients,
    ratio,
    scalar,
)
from onnx_node import MICROSOFT, QONNX, View, operator
from onnx_plain import concat, gemm, leaky_relu, limits, sigmoid
from onnx_windows import average_pool, conv, mean

UINT8, INT32 = int(onnx.TensorProto.UINT8), int(onnx.TensorProto.INT32)


def along(
    parameter: Exact, rank: int, axis: int, shape: tuple[int, ...] = (), block: int = 0
) -> Exact:
    """A scale or zero point as it broadcasts: one, one per index of an axis, or one per block."""
    if block:
        repeated = parameter.moved(lambda v: np.repeat(v, block, axis=axis))
        return repeated.moved(lambda v: np.take(v, np.arange(shape[axis]), axis=axis))
    if parameter.count.size == 1:
        return parameter.moved(lambda v: v.reshape([1] * rank))
    column = [1] * rank
    column[axis] = -1
    return parameter.moved(lambda v: v.reshape(column))


def quantise(x: Exact, scale: Exact, zero: Exact, kind: int) -> Exact:
    """`saturate(round(x / scale) + zero)`, ties to even; scale and zero broadcast to x."""
    over, under = ratio(x, scale)
    steps = quotients(over, under, "HALF_EVEN") + zero.integers()
    shape = np.broadcast_shapes(over.shape, under.shape)
    before = np.broadcast_to(over, shape) + zero.integers() * np.broadcast_to(under, shape)
    rounding = Rounding(as_object(before), under, Fraction(1, 2))
    low, high = limits(kind)
    return Exact(as_object(np.clip(steps, low, high)), kind=kind, rounding=rounding)


def dequantise(x: Exact, scale: Exact, zero: Exact | None = None) -> Exact:
    """`(x - zero) * scale`, with scale and zero broadcast to x."""
    centred = x if zero is None else add(x, zero, -1)
    y = multiply(centred, scale)
    return Exact(y.count, y.unit, REAL, x.rounding)


@operator("QuantizeLinear")
@operator("QuantizeLinear", family=MICROSOFT)
def quantize_linear(view: View, x: Exact, scale: Exact, zero: Exact | None = None) -> Exact:
    kind = zero.kind if zero is not None else view("output_dtype", 0) or UINT8
    zero = zero if zero is not None else Exact(as_object(0 * scale.count), kind=kind)
    place = len(x.shape), view("axis", 1), x.shape, view("block_size", 0)
    return quantise(x, along(scale, *place), along(zero, *place), kind)


@operator("DequantizeLinear")
@operator("DequantizeLinear", family=MICROSOFT)
def dequantize_linear(view: View, x: Exact, scale: Exact, zero: Exact | None = None) -> Exact:
    place = len(x.shape), view("axis", 1), x.shape, view("block_size", 0)
    return dequantise(x, along(scale, *place), None if zero is None else along(zero, *place))


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(view: View, x: Exact) -> tuple[Exact, Exact, Exact]:
    low, high = min(int(x.count.min()), 0), max(int(x.count.max()), 0)
    width = x.unit * (high - low) / 255
    scale = scalar(width or 1)
    bottom = Exact(as_object(-low), x.unit)
    none = Exact(as_object(0), kind=UINT8)
    zero = quantise(bottom, scale, none, UINT8)
    return quantise(x, scale, zero, UINT8), scale, zero


@operator("MatMulInteger")
def matmul_integer(
    view: View, a: Exact, b: Exact, a_zero: Exact | None = None, b_zero: Exact | None = None
) -> Exact:
    y = matmul(_rows(a, None, a_zero), _columns(b, None, b_zero))
    return Exact(y.count, y.unit, INT32)


def _rows(a: Exact, scale: Exact | None, zero: Exact | None) -> Exact:
    """The left matrix of a product; a parameter with more than one value has one per row."""

    def place(parameter: Exact) -> Exact:
        if parameter.count.size > 1 and len(parameter.shape) == 1:
            return parameter.moved(lambda v: v.reshape(-1, 1))
        return parameter

    a = a if zero is None else add(a, place(zero), -1)
    return a if scale is None else multiply(a, place(scale))


def _columns(b: Exact, scale: Exact | None, zero: Exact | None) -> Exact:
    b = b if zero is None else add(b, zero, -1)
    return b if scale is None else multiply(b, scale)


@operator("QLinearMatMul")
def qlinear_matmul(view: View, *inputs: Exact) -> Exact:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = inputs
    y = matmul(_rows(a, a_scale, a_zero), _columns(b, b_scale, b_zero))
    return quantise(y, y_scale, y_zero, y_zero.kind)


@operator("ConvInteger")
def conv_integer(
    view: View, x: Exact, w: Exact, x_zero: Exact | None = None, w_zero: Exact | None = None
) -> Exact:
    x = x if x_zero is None else add(x, x_zero, -1)
    w = w if w_zero is None else add(w, along(w_zero, len(w.shape), 0), -1)
    y = conv(view, x, w)
    return Exact(y.count, y.unit, INT32)


@operator("QLinearConv")
def qlinear_conv(view: View, *inputs: Exact) -> Exact:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = inputs
    scale = along(w_scale, len(w.shape), 0)
    weights = dequantise(w, scale, along(w_zero, len(w.shape), 0))
    y = conv(view, dequantise(x, x_scale, x_zero), weights)
    if bias and bias[0] is not None:
        per_output = along(multiply(w_scale, x_scale), len(x.shape), 1)
        y = add(y, multiply(along(bias[0], len(x.shape), 1), per_output))
    return quantise(y, y_scale, y_zero, y_zero.kind)


def _requantised(y: Exact, scale: Exact, zero: Exact | None, kind: int) -> Exact:
    return quantise(y, scale, zero if zero is not None else Exact(as_object(0)), kind)


@operator("QLinearAdd", "QLinearMul", family=MICROSOFT)
def qlinear_pair(view: View, *inputs: Exact | None) -> Exact:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, *y_zero = inputs
    join = add if view.op == "QLinearAdd" else multiply
    y = join(dequantise(a, a_scale, a_zero), dequantise(b, b_scale, b_zero))
    return _requantised(y, y_scale, y_zero[0] if y_zero else None, a.kind)


@operator("QLinearAveragePool", "QLinearGlobalAveragePool", family=MICROSOFT)
def qlinear_pool(view: View, *inputs: Exact | None) -> Exact:
    x, x_scale, x_zero, y_scale, *y_zero = inputs
    last = view("channels_last", 0)
    real = dequantise(x, x_scale, x_zero)
    real = real.moved(lambda v: np.moveaxis(v, -1, 1)) if last else real
    if view.op == "QLinearAveragePool":
        y = average_pool(view, real)
    else:
        y = mean(real, tuple(range(2, len(real.shape))), keep=True)
    y = y.moved(lambda v: np.moveaxis(v, 1, -1)) if last else y
    return _requantised(y, y_scale, y_zero[0] if y_zero else None, x.kind)


@operator("QLinearReduceMean", family=MICROSOFT)
def qlinear_reduce_mean(view: View, *inputs: Exact | None) -> Exact:
    x, x_scale, x_zero, y_scale, *y_zero = inputs
    rank = len(x.shape)
    axes = tuple(axis % rank for axis in view("axes", range(rank)))
    y = mean(dequantise(x, x_scale, x_zero), axes, bool(view("keepdims", 1)))
    return _requantised(y, y_scale, y_zero[0] if y_zero else None, x.kind)


@operator("QLinearLeakyRelu", "QLinearSigmoid", family=MICROSOFT)
def qlinear_one(view: View, *inputs: Exact | None) -> Exact:
    x, x_scale, x_zero, y_scale, *y_zero = inputs
    function = leaky_relu if view.op == "QLinearLeakyRelu" else sigmoid
    y = function(view, dequantise(x, x_scale, x_zero))
    return _requantised(y, y_scale, y_zero[0] if y_zero else None, x.kind)


@operator("QLinearConcat", family=MICROSOFT)
def qlinear_concat(view: View, y_scale: Exact, y_zero: Exact, *inputs: Exact) -> Exact:
    parts = [dequantise(*inputs[i : i + 3]) for i in range(0, len(inputs), 3)]
    return quantise(concat(view, *parts), y_scale, y_zero, y_zero.kind)


@operator("QGemm", family=MICROSOFT)
def qgemm(view: View, *inputs: Exact | None) -> Exact:
    """The bias counts in units of alpha times both scales; without an output scale y is real."""
    a, a_scale, a_zero, b, b_scale, b_zero, *rest = inputs
    bias, y_scale, y_zero = [*rest, None, None, None][:3]
    axis = 0 if view("transB", 0) else 1
    right = dequantise(b, along(b_scale, 2, axis), along(b_zero, 2, axis))
    y = gemm(view, dequantise(a, a_scale, a_zero), right)
    if bias is not None:
        unit = multiply(multiply(a_scale, b_scale), view.real("alpha", 1.0))
        y = add(y, multiply(bias, unit))
    return y if y_scale is None else _requantised(y, y_scale, y_zero, a.kind)


# QONNX.


def _bounds(bits: Array, signed: bool, narrow: bool) -> tuple[Array, Array]:
    """The smallest and largest integers, for bit widths that are an object array."""
    if signed:
        half = as_object(2 ** (bits - 1))
        return as_object(-half + int(narrow)), as_object(half - 1)
    return as_object(0 * bits), as_object(2**bits - 1 - int(narrow))


@operator("Quant", "IntQuant", family=QONNX)
def quant(view: View, x: Exact, scale: Exact, zero: Exact, width: Exact) -> Exact:
    signed, narrow = bool(view("signed", 1)), bool(view("narrow", 1))
    mode, bits = view("rounding_mode", "ROUND"), width.integers().astype(object)
    over, under = _shifted(x, scale, zero)
    if signed and (bits == 1).all():  # one signed bit is a sign, as the qonnx package has it
        steps, tie = np.where(over >= 0, 1, -1), None
    else:
        low, high = _bounds(bits, signed, narrow)
        steps = np.clip(quotients(over, under, mode), low, high)
        tie = TIES[mode.upper()]
    y = multiply(add(Exact(as_object(steps)), zero, -1), scale)
    return Exact(y.count, y.unit, REAL, Rounding(over, under, tie))


def _shifted(x: Exact, scale: Exact, zero: Exact) -> tuple[Array, Array]:
    """`x / scale + zero` as whole numbers over positive whole numbers."""
    over, under = ratio(x, scale)
    shift = zero.unit
    over = over * shift.denominator + zero.count * shift.numerator * under
    return as_object(over), as_object(under * shift.denominator)


@operator("BipolarQuant", family=QONNX)
def bipolar_quant(view: View, x: Exact, scale: Exact) -> Exact:
    y = multiply(Exact(as_object(np.where(x.count >= 0, 1, -1))), scale)
    over, under = ratio(x, scale)
    return Exact(y.count, y.unit, REAL, Rounding(over, under, None))


@operator("Trunc", family=QONNX)
def trunc(view: View, x: Exact, scale: Exact, zero: Exact, width: Exact, *more: Exact) -> Exact:
    """Five inputs are its first version, six the second, which names a scale and clamps."""
    mode = view("rounding_mode", "FLOOR")
    inside = Exact(quotients(*_shifted(x, scale, zero), "ROUND"))
    if len(more) == 1:
        shift = scalar(Fraction(2) ** int(width.integers() - more[0].integers()))
        out_scale, out_zero, bounds = scale, zero, None
    else:
        out_scale, bits = more
        shift = _power_of_two(out_scale, scale)
        out_zero = divide(zero, shift)
        signed, narrow = bool(view("signed", 1)), bool(view("narrow", 0))
        bounds = _bounds(bits.integers().astype(object), signed, narrow)
    over, under = ratio(inside, shift)
    steps = quotients(over, under, mode)
    steps = steps if bounds is None else np.clip(steps, *bounds)
    y = multiply(add(Exact(as_object(steps)), out_zero, -1), out_scale)
    return Exact(y.count, y.unit, REAL, Rounding(over, under, TIES[mode.upper()]))


def _power_of_two(a: Exact, b: Exact) -> Exact:
    """The power of two nearest to `a / b` (on the logarithm)."""
    powers = [Fraction(2) ** round(math.log2(value)) for value in divide(a, b).fractions().flat]
    shape = np.broadcast_shapes(a.shape, b.shape)
    return from_fractions(np.array(powers, dtype=object).reshape(shape))


@operator("MultiThreshold", family=QONNX)
def multi_threshold(view: View, x: Exact, thresholds: Exact) -> Exact:
    """How many thresholds of its channel each value reaches, times out_scale plus out_bias."""
    layout = view("data_layout") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(len(x.shape), "NC")
    axis = layout.index("C") if "C" in layout else 1
    unit = common_unit(x, thresholds)
    left, right = x.in_unit(unit), thresholds.in_unit(unit)
    left = np.moveaxis(left, axis, -1)[..., None]
    reached = np.moveaxis((left >= right).sum(axis=-1), -1, axis)
    scale, bias = view.real("out_scale", 1.0), view.real("out_bias", 0.0)
    return add(multiply(Exact(as_object(reached)), scale), bias)
