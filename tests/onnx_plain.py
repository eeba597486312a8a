"""The operators of ONNX proper that are not convolutions, pools or quantisers, exactly."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx_exact import (
    INT64,
    REAL,
    REALS,
    Array,
    Exact,
    add,
    as_object,
    common_unit,
    divide,
    exact,
    matmul,
    multiply,
    quotients,
    scalar,
)
from onnx_node import View, operator
from onnx_windows import mean

DIGITS = Context(prec=80, Emin=-(10**9), Emax=10**9)
"""Sigmoid and tanh are right to at least 60 digits after the point."""


def whole(values: Any) -> Exact:
    """An int64 tensor."""
    return Exact(as_object(np.asarray(values, dtype=np.int64)), kind=INT64)


@operator("Identity", "Dropout")
def identity(view: View, x: Exact, *rest: Exact | None) -> Exact:
    return x


@operator("Constant")
def constant(view: View) -> Exact:
    for name, kind in (("value_float", REAL), ("value_floats", REAL)):
        if name in view.attributes:
            return exact(np.asarray(view(name), dtype=np.float32), kind)
    for name in ("value_int", "value_ints"):
        if name in view.attributes:
            return whole(view(name))
    return tensor(view("value"))


def tensor(proto: onnx.TensorProto) -> Exact:
    """A tensor of the file."""
    return exact(onnx.numpy_helper.to_array(proto), proto.data_type)


@operator("ConstantOfShape")
def constant_of_shape(view: View, shape: Exact) -> Exact:
    value = tensor(view("value")) if "value" in view.attributes else scalar(0)
    return value.moved(lambda v: np.broadcast_to(v.reshape(()), tuple(shape.integers())))


@operator("Shape")
def shape_of(view: View, x: Exact) -> Exact:
    return whole(x.shape[view("start", 0) : view("end", None)])


@operator("Gather")
def gather(view: View, x: Exact, index: Exact) -> Exact:
    return x.moved(lambda v: np.take(v, index.integers(), axis=view("axis", 0)))


@operator("Expand")
def expand(view: View, x: Exact, shape: Exact) -> Exact:
    wanted = np.broadcast_shapes(x.shape, tuple(shape.integers()))
    return x.moved(lambda v: np.broadcast_to(v, wanted))


@operator("Flatten")
def flatten(view: View, x: Exact) -> Exact:
    axis = view("axis", 1)
    rows = int(np.prod(x.shape[:axis], dtype=int))
    return x.moved(lambda v: v.reshape(rows, -1))


@operator("Reshape")
def reshape(view: View, x: Exact, shape: Exact | None = None) -> Exact:
    wanted = list(shape.integers()) if shape is not None else list(view("shape"))
    if not view("allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.moved(lambda v: v.reshape([int(n) for n in wanted]))


@operator("Transpose")
def transpose(view: View, x: Exact) -> Exact:
    return x.moved(lambda v: v.transpose(view("perm", None)))


def _axes(view: View, axes: Exact | None) -> list[int] | None:
    chosen = axes.integers().ravel() if axes is not None else view("axes")
    return None if chosen is None else [int(axis) for axis in chosen]


@operator("Squeeze")
def squeeze(view: View, x: Exact, axes: Exact | None = None) -> Exact:
    chosen = _axes(view, axes)
    return x.moved(lambda v: np.squeeze(v, None if chosen is None else tuple(chosen)))


@operator("Unsqueeze")
def unsqueeze(view: View, x: Exact, axes: Exact | None = None) -> Exact:
    return x.moved(lambda v: np.expand_dims(v, tuple(_axes(view, axes) or ())))


@operator("Concat")
def concat(view: View, *inputs: Exact) -> Exact:
    unit = common_unit(*inputs)
    joined = np.concatenate([x.in_unit(unit) for x in inputs], axis=view("axis", 1))
    return Exact(as_object(joined), unit, inputs[0].kind)


@operator("Split")
def split(view: View, x: Exact, sizes: Exact | None = None) -> tuple[Exact, ...]:
    axis, parts = view("axis", 0), len(view.outputs)
    lengths = list(sizes.integers()) if sizes is not None else view("split")
    if lengths is None:
        length = -(-x.shape[axis] // parts)
        lengths = [length] * (parts - 1) + [x.shape[axis] - length * (parts - 1)]
    ends = np.cumsum(lengths)
    places = [np.arange(end - length, end) for length, end in zip(lengths, ends, strict=True)]
    return tuple(x.moved(lambda v, i=index: np.take(v, i, axis=axis)) for index in places)


@operator("Slice")
def slice_of(
    view: View,
    x: Exact,
    starts: Exact | None = None,
    ends: Exact | None = None,
    axes: Exact | None = None,
    steps: Exact | None = None,
) -> Exact:
    if starts is None or ends is None:
        first, last = view("starts"), view("ends")
    else:
        first, last = starts.integers(), ends.integers()
    chosen = _axes(view, axes) or list(range(len(first)))
    strides = steps.integers() if steps is not None else [1] * len(first)
    cut: list[slice] = [slice(None)] * len(x.shape)
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        size = x.shape[axis]
        stop = None if step < 0 and end < -size else int(end)
        cut[axis] = slice(int(start), stop, int(step))
    return x.moved(lambda v: v[tuple(cut)])


@operator("Add", "Sum")
def addition(view: View, first: Exact, *others: Exact) -> Exact:
    for other in others:
        first = add(first, other)
    return first


@operator("Sub")
def subtraction(view: View, a: Exact, b: Exact) -> Exact:
    return add(a, b, -1)


@operator("Mul")
def multiplication(view: View, a: Exact, b: Exact) -> Exact:
    return multiply(a, b)


@operator("Div")
def division(view: View, a: Exact, b: Exact) -> Exact:
    return divide(a, b)


@operator("Neg")
def negation(view: View, x: Exact) -> Exact:
    return Exact(as_object(-x.count), x.unit, x.kind)


@operator("Abs")
def absolute(view: View, x: Exact) -> Exact:
    return Exact(as_object(np.abs(x.count)), x.unit, x.kind)


@operator("Sign")
def sign(view: View, x: Exact) -> Exact:
    values = (x.count > 0).astype(int) - (x.count < 0).astype(int)
    return Exact(as_object(values), kind=x.kind)


@operator("MatMul")
def matrix_product(view: View, a: Exact, b: Exact) -> Exact:
    return matmul(a, b)


@operator("Gemm")
def gemm(view: View, a: Exact, b: Exact, c: Exact | None = None) -> Exact:
    if view("transA", 0):
        a = a.moved(np.transpose)
    if view("transB", 0):
        b = b.moved(np.transpose)
    y = multiply(matmul(a, b), view.real("alpha", 1.0))
    return y if c is None else add(y, multiply(c, view.real("beta", 1.0)))


@operator("Relu")
def relu(view: View, x: Exact) -> Exact:
    return _larger(x, scalar(0))


def _larger(x: Exact, bound: Exact) -> Exact:
    unit = common_unit(x, bound)
    return Exact(as_object(np.maximum(x.in_unit(unit), bound.in_unit(unit))), unit, x.kind)


def _smaller(x: Exact, bound: Exact) -> Exact:
    unit = common_unit(x, bound)
    return Exact(as_object(np.minimum(x.in_unit(unit), bound.in_unit(unit))), unit, x.kind)


@operator("Max")
def maximum(view: View, first: Exact, *others: Exact) -> Exact:
    for other in others:
        first = _larger(first, other)
    return first


@operator("Min")
def minimum(view: View, first: Exact, *others: Exact) -> Exact:
    for other in others:
        first = _smaller(first, other)
    return first


@operator("Clip")
def clip(view: View, x: Exact, low: Exact | None = None, high: Exact | None = None) -> Exact:
    if "min" in view.attributes:
        low = view.real("min", 0.0)
    if "max" in view.attributes:
        high = view.real("max", 0.0)
    x = x if low is None else _larger(x, low)
    return x if high is None else _smaller(x, high)


@operator("LeakyRelu")
def leaky_relu(view: View, x: Exact) -> Exact:
    return _leak(x, view.real("alpha", 0.01))


@operator("PRelu")
def prelu(view: View, x: Exact, slope: Exact) -> Exact:
    return _leak(x, slope)


def _leak(x: Exact, slope: Exact) -> Exact:
    below = multiply(x, slope)
    unit = common_unit(x, below)
    chosen = np.where(x.count < 0, below.in_unit(unit), x.in_unit(unit))
    return Exact(as_object(chosen), unit, x.kind)


def _hard_sigmoid(x: Exact, alpha: Exact, beta: Exact) -> Exact:
    return _smaller(_larger(add(multiply(x, alpha), beta), scalar(0)), scalar(1))


@operator("HardSigmoid")
def hard_sigmoid(view: View, x: Exact) -> Exact:
    return _hard_sigmoid(x, view.real("alpha", 0.2), view.real("beta", 0.5))


@operator("HardSwish")
def hard_swish(view: View, x: Exact) -> Exact:
    return multiply(x, _hard_sigmoid(x, scalar(Fraction(1, 6)), scalar(Fraction(1, 2))))


@operator("Sigmoid")
def sigmoid(view: View, x: Exact) -> Exact:
    return _each(x, lambda value: 1 / (1 + _exponential(-value)))


@operator("Tanh")
def tanh(view: View, x: Exact) -> Exact:
    def one(value: Fraction) -> Fraction:
        power = _exponential(-2 * abs(value))
        return (1 - power) / (1 + power) * (1 if value >= 0 else -1)

    return _each(x, one)


def _exponential(value: Fraction) -> Fraction:
    """The exponential to 70 digits; nothing where it is below 10 ** -100 or above 10 ** 100."""
    if abs(value) > 230:
        return Fraction(0) if value < 0 else Fraction(10**100)
    ratio = DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Fraction(DIGITS.exp(ratio))


def _each(x: Exact, function: Any) -> Exact:
    """A function of every value, kept to 256 bits after the point; once per different value."""
    results = {count: function(count * x.unit) for count in set(x.count.flat)}
    bits = {
        count: (value.numerator << 256) // value.denominator for count, value in results.items()
    }
    return Exact(np.frompyfunc(bits.__getitem__, 1, 1)(x.count), Fraction(1, 1 << 256))


@operator("Floor", "Ceil", "Round")
def rounded(view: View, x: Exact) -> Exact:
    return Exact(_to_whole(x, view.op.upper()), kind=x.kind)


def _to_whole(x: Exact, mode: str) -> Array:
    return quotients(x.count * x.unit.numerator, as_object(x.unit.denominator), mode)


@operator("Cast")
def cast(view: View, x: Exact) -> Exact:
    """Between real types nothing is lost; to an integer type the fraction is cut off."""
    kind = view("to")
    if kind == onnx.TensorProto.BOOL:
        return Exact(as_object(x.count != 0), kind=kind)
    if kind in REALS:
        return Exact(x.count, x.unit, kind, x.rounding)
    values = _to_whole(x, "DOWN")
    low, high = limits(kind)  # of an integer type: others are refused here
    if (values < low).any() or (values > high).any():
        raise ValueError("a Cast to an integer type that cannot hold the value")
    return Exact(values, kind=kind)


def limits(kind: int) -> tuple[int, int]:
    """The smallest and largest number of an integer type."""
    name = onnx.TensorProto.DataType.Name(kind)
    bits = int(name.lstrip("UINT")) if name.startswith(("INT", "UINT")) else 0
    if not bits:
        raise NotImplementedError(f"the integer type {name}")
    return (0, 2**bits - 1) if name[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@operator("ReduceMean")
def reduce_mean(view: View, x: Exact, axes: Exact | None = None) -> Exact:
    chosen = _axes(view, axes)
    if not chosen and view("noop_with_empty_axes", 0):
        return x
    chosen = chosen or list(range(len(x.shape)))
    return mean(x, tuple(axis % len(x.shape) for axis in chosen), bool(view("keepdims", 1)))


@operator("ReduceSum")
def reduce_sum(view: View, x: Exact, axes: Exact | None = None) -> Exact:
    chosen = _axes(view, axes)
    if not chosen and view("noop_with_empty_axes", 0):
        return x
    chosen = tuple(chosen or range(len(x.shape)))
    total = x.count.sum(axis=chosen, keepdims=bool(view("keepdims", 1)))
    return Exact(as_object(total), x.unit, x.kind)


@operator("ReduceMax")
def reduce_max(view: View, x: Exact, axes: Exact | None = None) -> Exact:
    chosen = _axes(view, axes)
    if not chosen and view("noop_with_empty_axes", 0):
        return x
    largest = x.count.max(
        axis=tuple(chosen) if chosen else None, keepdims=bool(view("keepdims", 1))
    )
    return Exact(as_object(largest), x.unit, x.kind)


@operator("ArgMax")
def arg_max(view: View, x: Exact) -> Exact:
    axis, keep = view("axis", 0), bool(view("keepdims", 1))
    if view("select_last_index", 0):
        index = x.shape[axis] - 1 - _first_largest(np.flip(x.count, axis), axis)
    else:
        index = _first_largest(x.count, axis)
    return whole(np.expand_dims(index, axis) if keep else index)


def _first_largest(values: Array, axis: int) -> Array:
    return np.argmax(values == values.max(axis=axis, keepdims=True), axis=axis)


@operator("TopK")
def top_k(view: View, x: Exact, k: Exact | None = None) -> tuple[Exact, Exact]:
    """The k largest (or smallest), in order; of equal values the one with the lower index first."""
    axis = view("axis", -1)
    number = int(k.integers().item()) if k is not None else view("k")
    key = -x.count if view("largest", 1) else x.count
    order = np.argsort(key, axis=axis, kind="stable")
    index = np.take(order, np.arange(number), axis=axis)
    return x.moved(lambda v: np.take_along_axis(v, index, axis)), whole(index)
