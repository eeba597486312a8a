"""Operators on constants that add up: reductions and products of small matrices."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

import numpy as np

from .arithmetic import alike, each, made
from .constant import BITS_MAX, OBJECTS_MAX, Constant, Fractions, Refused, common_shape
from .rules import Call, Results, Rules, distinct_axes, enter

REDUCTIONS: Rules = {}


def _plus(a: Fraction, b: Fraction) -> Fraction:
    total = a + b
    if total.denominator.bit_length() > BITS_MAX:
        raise Refused("a sum has too many digits; fold it before exporting")
    return total


def _times(a: Fraction, b: Fraction) -> Fraction:
    product = a * b
    if max(product.numerator.bit_length(), product.denominator.bit_length()) > BITS_MAX:
        raise Refused("a product has too many digits; fold it before exporting")
    return product


def _reduced(
    call: Call, function: Callable[[Fraction, Fraction], Fraction], start: Fraction | None
) -> tuple[Constant, int]:
    """The reduction by a function of two, and how many values each result is made of."""
    x = call[0]
    alike(x)
    named = call.integers("axes", 1)
    keep = call.attributes.flag("keepdims", True)
    if call.attributes.flag("noop_with_empty_axes", False) and not named:
        return x, 1
    axes = distinct_axes(named or range(len(x.shape)), len(x.shape))
    count = prod(x.shape[axis] for axis in axes)
    if start is None and not count:
        raise Refused("nothing is the largest or smallest of no values; export the model again")
    values, step = x.fractions(), np.frompyfunc(function, 2, 1)
    for axis in axes:
        values = step.reduce(values, axis=axis, keepdims=True, initial=start)
    sizes = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
    left = [n for axis, n in enumerate(x.shape) if axis not in axes]
    values = np.asarray(values, dtype=object).reshape(sizes if keep else left)
    return made(values, x.dtype), count


@enter(REDUCTIONS, "ReduceSum", most=2)
def reduce_sum(call: Call) -> Results:
    """The sum along axes."""
    return _reduced(call, _plus, Fraction(0))[0]


@enter(REDUCTIONS, "ReduceProd", most=2)
def reduce_product(call: Call) -> Results:
    """The product along axes."""
    return _reduced(call, _times, Fraction(1))[0]


@enter(REDUCTIONS, "ReduceMax", most=2)
def reduce_max(call: Call) -> Results:
    """The largest along axes."""
    return _reduced(call, max, None)[0]


@enter(REDUCTIONS, "ReduceMin", most=2)
def reduce_min(call: Call) -> Results:
    """The smallest along axes."""
    return _reduced(call, min, None)[0]


@enter(REDUCTIONS, "ReduceMean", most=2)
def reduce_mean(call: Call) -> Results:
    """The mean along axes."""
    total, count = _reduced(call, _plus, Fraction(0))
    if not count:
        raise Refused("no values have no mean; export the model again")
    return each(lambda v: v / count, total)


@enter(REDUCTIONS, "MatMul", least=2)
def matrix_product(call: Call) -> Results:
    """The matrix product, of small matrices."""
    return made(_matmul(call[0].fractions(), call[1].fractions()), alike(call[0], call[1]))


def _matmul(a: Fractions, b: Fractions) -> Fractions:
    if not a.ndim or not b.ndim:
        raise Refused("a matrix product is of vectors and matrices; export the model again")
    left_shape: tuple[int, ...] = (1, *a.shape) if a.ndim == 1 else a.shape
    right_shape: tuple[int, ...] = (*b.shape, 1) if b.ndim == 1 else b.shape
    *before, rows, inner = left_shape
    *others, across, columns = right_shape
    if inner != across:
        raise Refused(f"{a.shape} times {b.shape} is no matrix product; export the model again")
    sizes = common_shape(tuple(before), tuple(others))
    if prod((*sizes, rows, inner, columns)) > OBJECTS_MAX:
        raise Refused(
            f"a matrix product of constants has at most {OBJECTS_MAX} products; fold it before "
            "exporting"
        )
    left, right = a.reshape((*left_shape, 1)), b.reshape((*others, 1, inner, columns))
    products = np.asarray(left * right, dtype=object)
    total = np.frompyfunc(_plus, 2, 1).reduce(products, axis=-2, initial=Fraction(0))
    shape = (*sizes, *((rows,) if a.ndim > 1 else ()), *((columns,) if b.ndim > 1 else ()))
    return np.asarray(total, dtype=object).reshape(shape)


@enter(REDUCTIONS, "Gemm", least=2, most=3)
def gemm(call: Call) -> Results:
    """A times B times alpha plus beta times C, of small matrices."""
    a, b, c = call[0].fractions(), call[1].fractions(), call.optional(2)
    if a.ndim != 2 or b.ndim != 2:
        raise Refused(f"Gemm is of matrices, not {a.shape} and {b.shape}; export the model again")
    a = a.T if call.attributes.flag("transA", False) else a
    b = b.T if call.attributes.flag("transB", False) else b
    alpha, beta = call.attributes.number("alpha", 1.0), call.attributes.number("beta", 1.0)
    product = np.asarray(_matmul(a, b) * alpha, dtype=object)
    if c is not None:
        if common_shape(product.shape, c.shape) != product.shape:
            raise Refused(f"C of shape {c.shape} does not fit {product.shape}; export again")
        product = np.asarray(product + c.fractions() * beta, dtype=object)
    return made(product, call[0].dtype)
