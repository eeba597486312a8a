"""What the quantisers of ONNX and QONNX mean, once their parameters have been checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fixed import Ints
from ..rounding import CEIL, DOWN, FLOOR, HALF_DOWN, HALF_EVEN, HALF_UP, UP
from .constants.constant import (
    DTYPES,
    Constant,
    Fractions,
    Refused,
    blamed,
    check_count,
    exactly,
    float_text,
    is_float,
    limits_of,
    storage,
)
from .graph import MICROSOFT, ONNX, QONNX, Node
from .parameters import Attributes

BIPOLAR = "bipolar"
"""The `Quantiser.mode` that makes +1 of what is 0 or more, -1 of the rest."""

MODES = {
    "ROUND": HALF_EVEN,
    "HALF_EVEN": HALF_EVEN,
    "CEIL": CEIL,
    "FLOOR": FLOOR,
    "UP": UP,
    "DOWN": DOWN,
    "ROUND_TO_ZERO": DOWN,
    "HALF_UP": HALF_UP,
    "HALF_DOWN": HALF_DOWN,
}
"""QONNX's names of rounding modes, in capitals.  UP is away from zero and HALF_UP in ties alone."""

ZERO_MAX = 1 << 32
"""The largest zero point where no type bounds it."""
INTEGERS_MAX = 32
"""The largest bit width."""

Inputs = Sequence[Constant | None]


@dataclass(frozen=True, eq=False)
class Quantiser:
    """x -> clamp(round(x / scale [+ zero inside]) [+ zero outside], lo, hi).

    `inside` says that the zero point is added before rounding (QONNX), else after (ONNX).  `mode`
    is one of `rounding.MODES`, or `BIPOLAR`: then the integer is +1 where x / scale + zero >= 0,
    else -1.  `scale` and `zero` have shape (), or one that broadcasts to x.  What flows on is the
    integer, of the type `dtype`, or where `real` the number (integer - zero) * scale.
    """

    scale: Fractions
    zero: Ints
    lo: int
    hi: int
    mode: str
    inside: bool
    real: bool
    dtype: str

    def integers(self, x: Constant) -> Ints:
        """The integers of a constant."""
        _check_fits(x, self.scale, self.zero)
        offset = exactly(0) if not self.inside else _product(-self.zero, self.scale)
        if self.mode == BIPOLAR and not self.zero.any():
            return np.where(x.nonnegative(), 1, -1).astype(np.int64)
        if self.mode == BIPOLAR:
            return np.where(x.quotients(self.scale, offset, FLOOR) >= 0, 1, -1).astype(np.int64)
        steps = x.quotients(self.scale, offset, self.mode)
        return np.clip(steps if self.inside else steps + self.zero, self.lo, self.hi)

    def __call__(self, x: Constant) -> Constant:
        """What the quantiser makes of a constant."""
        integers = self.integers(x)
        if self.real:
            return Constant(integers - self.zero, self.dtype, self.scale)
        return Constant(integers.astype(storage(self.dtype)), self.dtype)


def quantiser(node: Node, inputs: Inputs, rank: int) -> Quantiser:
    """Read a `QuantizeLinear`, `Quant`, `IntQuant` or `BipolarQuant` whose x has `rank` axes.

    `inputs` are all inputs of the node, None where they are omitted; x itself may be None.
    """
    with blamed(node):
        _check_count(node, inputs)
        return QUANTISERS[node.domain, node.op](node, inputs, rank)


def dequantiser(node: Node, inputs: Inputs, rank: int) -> tuple[Fractions, Ints]:
    """The scale and zero point of a `DequantizeLinear`: it means (x - zero) * scale."""
    with blamed(node):
        _check_count(node, inputs)
        attributes = Attributes(node)
        axis = _axis(attributes)
        attributes.done()
        scale, zero = _scale(_input(inputs, 1, "scale")), _optional(inputs, 2)
        x = _optional(inputs, 0)
        if x is not None and is_float(x.dtype):
            raise Refused(f"integers are dequantised, not {x.dtype}; export the model again")
        if zero is None:
            return _along(scale, rank, axis), np.zeros((), np.int64)
        if x is not None and x.dtype != zero.dtype:
            raise Refused(
                f"x and the zero point have one type, not {x.dtype} and {zero.dtype}; export the "
                "model again"
            )
        points = _points(zero)
        _check_pair(scale, points)
        return _along(scale, rank, axis), _along(points, rank, axis)


