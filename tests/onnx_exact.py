"""Exact tensors: whole numbers times one rational unit, and the arithmetic on them.

Every finite float is a rational number, so nothing here rounds except `quotients`, and only as it
is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

Array = NDArray[Any]
REAL, INT64 = int(TensorProto.FLOAT), int(TensorProto.INT64)
REALS = {
    REAL,
    int(TensorProto.DOUBLE),
    int(TensorProto.FLOAT16),
    int(TensorProto.BFLOAT16),
}
WHOLES = {
    int(value)
    for name, value in TensorProto.DataType.items()
    if name.startswith(("INT", "UINT", "BOOL"))
}


@dataclass(frozen=True, eq=False)
class Rounding:
    """What a value was before it was rounded: `over / under` steps, and where the ties lie.

    `tie` is the fraction of a step at which the rounding jumps (1/2 or 0), or None where it jumps
    at zero alone (a sign).
    """

    over: Array
    under: Array
    tie: Fraction | None

    def unrounded(self) -> Array:
        """The values in steps of the result, its zero point included, as `Fraction`."""
        return np.asarray(_fractions(self.over, self.under), dtype=object)

    def distance(self) -> Array:
        """How far each value lies from the nearest tie, in steps, as `Fraction`."""
        values = self.unrounded()
        if self.tie is None:
            return np.asarray(np.abs(values), dtype=object)
        past = (values - self.tie) % 1
        return np.asarray(np.minimum(past, 1 - past), dtype=object)

    def moved(self, move: Callable[[Array], Array]) -> Rounding:
        shape = np.broadcast_shapes(self.over.shape, self.under.shape)
        over, under = (move(np.broadcast_to(side, shape)) for side in (self.over, self.under))
        return Rounding(over, under, self.tie)


_fractions = np.frompyfunc(Fraction, 2, 1)
_whole = np.frompyfunc(int, 1, 1)


@dataclass(frozen=True, eq=False)
class Exact:
    """The tensor `count * unit`: Python ints in an object array, and a positive unit.

    `kind` is the element type in ONNX's numbers; what is not an integer type counts as real.
    """

    count: Array
    unit: Fraction = Fraction(1)
    kind: int = REAL
    rounding: Rounding | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.count.shape

    @property
    def integral(self) -> bool:
        return self.kind not in REALS

    def fractions(self) -> Array:
        """The values as an object array of `Fraction`."""
        return np.asarray(_fractions(self.count, 1) * self.unit, dtype=object)

    def array(self) -> Array:
        """The values: int64 for an integer type, `Fraction` in an object array for a real one."""
        return self.integers() if self.integral else self.fractions()

    def integers(self) -> Array:
        """The values as int64; ValueError where one is not a whole number."""
        if self.unit.denominator != 1:
            raise ValueError("a whole number is needed here, and the tensor holds fractions")
        return np.asarray(self.count * self.unit.numerator).astype(np.int64)

    def moved(self, move: Callable[[Array], Array]) -> Exact:
        """The same values elsewhere: `move` reorders, repeats or leaves out elements."""
        rounding = self.rounding and self.rounding.moved(move)
        return Exact(as_object(move(self.count)), self.unit, self.kind, rounding)

    def differs(self, other: Exact) -> Array:
        """Where the values of two tensors of one shape are not the same."""
        assert self.shape == other.shape, f"shapes {self.shape} and {other.shape}"
        unit = common_unit(self, other)
        return np.asarray(self.in_unit(unit) != other.in_unit(unit), dtype=bool)

    def in_unit(self, unit: Fraction) -> Array:
        factor = self.unit / unit
        assert factor.denominator == 1
        return self.count if factor == 1 else self.count * factor.numerator


def as_object(values: Any) -> Array:
    """An object array of Python ints, also where NumPy would return a bare number."""
    return np.asarray(_whole(np.asarray(values, dtype=object)), dtype=object)


def exact(values: Array, kind: int) -> Exact:
    """The tensor that holds exactly these finite numbers."""
    if kind not in REALS | WHOLES:
        raise NotImplementedError(f"the element type {TensorProto.DataType.Name(kind)}")
    if values.dtype == object:
        return from_fractions(values, kind)
    if values.dtype.kind in "iub" or kind not in REALS:
        return Exact(as_object(values.astype(np.int64)), kind=kind)
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("a value that is not finite has no exact meaning")
    mantissa, exponent = np.frexp(wide)
    whole, exponent = as_object(np.ldexp(mantissa, 53).astype(np.int64)), exponent - 53
    lowest = int(exponent.min(initial=0))
    return reduced(whole << as_object(exponent - lowest), Fraction(2) ** lowest, kind)


def from_fractions(values: Array, kind: int = REAL) -> Exact:
    """The tensor of an object array of `Fraction` or int."""
    under = lcm(*(Fraction(value).denominator for value in values.flat))
    return reduced(as_object(values * under), Fraction(1, under), kind)


def reduced(count: Array, unit: Fraction, kind: int) -> Exact:
    """The tensor in the largest unit that it has."""
    count = as_object(count)
    common = gcd(*count.flat)
    if common <= 1:
        return Exact(count, unit, kind)
    return Exact(as_object(count // common), unit * common, kind)


def scalar(value: float | Fraction) -> Exact:
    """One real number."""
    return from_fractions(np.asarray(Fraction(value), dtype=object))


def common_unit(*tensors: Exact) -> Fraction:
    """The largest unit in which all of them are whole."""
    units = [tensor.unit for tensor in tensors]
    under = lcm(*(unit.denominator for unit in units))
    return Fraction(gcd(*(int(unit * under) for unit in units)), under)


def joined(parts: list[Exact]) -> Exact:
    """Tensors of one kind, one after the other along the first axis."""
    if len(parts) == 1:
        return parts[0]
    unit = common_unit(*parts)
    return Exact(np.concatenate([part.in_unit(unit) for part in parts]), unit, parts[0].kind)


def add(a: Exact, b: Exact, sign: int = 1) -> Exact:
    """`a + sign * b`, broadcast."""
    unit = common_unit(a, b)
    return Exact(as_object(a.in_unit(unit) + sign * b.in_unit(unit)), unit, a.kind)


def multiply(a: Exact, b: Exact) -> Exact:
    """`a * b`, broadcast."""
    return Exact(as_object(a.count * b.count), a.unit * b.unit, a.kind)


def divide(a: Exact, b: Exact) -> Exact:
    """`a / b`, broadcast: between integer types towards zero, as ONNX has it."""
    if a.integral:
        return Exact(quotients(*ratio(a, b), "DOWN"), kind=a.kind)
    return from_fractions(np.asarray(_fractions(*ratio(a, b)), dtype=object), a.kind)


def ratio(a: Exact, b: Exact) -> tuple[Array, Array]:
    """`a / b` as whole numbers over positive whole numbers, not broadcast."""
    if not np.all(b.count != 0):
        raise ValueError("a division by zero")
    unit = a.unit / b.unit
    sign = np.where(b.count < 0, -1, 1).astype(object)
    over, under = a.count * unit.numerator, b.count * sign * unit.denominator
    return as_object(over * sign), as_object(under)


TIES = {
    "ROUND": Fraction(1, 2),
    "HALF_EVEN": Fraction(1, 2),
    "HALF_UP": Fraction(1, 2),
    "HALF_DOWN": Fraction(1, 2),
    "FLOOR": Fraction(0),
    "CEIL": Fraction(0),
    "UP": Fraction(0),
    "DOWN": Fraction(0),
    "ROUND_TO_ZERO": Fraction(0),
}
"""Every rounding mode of QONNX, and the fraction of a step at which it jumps."""


def quotients(over: Array, under: Array, mode: str) -> Array:
    """`over / under` rounded to whole numbers; `under` is positive, `mode` one of `TIES`."""
    over, under = as_object(over), as_object(under)
    sign, size = np.where(over < 0, -1, 1).astype(object), np.abs(over)
    match mode.upper():
        case "ROUND" | "HALF_EVEN":
            nearest = (2 * over + under) // (2 * under)
            tied = (2 * over + under) % (2 * under) == 0
            rounded = nearest - (tied & (nearest % 2 == 1))
        case "FLOOR":
            rounded = over // under
        case "CEIL":
            rounded = -(-over // under)
        case "UP":
            rounded = sign * -(-size // under)
        case "DOWN" | "ROUND_TO_ZERO":
            rounded = sign * (size // under)
        case "HALF_UP":
            rounded = sign * ((2 * size + under) // (2 * under))
        case "HALF_DOWN":
            rounded = sign * -((under - 2 * size) // (2 * under))
        case _:
            raise NotImplementedError(f"the rounding mode {mode!r}")
    return as_object(rounded)


def matmul(a: Exact, b: Exact) -> Exact:
    """The matrix product over the last two axes, as NumPy's."""
    return Exact(_integer_matmul(a.count, b.count), a.unit * b.unit, a.kind)


def _integer_matmul(a: Array, b: Array) -> Array:
    terms = a.shape[-1]
    spare = 62 - terms.bit_length()
    if _bits(a) + _bits(b) <= spare:
        return as_object(np.matmul(a.astype(np.int64), b.astype(np.int64)))
    width = spare // 2 - 1
    total = sum(
        as_object(np.matmul(low, high)) << (width * (i + j))
        for i, low in enumerate(_limbs(a, width))
        for j, high in enumerate(_limbs(b, width))
    )
    return as_object(total)


def _bits(values: Array) -> int:
    return int(np.max(np.abs(values), initial=0)).bit_length()


def _limbs(values: Array, width: int) -> list[Array]:
    """int64 arrays whose sum, each shifted by `width` more than the one before, is `values`."""
    limbs: list[Array] = []
    while _bits(values) > width:
        limbs.append((values & ((1 << width) - 1)).astype(np.int64))
        values = values >> width
    return [*limbs, values.astype(np.int64)]
