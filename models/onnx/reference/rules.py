"""Operators that the reference computes value by value: exactly, on integers with one unit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from math import isqrt, prod

import numpy as np

from ...exact import DIGITS, Sigmoid, Tanh
from ...fixed import Ints
from ..constants.arithmetic import ARITHMETIC, alike, in_range
from ..constants.constant import OBJECTS_MAX, Constant, Refused, exactly, is_float
from ..constants.rules import MANY, Call, Results, Rules, distinct_axes, enter, from_front
from .numbers import (
    Numbers,
    Whole,
    bits,
    chosen,
    larger,
    number,
    smaller,
    wide,
)

POINTWISE: Rules = {}
LEVELS = 255
"""Steps from the lowest to the highest integer of DynamicQuantizeLinear."""
KEPT = 1 << 256
"""What is irrational is kept as a multiple of one over this."""
Pair = Callable[[Numbers, Numbers], Numbers]


@enter(POINTWISE, "DynamicQuantizeLinear", outputs=3)
def dynamic_quantize_linear(call: Call) -> Results:
    """uint8 integers, their scale and zero point, from the largest and smallest value and 0.

    scale = (high - low) / 255, zero = round(-low / scale), which is never outside 0..255, and y =
    clamp(round(x / scale) + zero), ties to even.  Of a tensor of zeros the scale is 1.
    """
    x = reals(call[0])
    low, high = min(int(x.counts.min(initial=0)), 0), max(int(x.counts.max(initial=0)), 0)
    width, scale = high - low, (high - low) * x.unit / LEVELS
    if not width:
        width, scale = 1, Fraction(1)
    steps = _nearest(x.counts.reshape(-1), width).reshape(x.shape)
    (zero,) = _nearest(np.array([-low], dtype=object), width)
    y = np.clip(steps + zero, 0, LEVELS).astype(np.uint8)
    return [
        Constant(y, "uint8"),
        Constant(exactly(scale), "float32"),
        Constant(np.array(zero, np.uint8), "uint8"),
    ]


def _nearest(counts: Whole, width: int) -> Whole:
    """`LEVELS * counts / width` as the nearest integers, ties to even."""
    size = max(bits(counts) + LEVELS.bit_length(), width.bit_length()) + 2
    total, step = 2 * LEVELS * wide(counts, size) + width, 2 * width
    steps = total // step
    return steps - ((steps * step == total) & (steps % 2 == 1))


def reals(x: Constant) -> Numbers:
    """The numbers of a tensor of reals; integers are refused."""
    if not is_float(x.dtype):
        raise Refused(f"real numbers are needed here, not {x.dtype}; add a Cast")
    return Numbers.of(x)


def _joined(call: Call, join: Pair) -> Results:
    dtype = alike(*call.all)
    first, *others = map(Numbers.of, call.all)
    for other in others:
        first = join(first, other)
    return first.constant(dtype)


@enter(POINTWISE, "Add", least=2)
@enter(POINTWISE, "Sum", most=MANY)
def add(call: Call) -> Results:
    """The sum of the inputs."""
    return _joined(call, lambda a, b: a + b)


@enter(POINTWISE, "Sub", least=2)
def subtract(call: Call) -> Results:
    """The first input less the second."""
    return _joined(call, lambda a, b: a - b)


@enter(POINTWISE, "Mul", least=2)
def multiply(call: Call) -> Results:
    """The product."""
    return _joined(call, lambda a, b: a * b)


@enter(POINTWISE, "Div", least=2)
def divide(call: Call) -> Results:
    """The quotient, for integers cut off towards zero."""
    if not is_float(alike(*call.all)):
        return ARITHMETIC["Div"].function(call)
    return _joined(call, lambda a, b: a * b.inverse())


@enter(POINTWISE, "Max", most=MANY)
def largest(call: Call) -> Results:
    """The largest of the inputs."""
    return _joined(call, larger)


@enter(POINTWISE, "Min", most=MANY)
def smallest(call: Call) -> Results:
    """The smallest of the inputs."""
    return _joined(call, smaller)


@enter(POINTWISE, "Clip", most=3)
def clip(call: Call) -> Results:
    """The nearest value that is at least `min` and at most `max`; an infinite bound is none."""
    x = Numbers.of(call[0])
    for name, place, open_end, choose in (("min", 1, -np.inf, larger), ("max", 2, np.inf, smaller)):
        bound = call.number(name, place)
        if bound is not None and not (is_float(bound.dtype) and bound.values == open_end):
            alike(call[0], bound)
            x = choose(x, Numbers.of(bound))
    return x.constant(call[0].dtype)


@enter(POINTWISE, "Neg")
def negate(call: Call) -> Results:
    """The opposite."""
    return (-Numbers.of(call[0])).constant(alike(call[0]))


@enter(POINTWISE, "Abs")
def absolute(call: Call) -> Results:
    """The absolute value."""
    return Numbers.of(call[0]).moved(np.abs).constant(alike(call[0]))


@enter(POINTWISE, "Relu")
def relu(call: Call) -> Results:
    """The larger of a value and 0."""
    return larger(Numbers.of(call[0]), number(0)).constant(alike(call[0]))


@enter(POINTWISE, "LeakyRelu")
def leaky_relu(call: Call) -> Results:
    """A value, or alpha times it where it is below 0."""
    return _leaky(reals(call[0]), number(call.attributes.number("alpha", 0.01)))


@enter(POINTWISE, "PRelu", least=2)
def prelu(call: Call) -> Results:
    """A value, or a slope times it where it is below 0."""
    return _leaky(reals(call[0]), reals(call[1]))


def _leaky(x: Numbers, slope: Numbers) -> Constant:
    below = x.counts < 0
    return chosen(lambda a, b: np.where(below, b, a), x, x * slope).constant("float32")


@enter(POINTWISE, "HardSigmoid")
def hard_sigmoid(call: Call) -> Results:
    """Alpha times a value plus beta, clamped to 0..1."""
    alpha = call.attributes.number("alpha", 0.2)
    beta = call.attributes.number("beta", 0.5)
    return _clamped(reals(call[0]), alpha, beta).constant("float32")


@enter(POINTWISE, "HardSwish")
def hard_swish(call: Call) -> Results:
    """A value times a sixth of it plus a half, that clamped to 0..1."""
    x = reals(call[0])
    return (x * _clamped(x, Fraction(1, 6), Fraction(1, 2))).constant("float32")


def _clamped(x: Numbers, factor: Fraction, term: Fraction) -> Numbers:
    return smaller(larger(x * number(factor) + number(term), number(0)), number(1))


@enter(POINTWISE, "Sigmoid")
def sigmoid(call: Call) -> Results:
    """1 / (1 + exp(-x)), low by less than 2**-255."""
    return _each(reals(call[0]), lambda v: Sigmoid().value(0, v)).constant("float32")


@enter(POINTWISE, "Tanh")
def tanh(call: Call) -> Results:
    """The hyperbolic tangent, low by less than 2**-255."""
    return _each(reals(call[0]), lambda v: Tanh().value(0, v)).constant("float32")


def _each(x: Numbers, function: Callable[[Fraction], Fraction]) -> Numbers:
    """A function of each value, as multiples of 1 / KEPT: of each different value once."""
    if x.counts.size > OBJECTS_MAX:
        raise Refused(
            f"functions like it are computed of at most {OBJECTS_MAX} values, not "
            f"{x.counts.size}; quantise the model statically"
        )
    found = {count: _kept(function(count * x.unit)) for count in set(x.counts.reshape(-1).tolist())}
    return Numbers.held(np.frompyfunc(found.__getitem__, 1, 1)(x.counts), Fraction(1, KEPT))


def _kept(value: Fraction) -> int:
    return value.numerator * KEPT // value.denominator


@enter(POINTWISE, "Softmax", "LogSoftmax")
def softmax(call: Call) -> Results:
    """exp(x) over its sum along an axis (before version 13 along all from it on), or its logarithm.

    To 80 digits, and low by less than 2**-255.
    """
    x, old = reals(call[0]), call.node.version < 13
    axis = from_front(call.attributes.integer("axis", 1 if old else -1), len(x.shape))
    axes = tuple(range(axis, len(x.shape))) if old else (axis,)
    top = Numbers(x.counts.max(axis=axes, keepdims=True), x.unit)
    below = x - top
    powers = _each(below, lambda v: Fraction(_decimal(max(v, FAINT)).exp(_DECIMALS)))
    total = powers.total(axes, True)
    if call.node.op == "LogSoftmax":
        return (below - _each(total, lambda v: Fraction(_decimal(v).ln(_DECIMALS)))).constant(
            "float32"
        )
    shares = wide(powers.counts, 2 * KEPT.bit_length()) * KEPT // total.counts
    return Numbers.held(shares, Fraction(1, KEPT)).constant("float32")


FAINT = Fraction(-200)
"""exp of less is nothing to 80 digits beside 1."""
_DECIMALS = Context(prec=DIGITS)


def _decimal(value: Fraction) -> Decimal:
    return _DECIMALS.divide(Decimal(value.numerator), Decimal(value.denominator))


@enter(POINTWISE, "BatchNormalization", least=5)
def batch_normalisation(call: Call) -> Results:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias: one over the root to 256 bits."""
    epsilon = call.attributes.number("epsilon", 1e-5)
    call.attributes.ignore("momentum", "spatial")
    if call.attributes.flag("training_mode", False):
        raise Refused("it is in training mode; export the model for inference")
    x, shape = reals(call[0]), call[0].shape
    for place in range(1, 5):
        if len(shape) < 2 or call[place].shape != (shape[1],):
            raise Refused(
                f"input {place} has shape {call[place].shape}, and its first {shape}; export the "
                "model again"
            )
    column = (-1, *[1] * (len(shape) - 2))
    scale, bias, mean, variance = (
        reals(call[place]).moved(lambda v: v.reshape(column)) for place in range(1, 5)
    )
    spread = variance + number(epsilon)
    if bool((spread.counts <= 0).any()):
        raise Refused("a variance plus epsilon is not above 0; export the model again")
    return ((x - mean) * (scale * _each(spread, _inverse_root)) + bias).constant("float32")