def _quantize_linear(node: Node, inputs: Inputs, rank: int) -> Quantiser:
    attributes = Attributes(node)
    axis = _axis(attributes)
    kind = attributes.integer("output_dtype", 0)
    attributes.ignore("saturate", "precision")  # of float8 results, and of the division in floats
    attributes.done()
    scale, zero = _scale(_input(inputs, 1, "scale")), _optional(inputs, 2)
    stated = DTYPES.get(kind, f"type {kind}") if kind else None
    dtype = zero.dtype if zero is not None else stated or "uint8"
    if stated not in (None, dtype):
        raise Refused(
            f"output_dtype and the zero point have one type, not {stated} and {dtype}; export the "
            "model again"
        )
    points = _points(zero)
    lo, hi = limits_of(dtype)
    _check_pair(scale, points)
    scale, points = _along(scale, rank, axis), _along(points, rank, axis)
    return Quantiser(scale, points, lo, hi, HALF_EVEN, False, False, dtype)


def _quant(node: Node, inputs: Inputs, rank: int) -> Quantiser:
    attributes = Attributes(node)
    signed, narrow = attributes.flag("signed", True), attributes.flag("narrow", True)
    mode = rounding_mode(attributes, "ROUND")
    attributes.done()
    scale = _placed(_scale(_input(inputs, 1, "scale")), rank)
    zero = _placed(_zero_point(_input(inputs, 2, "zero point")), rank)
    bits = bit_width(_input(inputs, 3, "bit width"))
    if signed and bits == 1:
        return Quantiser(scale, zero, -1, 1, BIPOLAR, True, True, "float32")
    lo, hi = integer_range(bits, signed, narrow)
    return Quantiser(scale, zero, lo, hi, mode, True, True, "float32")


def _bipolar_quant(node: Node, inputs: Inputs, rank: int) -> Quantiser:
    Attributes(node).done()
    scale = _placed(_scale(_input(inputs, 1, "scale")), rank)
    return Quantiser(scale, np.zeros((), np.int64), -1, 1, BIPOLAR, True, True, "float32")


@dataclass(frozen=True, eq=False)
class Truncation:
    """QONNX's Trunc: x -> (clamp(round(n / divisor), lo, hi) - out_zero) * out_scale.

    n = round(x / scale + zero), ties to even, and the outer rounding is `mode`.  Nothing is clamped
    where `lo` and `hi` are None.  All arrays have shape (), or one that broadcasts to x.
    """

    scale: Fractions
    zero: Ints
    divisor: Fractions
    mode: str
    lo: int | None
    hi: int | None
    out_scale: Fractions
    out_zero: Fractions

    def __call__(self, x: Constant) -> Constant:
        """What the truncation makes of a constant."""
        for parameter in (self.scale, self.zero, self.divisor):
            _check_fits(x, parameter)
        inner = x.quotients(self.scale, _product(-self.zero, self.scale), HALF_EVEN)
        steps = Constant(inner, "int64").quotients(self.divisor, exactly(0), self.mode)
        if self.lo is not None:
            steps = np.clip(steps, self.lo, self.hi)
        if all(value.denominator == 1 for value in self.out_zero.reshape(-1)):
            return Constant(steps - self.out_zero.astype(np.int64), "float32", self.out_scale)
        values = Constant(steps, "int64").fractions()
        return Constant((values - self.out_zero) * self.out_scale, "float32")


