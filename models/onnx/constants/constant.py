"""Tensors that are known when a graph is read, as the exact real numbers they stand for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fixed import INT64_MAX, Ints, ProgramError
from ...program import MAX_ELEMENTS
from ...rounding import quotients, rounded
from ..graph import Node

Fractions = NDArray[np.object_]
"""Object arrays of `fractions.Fraction`."""

OBJECTS_MAX = 1 << 20
"""Elements on which exact arithmetic is done one by one."""
MADE_MAX = 1 << 24
"""Elements of a constant that is made by repeating, filling or joining others."""
BITS_MAX = 1 << 12
"""Bits of a numerator or denominator; float64 needs 1074, and products add up."""
ALL_BITS_MAX = 1 << 28
"""Of all numbers of an array, each as long as the longest."""
RANK_MAX = 16
CHUNK = 1 << 22
"""Elements that are rounded at a time."""

NO_INTEGER = "an integer of at most 64 bits is needed here, not {}; export the model again"

DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
    21: "uint4",
    22: "int4",
    25: "uint2",
    26: "int2",
}
"""ONNX's numbers of element types, and what `Constant.dtype` calls them."""


class Refused(ProgramError):
    """A rule that a constant breaks, not yet saying at which node: see `blamed`."""


@contextmanager
def blamed(node: Node) -> Generator[None]:
    """Let a `Refused` raised inside name the node."""
    try:
        yield
    except Refused as error:
        raise ProgramError(f"{node}: {error}") from None


def check_count(what: str, count: int, least: int, most: int) -> None:
    """Refuse a node that has too few or too many inputs or outputs."""
    if not least <= count <= most:
        span = str(least) if least == most else f"{least} to {most}"
        raise Refused(f"it has {span} {what}, not {count}; export the model again")


def is_float(dtype: str) -> bool:
    """True for the types that stand for real numbers."""
    return "float" in dtype


def limits_of(dtype: str) -> tuple[int, int]:
    """The smallest and largest value of an integer type."""
    if dtype == "bool":
        return 0, 1
    kind, _, bits = dtype.partition("int")
    if not bits.isdecimal():
        raise Refused(f"an integer type is needed here, not {dtype}; add a Cast")
    return (
        (0, (1 << int(bits)) - 1) if kind else (-(1 << (int(bits) - 1)), (1 << int(bits) - 1) - 1)
    )


def storage(dtype: str) -> np.dtype[Any]:
    """The NumPy type that holds an integer type: 2 and 4 bits take 8."""
    narrow = {"uint4": "uint8", "uint2": "uint8", "int4": "int8", "int2": "int8"}
    return np.dtype(narrow.get(dtype, dtype))