def _inverse_root(value: Fraction) -> Fraction:
    return Fraction(isqrt((value.denominator * KEPT**2) // value.numerator), KEPT)


def _axes(call: Call, rank: int) -> tuple[int, ...] | None:
    """The axes that a reduction names, all where it names none; None where it reduces nothing."""
    named = call.integers("axes", 1)
    if call.attributes.flag("noop_with_empty_axes", False) and not named:
        return None
    return distinct_axes(named or range(rank), rank)


@enter(POINTWISE, "ReduceSum", "ReduceMean", most=2)
def reduce_sum(call: Call) -> Results:
    """The sum or mean along axes."""
    x, dtype = Numbers.of(call[0]), alike(call[0])
    axes, keep = _axes(call, len(x.shape)), call.attributes.flag("keepdims", True)
    if axes is None:
        return call[0]
    total = x.total(axes, keep)
    if call.node.op == "ReduceSum":
        return total.constant(dtype)
    reals(call[0])
    return mean(total, prod(x.shape[axis] for axis in axes)).constant(dtype)


def mean(total: Numbers, count: int) -> Numbers:
    """A total over the number of its terms."""
    if not count:
        raise Refused("no values have no mean; export the model again")
    return Numbers(total.counts, total.unit / count)


@enter(POINTWISE, "ReduceMax", "ReduceMin", most=2)
def reduce_extreme(call: Call) -> Results:
    """The largest or smallest along axes."""
    x, dtype = Numbers.of(call[0]), alike(call[0])
    axes, keep = _axes(call, len(x.shape)), call.attributes.flag("keepdims", True)
    if axes is None:
        return call[0]
    if not prod(x.shape[axis] for axis in axes):
        raise Refused("nothing is the largest or smallest of no values; export the model again")
    extreme = np.max if call.node.op == "ReduceMax" else np.min
    return x.moved(lambda v: extreme(v, axis=axes, keepdims=keep)).constant(dtype)


@enter(POINTWISE, "ArgMax", "ArgMin")
def arg_extreme(call: Call) -> Results:
    """The place of the largest or smallest value along an axis: the first of equals, or last."""
    counts = Numbers.of(call[0]).counts
    axis = from_front(call.attributes.integer("axis", 0), counts.ndim)
    size = counts.shape[axis]
    if not size:
        raise Refused("no values have no largest; export the model again")
    last = call.attributes.flag("select_last_index", False)
    find = np.argmax if call.node.op == "ArgMax" else np.argmin
    found = np.asarray(find(np.flip(counts, axis) if last else counts, axis=axis))
    places: Ints = np.asarray(size - 1 - found if last else found, dtype=np.int64)
    keep = call.attributes.flag("keepdims", True)
    return in_range(np.expand_dims(places, axis) if keep else places, "int64")