def truncation(node: Node, inputs: Inputs, rank: int) -> Truncation:
    """Read a `Trunc` whose x has `rank` axes: of five inputs, or of six as in its second version.

    The first version divides by 2**(input width - output width), keeps scale and zero point, and
    clamps nothing.  The second divides by output scale / scale, which is a power of two.
    """
    with blamed(node):
        _check_count(node, inputs)
        attributes = Attributes(node)
        mode = rounding_mode(attributes, "FLOOR")
        signed, narrow = True, False
        if len(inputs) == SECOND_TRUNC:
            signed, narrow = attributes.flag("signed", True), attributes.flag("narrow", False)
        attributes.done()
        scale = _placed(_scale(_input(inputs, 1, "scale")), rank)
        zero = _placed(_zero_point(_input(inputs, 2, "zero point")), rank)
        width = bit_width(_input(inputs, 3, "input bit width"))
        if len(inputs) != SECOND_TRUNC:
            bits = bit_width(_input(inputs, 4, "output bit width"))
            if bits > width:
                raise Refused(f"{width} bits are not truncated to {bits}; export the model again")
            divisor, real_zero = exactly(1 << (width - bits)), _product(zero, exactly(1))
            return Truncation(scale, zero, divisor, mode, None, None, scale, real_zero)
        out_scale = _placed(_scale(_input(inputs, 4, "output scale")), rank)
        lo, hi = integer_range(bit_width(_input(inputs, 5, "output bit width")), signed, narrow)
        divisor = _powers(np.asarray(out_scale / scale, dtype=object))
        out_zero = np.asarray(zero.astype(object) / divisor, dtype=object)
        return Truncation(scale, zero, divisor, mode, lo, hi, out_scale, out_zero)


SECOND_TRUNC = 6
"""Inputs of the second version of Trunc."""


def _powers(ratios: Fractions) -> Fractions:
    for ratio in ratios.reshape(-1):
        if ratio.numerator & (ratio.numerator - 1) or ratio.denominator & (ratio.denominator - 1):
            raise Refused(
                f"the output scale is a power of two times the scale, not {float_text(ratio)}; "
                "export the model again"
            )
    return ratios


QUANTISERS = {
    (ONNX, "QuantizeLinear"): _quantize_linear,
    (MICROSOFT, "QuantizeLinear"): _quantize_linear,
    (QONNX, "Quant"): _quant,
    (QONNX, "IntQuant"): _quant,
    (QONNX, "BipolarQuant"): _bipolar_quant,
}
INPUTS = {
    "QuantizeLinear": (2, 3),
    "DequantizeLinear": (2, 3),
    "Quant": (4, 4),
    "IntQuant": (4, 4),
    "BipolarQuant": (2, 2),
    "Trunc": (5, SECOND_TRUNC),
}
"""Fewest and most inputs, x included."""
DEQUANTISERS = {(ONNX, "DequantizeLinear"), (MICROSOFT, "DequantizeLinear")}


def rounding_mode(attributes: Attributes, default: str) -> str:
    """QONNX's `rounding_mode`, in capitals or not, as one of `rounding.MODES`."""
    name = attributes.text("rounding_mode", default)
    if name.upper() not in MODES:
        raise Refused(f"rounding_mode is one of {', '.join(MODES)}, not {name[:40]!r}; choose one")
    return MODES[name.upper()]


def bit_width(constant: Constant) -> int:
    """A bit width: one integer from 1 to 32."""
    if constant.size != 1:
        raise Refused(
            f"a bit width is one number, not {constant.size}; export one quantiser for all channels"
        )
    (width,) = constant.fractions().reshape(-1)
    if width.denominator != 1 or not 1 <= width <= INTEGERS_MAX:
        raise Refused(
            f"a bit width is an integer from 1 to {INTEGERS_MAX}, not {float_text(width)}; export "
            "the model again"
        )
    return int(width)


