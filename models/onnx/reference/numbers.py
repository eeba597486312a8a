"""Tensors of exact real numbers, as fast as whole arrays: integers times one common unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..constants.arithmetic import in_range
from ..constants.constant import Constant, Refused, common_shape, exactly, is_float

Whole = NDArray[Any]
"""int64, or an object array of Python's integers."""

PLAIN_BITS = 62
"""Bits of integers that are kept as int64: a sign and one bit are left."""
ROOM_BITS = 1 << 32
"""Bits that a tensor of wider integers may take: 512 MiB."""
NUMBER_BITS = 1 << 16
"""Bits of one number; each quantised layer adds some 50."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """The tensor `counts * unit`, the unit positive.

    `counts` is int64, or holds Python's integers where some have more than `PLAIN_BITS` bits.
    """

    counts: Whole
    unit: Fraction

    def __post_init__(self) -> None:
        check_room(1, max(self.unit.numerator.bit_length(), self.unit.denominator.bit_length()))

    @classmethod
    def of(cls, x: Constant) -> Numbers:
        """The exact values of a constant."""
        numbers = _of_array(x.values)
        if x.scale is None:
            return numbers
        if x.scale.shape:
            return numbers * _of_fractions(x.scale)
        scale = Fraction(x.scale.item())
        if not scale:
            return cls(np.zeros(x.shape, np.int64), Fraction(1))
        scaled = cls(numbers.counts, numbers.unit * abs(scale))
        return scaled if scale > 0 else -scaled

    @classmethod
    def held(cls, counts: Any, unit: Fraction) -> Numbers:
        """These integers in the type that is theirs."""
        values = _array(counts)
        if values.dtype == object and bits(values) <= PLAIN_BITS:
            values = values.astype(np.int64)
        return cls(values, unit)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.counts.shape

    def constant(self, dtype: str) -> Constant:
        """The same as a constant; of an integer type, they must be integers of its range."""
        if is_float(dtype):
            return Constant(self.counts, dtype, exactly(self.unit))
        if self.unit.denominator != 1:
            raise Refused(f"real numbers are no {dtype}; add a Cast")
        return in_range(self.in_unit(Fraction(1)), dtype)

    def in_unit(self, unit: Fraction) -> Whole:
        """The counts of a unit of which this one is a multiple, or of any where all are 0."""
        if not bits(self.counts):
            return self.counts
        factor = self.unit / unit
        assert factor.denominator == 1
        if factor == 1:
            return self.counts
        size = bits(self.counts) + factor.numerator.bit_length()
        return _array(wide(self.counts, size) * factor.numerator)

    def moved(self, move: Callable[[Whole], Whole]) -> Numbers:
        """The same values elsewhere."""
        return Numbers(_array(move(self.counts)), self.unit)

    def __neg__(self) -> Numbers:
        return self.moved(np.negative)

    def __sub__(self, other: Numbers) -> Numbers:
        return self + -other

    def __add__(self, other: Numbers) -> Numbers:
        (a, b), unit = aligned(self, other)
        shape = common_shape(a.shape, b.shape)
        size = max(bits(a), bits(b)) + 1
        return Numbers.held(wide(a, size, shape) + wide(b, size, shape), unit)

    def __mul__(self, other: Numbers) -> Numbers:
        a, b = self.counts, other.counts
        shape = common_shape(a.shape, b.shape)
        size = bits(a) + bits(b)
        return Numbers.held(wide(a, size, shape) * wide(b, size, shape), self.unit * other.unit)

    def inverse(self) -> Numbers:
        """One over each value."""
        if not bool((self.counts != 0).all()):
            raise Refused("nothing is divided by 0; export the model again")
        below = lcm_of(self.counts)
        return Numbers.held(below // self.counts.astype(object), 1 / (self.unit * below))

    def total(self, axes: tuple[int, ...], keep: bool) -> Numbers:
        """The sum along axes."""
        terms = prod(self.shape[axis] for axis in axes)
        values = wide(self.counts, bits(self.counts) + terms.bit_length())
        return Numbers.held(values.sum(axis=axes, keepdims=keep), self.unit)


def pure(x: Constant) -> Constant:
    """The same without NumPy's own integers among Python's, with which NumPy pads them."""
    if x.values.dtype != object or set(map(type, x.values.reshape(-1).tolist())) <= {int, Fraction}:
        return x
    return Constant(_array(_python(x.values)), x.dtype, x.scale)


def number(value: Fraction | int) -> Numbers:
    """One number, of shape ()."""
    exact = Fraction(value)
    return Numbers.held(np.asarray(exact.numerator, dtype=object), Fraction(1, exact.denominator))


def aligned(*parts: Numbers) -> tuple[list[Whole], Fraction]:
    """The counts of each in the largest unit that they share."""
    # A unit that nothing is counted in would only make the others longer.
    units = [part.unit for part in parts if bits(part.counts)] or [Fraction(1)]
    below = lcm(*(unit.denominator for unit in units))
    unit = Fraction(gcd(*(int(unit * below) for unit in units)), below)
    return [part.in_unit(unit) for part in parts], unit


def chosen(choose: Callable[[Whole, Whole], Whole], a: Numbers, b: Numbers) -> Numbers:
    """A choice among values that meet, like the larger one."""
    (left, right), unit = aligned(a, b)
    common_shape(left.shape, right.shape)
    return Numbers.held(choose(left, right), unit)


def larger(a: Numbers, b: Numbers) -> Numbers:
    """The larger of values that meet."""
    return chosen(np.maximum, a, b)


def smaller(a: Numbers, b: Numbers) -> Numbers:
    """The smaller of values that meet."""
    return chosen(np.minimum, a, b)


Product = Callable[[Whole, Whole], Whole]


def product(multiply: Product, a: Numbers, b: Numbers, terms: int) -> Numbers:
    """`multiply` of both, a sum of `terms` products of one value of each, linear in either.

    Wide integers are cut into parts of which int64 holds such sums.
    """
    spare = PLAIN_BITS - terms.bit_length()
    left, right = bits(a.counts), bits(b.counts)
    narrow = min(left, right, spare // 2)
    widths = (narrow, spare - narrow) if left <= right else (spare - narrow, narrow)
    parts = [
        (p + q, _array(multiply(low, high)))
        for p, low in _parts(a.counts, widths[0])
        for q, high in _parts(b.counts, widths[1])
    ]
    size = left + right + terms.bit_length()
    total = parts[0][1]
    for shift, values in parts[1:]:
        total = wide(total, size) + (wide(values, size) << shift)
    return Numbers.held(total, a.unit * b.unit)


def _parts(values: Whole, width: int) -> list[tuple[int, Whole]]:
    """int64 arrays of at most `width` bits, and how far to the left each stands."""
    parts: list[tuple[int, Whole]] = []
    shift = 0
    while bits(values) > width:
        parts.append((shift, _array(values & ((1 << width) - 1)).astype(np.int64)))
        values, shift = _array(values >> width), shift + width
    return [*parts, (shift, values.astype(np.int64))]


def bits(values: Whole) -> int:
    """Bits of the largest magnitude."""
    if not values.size:
        return 0
    return max(abs(int(values.min())), abs(int(values.max()))).bit_length()


def wide(values: Whole, size: int, shape: tuple[int, ...] | None = None) -> Whole:
    """The same integers in a type of which results of `size` bits (and of `shape`) can be."""
    if size <= PLAIN_BITS:
        return values
    check_room(prod(values.shape if shape is None else shape), size)
    return values.astype(object)


def check_room(elements: int, size: int) -> None:
    """Refuse numbers of more than `NUMBER_BITS` bits, or more than memory bears."""
    if size > NUMBER_BITS:
        raise Refused(
            f"exact values have {size} bits, above the limit of {NUMBER_BITS}; quantise the model "
            "statically"
        )
    if elements * size > ROOM_BITS:
        raise Refused(
            f"{elements} exact values of {size} bits take more than {ROOM_BITS} bits; quantise the "
            "model statically"
        )


def lcm_of(values: Whole) -> int:
    """The least common multiple of integers that are not 0."""
    below = 1
    for value in {abs(int(value)) for value in values.reshape(-1)}:
        below = lcm(below, value)
        check_room(values.size, below.bit_length())
    return below


def _array(values: Any) -> Whole:
    """What NumPy made a bare number of, as an array again."""
    return values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)


_python = np.frompyfunc(lambda v: v if isinstance(v, Fraction) else int(v), 1, 1)
_numerator = np.frompyfunc(lambda value: value.numerator, 1, 1)
_denominator = np.frompyfunc(lambda value: value.denominator, 1, 1)


def _of_array(values: NDArray[Any]) -> Numbers:
    kind = values.dtype.kind
    if kind == "f":
        return _of_floats(values)
    if kind == "O":
        return _of_fractions(values)
    return Numbers.held(values.astype(object if kind == "u" else np.int64), Fraction(1))


def _of_floats(values: NDArray[Any]) -> Numbers:
    """Floats as their bits say: odd integers, each shifted."""
    finite = np.isfinite(values)
    if not bool(finite.all()):
        odd = values[~finite].reshape(-1)[0]
        raise Refused(f"a value is a finite number, not {odd}; export the model again")
    parts, exponents = np.frexp(values.astype(np.float64))
    counts = np.asarray(np.ldexp(parts, 53)).astype(np.int64)
    some = counts != 0
    if not bool(some.any()):
        return Numbers(counts, Fraction(1))
    zeros = np.where(some, np.frexp((counts & -counts).astype(np.float64))[1] - 1, 0)
    counts, places = counts >> zeros, exponents.astype(np.int64) - 53 + zeros
    lowest = int(places[some].min())
    shifts = np.where(some, places - lowest, 0)
    size = bits(counts) + int(shifts.max())
    shifted = wide(counts, size) << shifts
    return Numbers.held(shifted, Fraction(2) ** lowest)


def _of_fractions(values: NDArray[Any]) -> Numbers:
    """Fractions, or the integers of another `Numbers`."""
    if set(map(type, values.reshape(-1).tolist())) <= {int}:
        return Numbers.held(values, Fraction(1))
    below = lcm_of(_array(_denominator(values)))
    return Numbers.held(_numerator(values * below), Fraction(1, below))
