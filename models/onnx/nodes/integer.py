"""Operators on integers with scales beside them: QLinear..., ...Integer, and ONNX Runtime's own.

Each means: dequantise the inputs, compute on reals, quantise the result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ... import ops
from ...exact import Affine, Fractions, Leaky, Sigmoid, fraction_array
from ...fixed import Ints, ProgramError
from ...rounding import HALF_EVEN
from ..constants.constant import Constant, blamed, exactly, limits_of
from ..graph import MICROSOFT, Node
from ..importer import Importer
from ..parameters import Attributes
from ..quantisers import Quantiser, pair
from ..streams import Stream, Value
from .handler import handles
from .joins import add_streams, concatenate
from .linear import convolve, multiply
from .pooling import pool_average, pool_globally
from .quantising import dequantised, dequantised_constant, quantised


def _pair(
    importer: Importer, node: Node, at: int, rank: int, axis: int, what: str
) -> tuple[Fractions, Ints]:
    """The scale and zero point at inputs `at` and `at` + 1, as they broadcast."""
    scale = importer.constant(node, at, f"the scale of {what}")
    zero = importer.optional(node, at + 1, f"the zero point of {what}")
    return pair(node, scale, zero, rank, axis)


def _single(node: Node, what: str, scale: Fractions, zero: Ints) -> tuple[Fractions, Ints]:
    """One scale and zero point for a whole tensor: more would be read differently by each tool."""
    if scale.size > 1 or zero.size > 1:
        raise ProgramError(
            f"{node}: {what} has {max(scale.size, zero.size)} scales or zero points, and one is "
            "understood; quantise activations per tensor"
        )
    return scale, zero


def _real(importer: Importer, node: Node, at: int, what: str = "its input") -> Stream:
    """The stream at input `at`, dequantised by the two inputs behind it."""
    x = importer.stream(node, at)
    scale, zero = _single(node, what, *_pair(importer, node, at + 1, len(x.shape) + 1, 1, what))
    return dequantised(importer, node, x, scale, zero)


def _weights(importer: Importer, node: Node, at: int, axis: int) -> Constant:
    """The weights at input `at`, dequantised by the two inputs behind them."""
    weights = importer.constant(node, at, "its weights")
    scale, zero = _pair(importer, node, at + 1, len(weights.shape), axis, "its weights")
    with blamed(node):
        return dequantised_constant(weights, scale, zero)


def _result(importer: Importer, node: Node, x: Stream, at: int) -> Stream:
    """The stream quantised by the scale and zero point at inputs `at` and `at` + 1."""
    zero = importer.optional(node, at + 1, "the zero point of its result")
    dtype = "uint8" if zero is None else zero.dtype
    found_pair = _pair(importer, node, at, len(x.shape) + 1, 1, "its result")
    scale, points = _single(node, "its result", *found_pair)
    with blamed(node):
        lo, hi = limits_of(dtype)
    found = Quantiser(scale, points, lo, hi, HALF_EVEN, False, False, dtype)
    return quantised(importer, node, x, found)


@handles("QLinearConv")
def qlinear_conv(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearConv.

    As Conv, weights per tensor or per output channel, int32 bias.
    """
    weights = _weights(importer, node, 3, 0)
    bias = importer.optional(node, 8, "its bias")
    if bias is not None:
        x_scale = importer.constant(node, 1, "the scale of its input").fractions().reshape(-1)[:1]
        w_scale = importer.constant(node, 4, "the scale of its weights").fractions().reshape(-1)
        bias = bias.scaled(w_scale * x_scale)
    x = convolve(importer, node, attributes, _real(importer, node, 0), weights, bias)
    return _result(importer, node, x, 6)