def integer_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The integers of a width; `narrow` leaves out the lowest signed or the highest unsigned."""
    if signed:
        return int(narrow) - (1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - int(narrow)


def _check_count(node: Node, inputs: Inputs) -> None:
    check_count("inputs", len(inputs), *INPUTS[node.op])
    check_count("outputs", len(node.outputs), 1, 1)


def _input(inputs: Inputs, place: int, what: str) -> Constant:
    constant = _optional(inputs, place)
    if constant is None:
        raise Refused(f"its {what} is a constant, and here it is none; export the model again")
    return constant


def _optional(inputs: Inputs, place: int) -> Constant | None:
    return inputs[place] if place < len(inputs) else None


def _scale(constant: Constant) -> Fractions:
    values = constant.values
    if values.dtype.kind == "f" and not bool(np.isfinite(values).all()):
        odd = values[~np.isfinite(values)].reshape(-1)[0]
        raise Refused(f"a scale is a positive finite number, not {odd}; export the model again")
    scale = constant.fractions()
    wrong = np.asarray(scale <= 0)
    if not scale.size or bool(wrong.any()):
        odd = float_text(scale[wrong].reshape(-1)[0]) if scale.size else "nothing"
        raise Refused(f"a scale is a positive finite number, not {odd}; export the model again")
    return scale


def _zero_point(constant: Constant) -> Ints:
    values = constant.fractions()
    for value in values.reshape(-1):
        if value.denominator != 1 or abs(value) > ZERO_MAX:
            raise Refused(
                f"a zero point is an integer of at most 32 bits, not {float_text(value)}; export "
                "the model again"
            )
    if not values.size:
        raise Refused("a zero point is a number, and here it is empty; export the model again")
    return values.astype(np.int64)


def _points(zero: Constant | None) -> Ints:
    """The zero points of an operator of ONNX, of a type that bounds them; 0 where omitted."""
    if zero is None:
        return np.zeros((), np.int64)
    if is_float(zero.dtype) or zero.dtype == "bool":
        raise Refused(f"a zero point is an integer, not {zero.dtype}; export the model again")
    return zero.integers()


def _axis(attributes: Attributes) -> int:
    block = attributes.integer("block_size", 0)
    if block:
        raise Refused(
            f"scales hold for whole channels, not for blocks of {block}; set block_size 0"
        )
    return attributes.integer("axis", 1)


def _check_pair(scale: Fractions, zero: Ints) -> None:
    if zero.size != 1 and zero.size != scale.size:
        each = f" or one for each of the {scale.size} scales" if scale.size > 1 else ""
        raise Refused(f"a zero point is one number{each}, not {zero.size}; export the model again")


def _along(parameter: NDArray[Any], rank: int, axis: int) -> NDArray[Any]:
    """One number, or one for each index of an axis, as it broadcasts to x."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim != 1:
        raise Refused(
            f"a scale or zero point has at most one axis, not shape {parameter.shape}; quantise "
            "per tensor or per channel"
        )
    if not -rank <= axis < rank:
        raise Refused(f"axis is in {-rank}..{rank - 1}, not {axis}; export the model again")
    shape = [1] * rank
    shape[axis] = -1
    return parameter.reshape(shape)


def _placed(parameter: NDArray[Any], rank: int) -> NDArray[Any]:
    """A parameter that broadcasts as NumPy has it, which must not add axes to x."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim > rank:
        raise Refused(
            f"a scale or zero point of shape {parameter.shape} adds axes to a tensor that has "
            f"{rank}; export the model again"
        )
    return parameter.reshape((1,) * (rank - parameter.ndim) + parameter.shape)


def _check_fits(x: Constant, *parameters: NDArray[Any]) -> None:
    for parameter in parameters:
        pairs = zip(parameter.shape, x.shape, strict=False)
        if not all(size in (1, whole) for size, whole in pairs):
            raise Refused(
                f"a scale or zero point of shape {parameter.shape} does not fit a tensor of shape "
                f"{x.shape}; export the model again"
            )


def _product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(a.astype(object) * b, dtype=object)


def pair(
    node: Node, scale: Constant, zero: Constant | None, rank: int, axis: int
) -> tuple[Fractions, Ints]:
    """A scale and a zero point, checked, as they broadcast to a tensor along `axis`."""
    with blamed(node):
        scales = _scale(scale)
        points = _points(zero)
        _check_pair(scales, points)
        return _along(scales, rank, axis), _along(points, rank, axis)
