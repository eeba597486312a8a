"""Operators on constants that compute: exactly, on reals as fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import floor, prod, trunc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fixed import Ints
from ...rounding import CEIL, DOWN, FLOOR, HALF_EVEN
from .constant import (
    BITS_MAX,
    DTYPES,
    OBJECTS_MAX,
    Constant,
    Fractions,
    Refused,
    checked,
    common_shape,
    exactly,
    float_text,
    is_float,
    limits_of,
    root,
    storage,
    whole,
)
from .rules import MANY, Call, Results, Rules, enter

ARITHMETIC: Rules = {}
POWER_MAX = 64


def made(values: Fractions, dtype: str) -> Constant:
    """Fractions as a constant; of an integer type, they must be integers of its range."""
    if is_float(dtype):
        return Constant(checked(values), dtype)
    return in_range(whole(values), dtype)


def in_range(integers: Ints, dtype: str) -> Constant:
    """Integers as a constant of an integer type, refused where they do not fit."""
    lo, hi = limits_of(dtype)
    for odd in (int(integers.min()), int(integers.max())) if integers.size else ():
        if not lo <= odd <= hi:
            raise Refused(f"{odd} is no {dtype}; use a wider type")
    return Constant(integers.astype(storage(dtype)), dtype)


def each(function: Callable[[Fraction], Fraction], x: Constant, dtype: str = "") -> Constant:
    """A function of each value."""
    values = np.frompyfunc(function, 1, 1)(x.fractions())
    return made(np.asarray(values, dtype=object), dtype or x.dtype)


def _pairs(function: Callable[[Fraction, Fraction], Any], a: Constant, b: Constant) -> Fractions:
    """A function of each two values that meet."""
    shape = common_shape(a.shape, b.shape)
    if prod(shape) > OBJECTS_MAX:
        raise Refused(
            f"exact arithmetic is done on constants of at most {OBJECTS_MAX} elements, not "
            f"{prod(shape)}; fold it before exporting"
        )
    return np.asarray(np.frompyfunc(function, 2, 1)(a.fractions(), b.fractions()), dtype=object)


def alike(*parts: Constant) -> str:
    """The type that operands share."""
    dtypes = [x.dtype for x in parts]
    if len(set(dtypes)) > 1 and not all(map(is_float, dtypes)):
        raise Refused(f"operands have one type, not {' and '.join(dtypes[:4])}; add a Cast")
    if dtypes[0] == "bool":
        raise Refused("numbers are computed with, not booleans; add a Cast")
    return dtypes[0]


@enter(ARITHMETIC, "Add", least=2)
@enter(ARITHMETIC, "Sum", most=MANY)
def add(call: Call) -> Results:
    """The sum of the inputs."""
    return _folded(call, lambda a, b: a + b)


@enter(ARITHMETIC, "Sub", least=2)
def subtract(call: Call) -> Results:
    """The first input less the second."""
    return _folded(call, lambda a, b: a - b)


def _folded(call: Call, function: Callable[[Fraction, Fraction], Fraction]) -> Constant:
    first, *others = call.all
    dtype = alike(*call.all)
    for other in others:
        first = made(_pairs(function, first, other), dtype)
    return first


@enter(ARITHMETIC, "Mul", least=2)
def multiply(call: Call) -> Results:
    """The product: of a large tensor by a smaller one, the scale alone changes."""
    a, b = sorted(call.all, key=lambda x: x.size, reverse=True)
    dtype = alike(a, b)
    if is_float(dtype) and _scales(a, b):
        return a.scaled(b.fractions())
    return made(_pairs(lambda x, y: x * y, a, b), dtype)


@enter(ARITHMETIC, "Div", least=2)
def divide(call: Call) -> Results:
    """The quotient, for integers cut off towards zero."""
    a, b = call.all
    dtype = alike(a, b)
    _check_nonzero(b)
    if is_float(dtype) and _scales(a, b):
        return a.scaled(np.asarray(1 / b.fractions(), dtype=object))
    if is_float(dtype):
        return made(_pairs(lambda x, y: x / y, a, b), dtype)
    return made(_pairs(lambda x, y: Fraction(trunc(x / y)), a, b), dtype)


def _scales(a: Constant, b: Constant) -> bool:
    """True where b is smaller than a and broadcasts to it."""
    return b.size < a.size and common_shape(a.shape, b.shape) == a.shape


def _check_nonzero(x: Constant) -> None:
    if bool((x.fractions() == 0).any()):
        raise Refused("nothing is divided by 0; export the model again")


@enter(ARITHMETIC, "Mod", least=2)
def modulo(call: Call) -> Results:
    """The rest: with the sign of the divisor, or of the dividend where fmod is 1."""
    a, b = call.all
    dtype = alike(a, b)
    _check_nonzero(b)
    cut = trunc if call.attributes.flag("fmod", False) else floor
    if is_float(dtype) and cut is floor:
        raise Refused("fmod is 1 for real numbers; export the model again")
    return made(_pairs(lambda x, y: x - y * cut(x / y), a, b), dtype)


@enter(ARITHMETIC, "Pow", least=2)
def power(call: Call) -> Results:
    """A power: whole ones exactly, and the square root and its inverse as `root` has them."""
    return made(_pairs(_power, call[0], call[1]), call[0].dtype)


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if abs(exponent) == Fraction(1, 2):
        base, exponent = root(base), 2 * exponent
    if exponent.denominator != 1 or abs(exponent) > POWER_MAX:
        raise Refused(
            f"an exponent is 0.5, -0.5 or an integer up to {POWER_MAX}, not "
            f"{float_text(exponent)}; fold it before exporting"
        )
    if base == 0 and exponent < 0:
        raise Refused("0 has no negative power; export the model again")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > 2 * BITS_MAX:
        raise Refused("the power has too many digits; fold it before exporting")
    return base ** int(exponent)


@enter(ARITHMETIC, "Neg")
def negate(call: Call) -> Results:
    """The opposite."""
    x = call[0]
    return x.scaled(exactly(-1)) if is_float(alike(x)) else each(lambda v: -v, x)


@enter(ARITHMETIC, "Abs")
def absolute(call: Call) -> Results:
    """The absolute value."""
    x = call[0]
    if not is_float(alike(x)) or x.values.dtype.kind != "f":
        return each(abs, x)
    scale = None if x.scale is None else np.asarray(np.abs(x.scale), dtype=object)
    return Constant(np.abs(x.values), x.dtype, scale)


@enter(ARITHMETIC, "Reciprocal")
def reciprocal(call: Call) -> Results:
    """One over each value."""
    _check_nonzero(call[0])
    return each(lambda v: 1 / v, call[0])


@enter(ARITHMETIC, "Sqrt")
def square_root(call: Call) -> Results:
    """The square root, as `root` has it."""
    return each(root, call[0])


@enter(ARITHMETIC, "Sign")
def sign(call: Call) -> Results:
    """-1, 0 or 1."""
    return each(lambda v: Fraction((v > 0) - (v < 0)), call[0])


@enter(ARITHMETIC, "Floor")
def round_down(call: Call) -> Results:
    """The integer below."""
    return _integral(call[0], FLOOR)


@enter(ARITHMETIC, "Ceil")
def round_up(call: Call) -> Results:
    """The integer above."""
    return _integral(call[0], CEIL)


@enter(ARITHMETIC, "Round")
def round_even(call: Call) -> Results:
    """The nearest integer, ties to even."""
    return _integral(call[0], HALF_EVEN)


def _integral(x: Constant, mode: str) -> Constant:
    return Constant(_rounded(x, mode), x.dtype)


PLAIN = {FLOOR: np.floor, CEIL: np.ceil, HALF_EVEN: np.rint, DOWN: np.trunc}


def _rounded(x: Constant, mode: str) -> Ints:
    if x.scale is None and x.values.dtype.kind == "f":
        x = Constant(PLAIN[mode](x.values), x.dtype)
        return x.integers()
    integers = x.quotients(exactly(1), exactly(0), mode)
    if integers.size and int(np.abs(integers).max()) >= 1 << 62:
        raise Refused("an integer has at most 62 bits here; scale the constant down")
    return integers


@enter(ARITHMETIC, "Cast")
def cast(call: Call) -> Results:
    """Another type: real numbers stay what they are, integers are what is cut off towards zero."""
    x, kind = call[0], call.attributes.integer("to")
    call.attributes.ignore("saturate", "round_mode")  # of float8 results
    if kind not in DTYPES:
        raise Refused(f"a Cast is to a number or boolean, not to type {kind}; convert it")
    return converted(x, DTYPES[kind])


def converted(x: Constant, dtype: str) -> Constant:
    """What a Cast to `dtype` makes of a constant."""
    if is_float(dtype):
        values = x.values.astype(np.uint8) if x.values.dtype == bool else x.values
        return Constant(values, dtype, x.scale)
    if dtype == "bool":
        return Constant(np.asarray(x.fractions() != 0, dtype=bool), dtype)
    plain = x.scale is None and x.values.dtype.kind in "iub"
    return in_range(x.integers() if plain else _rounded(x, DOWN), dtype)


Choose = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def _chosen(choose: Choose, *parts: Constant) -> NDArray[Any]:
    """A choice among values, in the type of the file where they share one: it rounds nothing."""
    first, *others = parts
    native = len({x.values.dtype for x in parts}) == 1 and first.values.dtype != object
    if native and all(x.scale is None for x in parts):
        values = first.values
        for other in others:
            common_shape(values.shape, other.shape)
            values = np.asarray(choose(values, other.values))
        return values
    values = first.fractions()
    for other in others:
        if prod(common_shape(values.shape, other.shape)) > OBJECTS_MAX:
            raise Refused(f"exact arithmetic is done on at most {OBJECTS_MAX} elements; fold it")
        values = np.asarray(choose(values, other.fractions()), dtype=object)
    return values


@enter(ARITHMETIC, "Max", most=MANY)
def largest(call: Call) -> Results:
    """The largest of the inputs."""
    return _extreme(np.maximum, *call.all)


@enter(ARITHMETIC, "Min", most=MANY)
def smallest(call: Call) -> Results:
    """The smallest of the inputs."""
    return _extreme(np.minimum, *call.all)


@enter(ARITHMETIC, "Relu")
def relu(call: Call) -> Results:
    """The larger of a value and 0."""
    x = call[0]
    zero = np.zeros((), x.values.dtype) if x.values.dtype != object else exactly(0)
    return _extreme(np.maximum, x, Constant(zero, x.dtype))


@enter(ARITHMETIC, "Clip", most=3)
def clip(call: Call) -> Results:
    """The nearest value that is at least `min` and at most `max`; an infinite bound is none."""
    x = call[0]
    lo, hi = call.number("min", 1), call.number("max", 2)
    if lo is not None and not _is(lo, -np.inf):
        x = _extreme(np.maximum, x, lo)
    if hi is not None and not _is(hi, np.inf):
        x = _extreme(np.minimum, x, hi)
    return x


def _extreme(choose: Choose, *parts: Constant) -> Constant:
    dtype = alike(*parts)
    return Constant(_chosen(choose, *parts), dtype)


def _is(bound: Constant, infinity: float) -> bool:
    return bound.values.dtype.kind == "f" and bool(bound.values == infinity)


@enter(ARITHMETIC, "Where", least=3)
def where(call: Call) -> Results:
    """The second input where the first is true, elsewhere the third."""
    condition, a, b = call.all
    _check_boolean(condition)
    if a.dtype != b.dtype and not (is_float(a.dtype) and is_float(b.dtype)):
        raise Refused(f"both choices have one type, not {a.dtype} and {b.dtype}; add a Cast")
    common_shape(condition.shape, a.shape, b.shape)
    chosen = _chosen(lambda x, y: np.where(condition.values, x, y), a, b)
    return Constant(chosen, a.dtype)


def _check_boolean(*parts: Constant) -> None:
    for x in parts:
        if x.dtype != "bool":
            raise Refused(f"a condition is boolean, not {x.dtype}; add a Cast")


def _enter_comparisons() -> None:
    comparisons: dict[str, Choose] = {
        "Equal": np.equal,
        "Less": np.less,
        "Greater": np.greater,
        "LessOrEqual": np.less_equal,
        "GreaterOrEqual": np.greater_equal,
    }
    for name, compare in comparisons.items():

        def compared(call: Call, compare: Choose = compare) -> Results:
            return Constant(_chosen(compare, call[0], call[1]).astype(bool), "bool")

        enter(ARITHMETIC, name, least=2)(compared)
    logic: dict[str, Choose] = {
        "And": np.logical_and,
        "Or": np.logical_or,
        "Xor": np.logical_xor,
    }
    for name, combine in logic.items():

        def combined(call: Call, combine: Choose = combine) -> Results:
            _check_boolean(call[0], call[1])
            return Constant(_chosen(combine, call[0], call[1]), "bool")

        enter(ARITHMETIC, name, least=2)(combined)


_enter_comparisons()


@enter(ARITHMETIC, "Not")
def negation(call: Call) -> Results:
    """True where the input is false."""
    _check_boolean(call[0])
    return Constant(np.asarray(np.logical_not(call[0].values)), "bool")
