"""Quantisers of streams: real numbers become integers by a stated rounding, or integers reals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...exact import (
    Affine,
    Clip,
    Finish,
    Fractions,
    Integral,
    Round,
    Steps,
    fraction_array,
)
from ...fixed import Ints, ProgramError
from ...rounding import HALF_EVEN
from ..constants.constant import Constant, blamed
from ..ends import threshold_axis
from ..graph import MICROSOFT, QONNX, Node
from ..importer import Importer
from ..parameters import Attributes
from ..quantisers import BIPOLAR, Inputs, Quantiser, dequantiser, quantiser, truncation
from ..streams import ONE, ZERO, Stream, Value
from .handler import handles

WIDE = 1 << 62
"""Bound of integers that state none."""


@handles("QuantizeLinear")
@handles("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QuantizeLinear.

    Per tensor or per channel, to 2 to 32 bits, signed or not, any zero point (one for all
    channels); ties to even; not in blocks.
    """
    return _quantiser(importer, node, attributes)


@handles("Quant", "IntQuant", "BipolarQuant", domain=QONNX)
def quant(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QONNX quantisers.

    Per tensor or per channel, 1 to 32 bits, signed or not, narrow or not, any integer zero point
    and every rounding mode.
    """
    return _quantiser(importer, node, attributes)


@handles("Trunc", domain=QONNX)
def trunc(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QONNX's Trunc.

    Both versions (five inputs or six), every rounding mode; absorbed.
    """
    attributes.ignore(*node.attributes)  # read, and refused, by `truncation`
    x = importer.stream(node)
    found = truncation(node, [None, *_constants(importer, node, 1)], len(x.shape) + 1)
    _rounded_once(node, x)
    zeros = np.asarray(found.zero.astype(object) + Fraction(0), dtype=object)
    x, (scale, zero, divisor, out_scale, out_zero) = importer.parameters(
        node, x, found.scale, zeros, found.divisor, found.out_scale, found.out_zero
    )
    lo = -WIDE if found.lo is None else found.lo
    hi = WIDE if found.hi is None else found.hi
    for function in (
        Affine(1 / scale, zero),
        Round(HALF_EVEN, -WIDE, WIDE),
        Affine(1 / divisor, ZERO),
        Round(found.mode, lo, hi),
        Affine(out_scale, -out_zero * out_scale),
    ):
        x = x.applied(function, node.name)
    return x


@handles("DequantizeLinear")
@handles("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """DequantizeLinear.

    Per tensor or per channel; not in blocks.
    """
    attributes.ignore(*node.attributes)  # read, and refused, by `dequantiser`
    x = importer.stream(node)
    parameters = _constants(importer, node, 1)
    scale, zero = dequantiser(node, [None, *parameters], len(x.shape) + 1)
    stated = parameters[1] if len(parameters) > 1 else None
    if stated is not None and x.dtype and stated.dtype != x.dtype:
        raise ProgramError(
            f"{node}: its input is {x.dtype}, and its zero point {stated.dtype}; export the model "
            "again"
        )
    return dequantised(importer, node, x, scale, zero)


@handles("DynamicQuantizeLinear")
def dynamic(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """DynamicQuantizeLinear.

    Refused, since its scale follows from each input: quantise statically, or run it in the
    reference.
    """
    raise ProgramError(
        f"{node}: its scale is computed from each input at run time, and hardware needs constants; "
        "quantise the model statically"
    )


@handles("MultiThreshold", domain=QONNX)
def multi_threshold(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """MultiThreshold.

    One row of thresholds, or one per channel, with out_scale and out_bias.
    """
    x = importer.stream(node)
    scale, bias = attributes.number("out_scale", 1.0), attributes.number("out_bias", 0.0)
    attributes.ignore("out_dtype")
    layout = attributes.text("data_layout", "")
    with blamed(node):
        table = importer.constant(node, 1, "its thresholds").fractions()
    if table.ndim != 2 or table.shape[1] == 0:
        raise ProgramError(
            f"{node}: thresholds have shape (C, T) or (1, T), not {table.shape}; export it again"
        )
    if bool((table[:, 1:] < table[:, :-1]).any()):
        raise ProgramError(f"{node}: its thresholds fall along a row; sort each row")
    rows = np.arange(len(table))
    if len(table) > 1:
        axis = threshold_axis(layout, len(x.shape) + 1)
        if axis is None or x.shape[axis] != len(table):
            raise ProgramError(
                f"{node}: {len(table)} rows of thresholds do not fit an input of shape "
                f"{(importer.batch, *x.shape)} with data_layout {layout[:20]!r}; state the layout "
                "and give one row per channel"
            )
        shape = [1] * len(x.shape)
        shape[axis] = -1
        numbers = np.array([*map(Fraction, rows.tolist()), None], object)[:-1].reshape(shape)
        x, (places,) = importer.parameters(node, x, numbers)
        rows = places.astype(np.int64)
    steps = Steps(table[rows], True)
    _rounded_once(node, x)
    return x.applied(steps, node.name).applied(
        Affine(fraction_array(scale), fraction_array(bias)), node.name
    )


def _quantiser(importer: Importer, node: Node, attributes: Attributes) -> Stream:
    attributes.ignore(*node.attributes)  # read, and refused, by `quantiser`
    x = importer.stream(node)
    found = quantiser(node, [None, *_constants(importer, node, 1)], len(x.shape) + 1)
    return quantised(importer, node, x, found)


def _constants(importer: Importer, node: Node, first: int) -> Inputs:
    names = ("x", "its scale", "its zero point", "its bit width")
    return [
        importer.optional(node, number, names[number] if number < 4 else f"input {number}")
        for number in range(first, len(node.inputs))
    ]


def quantised(importer: Importer, node: Node, x: Stream, quantiser: Quantiser) -> Stream:
    """The tensor behind a quantiser."""
    _rounded_once(node, x)
    zeros = np.asarray(quantiser.zero.astype(object) + Fraction(0), dtype=object)
    x, (scale, zero) = importer.parameters(node, x, quantiser.scale, zeros)
    if quantiser.mode == BIPOLAR:
        steps = Steps(np.array([[Fraction(0)]], object), True)
        x = x.applied(Affine(1 / scale, zero), node.name).applied(steps, node.name)
        x = x.applied(Affine(fraction_array(2), fraction_array(-1)), node.name)
    elif quantiser.inside:
        x = x.applied(Affine(1 / scale, zero), node.name)
        x = x.applied(Round(quantiser.mode, quantiser.lo, quantiser.hi), node.name)
    else:
        if len(set(zero.tolist())) > 1:
            raise ProgramError(
                f"{node}: zero points differ between channels, and one is needed for all; "
                "quantise activations symmetrically or per tensor"
            )
        # The integer less the zero point, so that 0 stands for zero.
        shift = int(zero[0])
        x = x.applied(Affine(1 / scale, ZERO), node.name)
        x = x.applied(Round(quantiser.mode, quantiser.lo - shift, quantiser.hi - shift), node.name)
        x = x.applied(Affine(ONE, zero[:1]), node.name)
    if quantiser.real:
        return x.applied(Affine(scale, -zero * scale), node.name)
    return replace(x, dtype=quantiser.dtype)


def dequantised(importer: Importer, node: Node, x: Stream, scale: Fractions, zero: Ints) -> Stream:
    """(x - zero) * scale."""
    if not _integral(importer, x):
        raise ProgramError(
            f"{node}: its input is real numbers, and it dequantises integers; put a quantiser "
            "before it"
        )
    zeros = np.asarray(zero.astype(object) + Fraction(0), dtype=object)
    x, (scale, zeros) = importer.parameters(node, x, scale, zeros)
    return replace(x.applied(Affine(scale, -zeros * scale), node.name), dtype="")


def _integral(importer: Importer, x: Stream) -> bool:
    """False where a tensor holds real numbers that are not, or not by design, integers."""
    integral = not importer.is_raw(x)
    for function in x.chain:
        numbers: list[Fraction | None] = []
        match function:
            case Integral():
                integral = True
            case Affine(scale, offset):
                numbers = [*scale, *offset]
            case Clip():
                numbers = [end for c in range(function.channels) for end in function.bounds(c)]
            case _:
                integral = False
        integral &= all(number is None or number.denominator == 1 for number in numbers)
    return integral


def dequantised_constant(x: Constant, scale: Fractions, zero: Ints) -> Constant:
    """(x - zero) * scale of a constant; scale and zero broadcast."""
    return Constant(x.integers() - zero, "float32", scale)


def _rounded_once(node: Node, x: Stream) -> None:
    if any(isinstance(function, Finish) for function in x.chain):
        raise ProgramError(
            f"{node}: a softmax before a quantiser needs exponentials in hardware, which are not "
            "offered; let the network end with it"
        )