@handles("ConvInteger")
def conv_integer(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """ConvInteger.

    As Conv, with constant weights and zero points.
    """
    x, weights = _integers(importer, node)
    return convolve(importer, node, attributes, x, weights, None)


@handles("MatMulInteger")
def matmul_integer(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """MatMulInteger.

    As MatMul, with constant weights and zero points.
    """
    x, weights = _integers(importer, node)
    return multiply(importer, node, x, weights, None)


def _integers(importer: Importer, node: Node) -> tuple[Stream, Constant]:
    x, weights = importer.stream(node), importer.constant(node, 1, "its weights")
    zeros = [importer.optional(node, k, "its zero point") for k in (2, 3)]
    if zeros[0] is not None and zeros[0].size != 1:
        raise ProgramError(f"{node}: its input has one zero point, not {zeros[0].size}")
    with blamed(node):
        if zeros[0] is not None:
            shift = zeros[0].fractions().reshape(1)
            x = x.applied(Affine(fraction_array(1), -shift), node.name)
        numbers = weights.integers()
        if zeros[1] is not None:
            zero = zeros[1].integers()
            column = node.op == "ConvInteger" and zero.size > 1
            numbers = numbers - (
                zero.reshape(-1, *[1] * (numbers.ndim - 1)) if column else zero.reshape(-1)
                if zero.size > 1 else zero.reshape(())
            )  # fmt: skip
    return x, Constant(numbers, "int32")


@handles("QLinearMatMul")
def qlinear_matmul(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearMatMul.

    As MatMul, weights per tensor or per column.
    """
    weights = _weights(importer, node, 3, -1)
    x = multiply(importer, node, _real(importer, node, 0), weights, None)
    return _result(importer, node, x, 6)


@handles("QGemm", domain=MICROSOFT)
def qgemm(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QGemm.

    As Gemm, weights per tensor or per output, int32 bias, result quantised or not.
    """
    alpha = attributes.number("alpha", 1.0)
    trans = attributes.flag("transB", False)
    if attributes.flag("transA", False):
        raise ProgramError(f"{node}: transA = 1 would mix the frames of a batch; export it as 0")
    weights = _weights(importer, node, 3, 0 if trans else 1)
    if trans:
        weights = weights.moved(np.transpose)
    weights = weights.scaled(np.array(alpha, object))
    bias = importer.optional(node, 6, "its bias")
    if bias is not None:
        a_scale = importer.constant(node, 1, "the scale of its input").fractions().reshape(-1)[:1]
        b_scale = importer.constant(node, 4, "the scale of its weights").fractions().reshape(-1)
        bias = bias.scaled(b_scale * a_scale * alpha)
    x = multiply(importer, node, _real(importer, node, 0), weights, bias)
    return _result(importer, node, x, 7) if len(node.inputs) > 7 and node.inputs[7] else x


@handles("QLinearAdd", domain=MICROSOFT)
def qlinear_add(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearAdd.

    Of two tensors of one shape, or of a tensor and a constant.
    """
    if not all(isinstance(importer.value(node, at), Stream) for at in (0, 3)):
        return _with_constant(importer, node, _plus)
    a, b = _real(importer, node, 0), _real(importer, node, 3)
    return _result(importer, node, add_streams(importer, node, a, b, 1), 6)


@handles("QLinearMul", domain=MICROSOFT)
def qlinear_mul(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearMul.

    Of a tensor and a constant.
    """
    return _with_constant(importer, node, _times)


def _plus(values: Fractions) -> tuple[Fractions, Fractions]:
    return exactly(1), values


def _times(values: Fractions) -> tuple[Fractions, Fractions]:
    return values, exactly(0)


def _with_constant(
    importer: Importer, node: Node, meaning: Callable[[Fractions], tuple[Fractions, Fractions]]
) -> Stream:
    first = 0 if isinstance(importer.value(node, 0), Stream) else 3
    x = _real(importer, node, first)
    constant = importer.constant(node, 3 - first, "its constant")
    scale, zero = _pair(importer, node, 4 - first, len(constant.shape), 1, "its constant")
    with blamed(node):
        values = dequantised_constant(constant, scale, zero).fractions()
    x, (factor, term) = importer.parameters(node, x, *meaning(values))
    return _result(importer, node, x.applied(Affine(factor, term), node.name), 6)


@handles("QLinearAveragePool", domain=MICROSOFT)
def qlinear_average_pool(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearAveragePool.

    As AveragePool, channels first.
    """
    _channels_first(node, attributes)
    x = pool_average(importer, node, attributes, _real(importer, node, 0))
    return _result(importer, node, x, 3)


@handles("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_global_average_pool(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearGlobalAveragePool.

    As GlobalAveragePool, channels first.
    """
    _channels_first(node, attributes)
    x = pool_globally(importer, node, _real(importer, node, 0), ops.SumPool, True)
    return _result(importer, node, x, 3)


def _channels_first(node: Node, attributes: Attributes) -> None:
    if attributes.flag("channels_last", False):
        raise ProgramError(f"{node}: channels_last is 1, and channels come first in ONNX; set 0")


@handles("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearConcat.

    As Concat; each input is requantised exactly.
    """
    parts = [_real(importer, node, at) for at in range(2, len(node.inputs), 3)]
    if not parts or len(node.inputs) % 3 != 2:
        raise ProgramError(f"{node}: each input has a scale and a zero point; export it again")
    x = concatenate(importer, node, parts, attributes.integer("axis"))
    return _result(importer, node, x, 0)


@handles("QLinearLeakyRelu", domain=MICROSOFT)
def qlinear_leaky_relu(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearLeakyRelu.

    As LeakyRelu.
    """
    slope = fraction_array(attributes.number("alpha", 0.01))
    x = _real(importer, node, 0).applied(Leaky(slope), node.name)
    return _result(importer, node, x, 3)


@handles("QLinearSigmoid", domain=MICROSOFT)
def qlinear_sigmoid(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """QLinearSigmoid.

    Exactly, by thresholds or a table.
    """
    return _result(importer, node, _real(importer, node, 0).applied(Sigmoid(), node.name), 3)