def sized(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple, refused where it is too large; to be asked before memory is taken."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) > RANK_MAX:
        raise Refused(f"a tensor has at most {RANK_MAX} dimensions, not {len(sizes)}; reshape it")
    if min(sizes, default=0) < 0:
        raise Refused(f"a size is 0 or more, not {min(sizes)}; export the model again")
    if prod(size for size in sizes if size) > MAX_ELEMENTS:
        raise Refused(
            f"shape {sizes} has {prod(sizes)} elements, above the limit of {MAX_ELEMENTS}; split "
            "the network"
        )
    return sizes


def made_size(shape: Sequence[int]) -> tuple[int, ...]:
    """`sized` for an array that is made of little: no file has to hold it."""
    sizes = sized(shape)
    if prod(sizes) > MADE_MAX:
        raise Refused(
            f"a constant of shape {sizes} has {prod(sizes)} elements, above the limit of "
            f"{MADE_MAX} for computed ones; store it as an initialiser"
        )
    return sizes


def common_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which all of these broadcast."""
    try:
        return sized(np.broadcast_shapes(*shapes))
    except Refused:
        raise
    except ValueError:
        listed = " and ".join(map(str, shapes))
        raise Refused(f"shapes {listed} do not broadcast; export the model again") from None


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor of known real numbers, exactly `values * scale`.

    `values` is an array as the file has it, or an object array of fractions.  Of a quantised tensor
    it holds int64 numerators.  `scale` broadcasts to it, has any sign, and is 1 where it is None;
    one that is the same everywhere has shape ().  `dtype` is the element type that the graph
    believes in ("float32", "int64", "uint4", ...); what is no integer type is not rounded to it.
    """

    values: NDArray[Any]
    dtype: str
    scale: Fractions | None = None

    def __post_init__(self) -> None:
        # NumPy makes bare numbers of what operators give for arrays of shape ().
        object.__setattr__(self, "values", np.asarray(self.values))
        if self.scale is not None:
            scale = np.asarray(self.scale, dtype=object)
            object.__setattr__(self, "scale", scale.reshape(()) if scale.size == 1 else scale)

    @classmethod
    def of(cls, values: NDArray[Any]) -> Constant:
        """A tensor of the file."""
        return cls(values, values.dtype.name)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def size(self) -> int:
        return self.values.size

    def fractions(self) -> Fractions:
        """The exact values."""
        if self.size > OBJECTS_MAX:
            raise Refused(
                f"exact arithmetic is done on constants of at most {OBJECTS_MAX} elements, not "
                f"{self.size}; fold it before exporting"
            )
        values = self.values
        if values.dtype != object:
            self._check_finite()
            wide = values.astype(np.float64) if values.dtype.kind == "f" else values.astype(object)
            values = np.asarray(_fraction(wide.astype(object)), dtype=object)
        return values if self.scale is None else np.asarray(values * self.scale, dtype=object)

    def integers(self) -> Ints:
        """The values as int64; refused where one is no integer, or too large."""
        values, kind = self.values, self.values.dtype.kind
        if self.scale is not None or kind == "O":
            return whole(self.fractions())
        self._check_finite()
        wrong = np.zeros_like(values, bool)
        if kind == "f":
            wrong = (values != np.trunc(values)) | (np.abs(values) >= 2.0**63)
        elif values.dtype == np.uint64:
            wrong = values > INT64_MAX
        if bool(wrong.any()):
            odd = values[wrong].reshape(-1)[0]
            raise Refused(NO_INTEGER.format(float_text(odd) if kind == "f" else odd))
        return values.astype(np.int64)

    def quotients(self, scale: Fractions, offset: Fractions, mode: str) -> Ints:
        """(value - offset) / scale rounded, exactly, and then clamped to 2**62 either way.

        `scale` is positive and broadcasts, like `offset`, against the values.
        """
        if self.size > CHUNK and self.shape[0] > 1:
            return self._quotients_of_rows(scale, offset, mode)
        divisors, shifts = scale, offset
        if self.scale is not None:
            size = np.asarray(np.abs(self.scale) + (self.scale == 0), dtype=object)
            divisors = np.asarray(scale / size, dtype=object)
            shifts = np.asarray(offset / size, dtype=object)
        if not _doubles(self.values) or not _ordinary(divisors, shifts):
            exact = (self.fractions() - offset) / scale
            return np.asarray(_rounded(mode, exact)).astype(np.int64)
        self._check_finite()
        values = np.atleast_1d(self.values.astype(np.float64))
        if self.scale is not None:
            values *= _signs(self.scale)
        with np.errstate(all="ignore"):
            return quotients(values, divisors, shifts, mode).reshape(self.shape)

    def _quotients_of_rows(self, scale: Fractions, offset: Fractions, mode: str) -> Ints:
        """`quotients` of some rows at a time: it takes fifty bytes for each value."""
        total, rank = self.shape[0], len(self.shape)
        rows = max(1, CHUNK * total // self.size)
        result = np.empty(self.shape, np.int64)
        for start in range(0, total, rows):
            cut = slice(start, start + rows)
            scales, offsets = (
                a[cut] if a.ndim == rank and a.shape[0] > 1 else a for a in (scale, offset)
            )
            result[cut] = self.moved(lambda v, cut=cut: v[cut]).quotients(scales, offsets, mode)
        return result

    def nonnegative(self) -> NDArray[np.bool_]:
        """Where the values are 0 or more."""
        if self.values.dtype != object:
            self._check_finite()
        plus = np.asarray(self.values >= 0, dtype=bool)
        if self.scale is None:
            return plus
        signs = _signs(self.scale)
        minus = np.asarray(self.values <= 0, dtype=bool)
        return (signs == 0) | np.where(signs > 0, plus, minus)

    def moved(self, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Constant:
        """The same values elsewhere: `move` reorders, repeats or leaves out elements."""
        values = np.asarray(move(self.values))
        if self.scale is None or not self.scale.shape:
            return Constant(values, self.dtype, self.scale)
        numbers = np.arange(self.scale.size, dtype=np.int32).reshape(self.scale.shape)
        numbers = compact(np.asarray(move(np.broadcast_to(numbers, self.shape))))
        return Constant(values, self.dtype, self.scale.reshape(-1)[numbers])

    def scaled(self, factor: Fractions) -> Constant:
        """The values times factors that broadcast to them."""
        scale = factor if self.scale is None else np.asarray(self.scale * factor, dtype=object)
        return Constant(self.values, self.dtype, checked(scale))

    def _check_finite(self) -> None:
        if self.values.dtype.kind == "f":
            finite = np.isfinite(self.values)
            if not bool(finite.all()):
                odd = self.values[~finite].reshape(-1)[0]
                raise Refused(f"a constant is a finite number, not {odd}; export the model again")


_fraction = np.frompyfunc(Fraction, 1, 1)
_denominator = np.frompyfunc(lambda value: value.denominator, 1, 1)
_numerator = np.frompyfunc(lambda value: value.numerator, 1, 1)
_bits = np.frompyfunc(
    lambda value: max(value.numerator.bit_length(), value.denominator.bit_length()), 1, 1
)
_LARGE, _SMALL = Fraction(2) ** 900, Fraction(1, 2**900)


def exactly(value: Fraction | int) -> Fractions:
    """One number as an array of shape ()."""
    return np.asarray(Fraction(value), dtype=object)


def whole(values: Fractions) -> Ints:
    """Fractions as int64; refused where one is no integer, or too large."""
    wrong = np.asarray(_denominator(values) != 1) | np.asarray(np.abs(values) > INT64_MAX)
    if bool(wrong.any()):
        odd = np.asarray(values)[wrong].reshape(-1)[0]
        raise Refused(NO_INTEGER.format(float_text(odd)))
    return np.asarray(_numerator(values)).astype(np.int64)


def checked(values: Fractions) -> Fractions:
    """The same, refused where numbers have grown beyond any use."""
    bits = int(np.max(_bits(values))) if values.size else 0
    if bits > BITS_MAX:
        raise Refused(
            f"exact arithmetic makes numbers of more than {BITS_MAX} bits; fold the constants "
            "before exporting"
        )
    if bits * values.size > ALL_BITS_MAX:
        raise Refused(
            f"exact arithmetic makes {values.size} numbers of {bits} bits, above the limit of "
            f"{ALL_BITS_MAX} bits in all; fold the constants before exporting"
        )
    return values


def float_text(value: Fraction | float) -> str:
    """A real number for a message."""
    try:
        return f"{float(value):.9g}"
    except OverflowError:
        return "a number beyond float64"


def compact(numbers: NDArray[Any]) -> NDArray[Any]:
    """`numbers` with size 1 along every axis along which nothing changes; () where nothing does."""
    for axis in range(numbers.ndim):
        first = numbers[(slice(None),) * axis + (slice(0, 1),)]
        if numbers.shape[axis] > 1 and bool((numbers == first).all()):
            numbers = first
    return numbers


def root(value: Fraction) -> Fraction:
    """The square root: exact where it is rational, otherwise low by less than 2**-256 of it."""
    if value < 0:
        raise Refused(
            f"a square root is of a number that is 0 or more, not {float_text(value)}; export the "
            "model again"
        )
    over, under = isqrt(value.numerator), isqrt(value.denominator)
    if over * over == value.numerator and under * under == value.denominator:
        return Fraction(over, under)
    product = value.numerator * value.denominator
    shift = max(0, 260 - product.bit_length() // 2)
    return Fraction(isqrt(product << 2 * shift), value.denominator << shift)


def _signs(scale: Fractions) -> Ints:
    return np.asarray(np.sign(scale), dtype=np.int64)


def _doubles(values: NDArray[Any]) -> bool:
    """True where float64 holds all values."""
    if values.dtype.kind not in "iu":
        return values.dtype != object
    return not values.size or max(abs(int(values.min())), abs(int(values.max()))) <= 1 << 53


def _ordinary(divisors: Fractions, shifts: Fractions) -> bool:
    """True where float64 holds all numbers with its full relative precision."""
    inside = np.asarray(divisors >= _SMALL).all() and np.asarray(divisors <= _LARGE).all()
    return bool(inside and np.asarray(np.abs(shifts) <= _LARGE).all())


def _round(mode: str, value: Fraction) -> int:
    return min(max(rounded(mode, value), -(1 << 62)), 1 << 62)


_rounded = np.frompyfunc(_round, 2, 1)
