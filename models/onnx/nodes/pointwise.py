"""Functions of single values: activations, constants added and multiplied, normalisation."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import inf

import numpy as np

from ...exact import (
    Absolute,
    Affine,
    Clip,
    Fractions,
    Function,
    Gated,
    Leaky,
    Round,
    Sigmoid,
    Sign,
    Tanh,
    fraction_array,
)
from ...fixed import ProgramError
from ...rounding import CEIL, DOWN, FLOOR, HALF_EVEN
from ..constants.constant import DTYPES, Constant, blamed, is_float, limits_of, root
from ..graph import Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import ZERO, Stream, Value
from .handler import handles
from .joins import add_streams
from .lookup import ends, whole

WIDE = 1 << 62
"""Bound of integers made by Floor, Ceil and Round, which state none."""


def _apply(importer: Importer, node: Node, function: Function) -> Value:
    return importer.stream(node).applied(function, node.name)


@handles("Relu")
def relu(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Relu.

    Absorbed by the next quantiser, or a clamp of quantised integers.
    """
    return _apply(importer, node, Clip(Fraction(0), None))


@handles("Clip")
def clip(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Clip.

    Bounds that are constants; absorbed by the next quantiser.
    """
    bounds: list[Fraction | None] = []
    for number, name, open_end in ((1, "min", -inf), (2, "max", inf)):
        if name in attributes:
            bounds.append(attributes.number(name))
            continue
        value = importer.optional(node, number, f"its {name}")
        bounds.append(_bound(node, value, open_end))
    lo, hi = bounds
    if lo is not None and hi is not None and lo > hi:
        raise ProgramError(
            f"{node}: its min {float(lo):.6g} is above its max {float(hi):.6g}; swap them"
        )
    return _apply(importer, node, Clip(lo, hi))


def _bound(node: Node, value: Constant | None, open_end: float) -> Fraction | None:
    if value is None or value.size == 0:
        return None
    if value.size != 1:
        raise ProgramError(f"{node}: a bound is one number, not {value.size}; export it again")
    if value.values.dtype.kind == "f" and float(value.values.reshape(-1)[0]) == open_end:
        return None
    with blamed(node):
        return value.fractions().reshape(-1)[0]


@handles("Min", "Max")
def extreme(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Min and Max.

    Of a tensor and a constant that broadcasts to it; absorbed by the next quantiser.
    """
    streams = [k for k in range(len(node.inputs)) if isinstance(importer.value(node, k), Stream)]
    if len(node.inputs) != 2 or len(streams) != 1:
        raise ProgramError(f"{node}: a tensor is compared with one constant; use two nodes")
    x = importer.stream(node, streams[0])
    values = _constant(importer, node, 1 - streams[0], x)
    x, (bound,) = importer.parameters(node, x, values)
    function = Clip(None, bound) if node.op == "Min" else Clip(bound, None)
    return x.applied(function, node.name)


@handles("LeakyRelu")
def leaky_relu(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """LeakyRelu.

    Absorbed by the next quantiser; a negative slope by a table of at most 4096.
    """
    return _apply(importer, node, Leaky(fraction_array(attributes.number("alpha", 0.01))))


@handles("PRelu")
def prelu(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """PRelu.

    Constant slopes, one or one per channel; negative ones by a table of at most 4096.
    """
    with blamed(node):
        slopes = importer.constant(node, 1, "its slopes").fractions()
    x, (slope,) = importer.parameters(node, importer.stream(node), slopes)
    return x.applied(Leaky(slope), node.name)


@handles("Sigmoid")
def sigmoid(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Sigmoid.

    Absorbed exactly by the next quantiser; at the end left to the host.
    """
    return _apply(importer, node, Sigmoid())


@handles("Tanh")
def tanh(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Tanh.

    Absorbed exactly by the next quantiser; at the end left to the host.
    """
    return _apply(importer, node, Tanh())


def _hard_sigmoid(alpha: Fraction, beta: Fraction) -> tuple[Function, ...]:
    return (
        Affine(fraction_array(alpha), fraction_array(beta)),
        Clip(Fraction(0), Fraction(1)),
    )


@handles("HardSigmoid")
def hard_sigmoid(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """HardSigmoid.

    Absorbed by the next quantiser.
    """
    x = importer.stream(node)
    for function in _hard_sigmoid(attributes.number("alpha", 0.2), attributes.number("beta", 0.5)):
        x = x.applied(function, node.name)
    return x


@handles("HardSwish")
def hard_swish(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """HardSwish.

    Not monotone, so a table of at most 4096 accumulator values.
    """
    return _apply(importer, node, Gated(_hard_sigmoid(Fraction(1, 6), Fraction(1, 2))))


@handles("Sign")
def sign(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Sign.

    To -1, 0 and 1, by two thresholds.
    """
    return _apply(importer, node, Sign())


@handles("Abs")
def absolute(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Abs.

    Not monotone, so a table of at most 4096 accumulator values.
    """
    return _apply(importer, node, Absolute())


@handles("Neg")
def negate(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Neg.

    Absorbed.
    """
    return _apply(importer, node, Affine(fraction_array(-1), ZERO))


@handles("Floor", "Ceil", "Round")
def round_off(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Floor, Ceil and Round.

    As quantisers of scale 1.
    """
    mode = {"Floor": FLOOR, "Ceil": CEIL, "Round": HALF_EVEN}[node.op]
    return _apply(importer, node, Round(mode, -WIDE, WIDE))


@handles("Identity", "Dropout")
def identity(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Identity, and Dropout at inference.

    Passed on as it is.
    """
    attributes.ignore("ratio", "seed", "is_test")
    if len(node.outputs) > 1 and node.outputs[1]:
        raise ProgramError(f"{node}: its mask is asked for, and inference has none; remove it")
    training = importer.optional(node, 2, "its training mode") if node.op == "Dropout" else None
    if training is not None and training.values.any():
        raise ProgramError(f"{node}: it drops values at random; export the model for inference")
    return importer.value(node, 0)


@handles("Cast")
def cast(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Cast.

    Between types of real numbers nothing; to integers, rounding towards zero (a value outside the
    integers' range is refused).
    """
    kind = attributes.integer("to")
    attributes.ignore("saturate", "round_mode")
    x = importer.stream(node)
    if kind not in DTYPES:
        raise ProgramError(f"{node}: a cast to type {kind} is not understood; cast to float32")
    dtype = DTYPES[kind]
    if is_float(dtype):
        return replace(x, dtype="")
    if dtype == "bool":
        raise ProgramError(f"{node}: a cast to bool is not understood; compare with a constant")
    lo, hi = limits_of(dtype)
    settled = x
    if importer.is_raw(x) or not x.is_affine or not whole(x):
        wide = x.applied(Round(DOWN, 2 * min(lo, -1), 2 * hi), node.name)
        settled = importer.settled(wide, node)
    least, most = ends(importer, settled)
    if least < lo or most > hi:
        raise ProgramError(
            f"{node}: values in {int(least)}..{int(most)} leave {dtype}, and a cast does not "
            "clamp; clip them before it"
        )
    return replace(settled, dtype=dtype)


# Constants


@handles("Add", "Sub")
def add(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Add and Sub.

    A constant that broadcasts, absorbed; or two quantised tensors of one shape, brought to a
    common scale by exact integer factors.
    """
    sign = -1 if node.op == "Sub" else 1
    first, second = importer.value(node, 0), importer.value(node, 1)
    if isinstance(first, Stream) and isinstance(second, Stream):
        return _held(importer, node, first, add_streams(importer, node, first, second, sign))
    if isinstance(first, Stream):
        term = np.asarray(_constant(importer, node, 1, first) * sign, dtype=object)
        return _held(importer, node, first, _affine(importer, node, first, None, term))
    negated = np.array(Fraction(sign), object)
    second = importer.stream(node, 1)
    result = _affine(importer, node, second, negated, _constant(importer, node, 0, second))
    return _held(importer, node, second, result)


def _held(importer: Importer, node: Node, x: Stream, result: Stream) -> Stream:
    """The result of arithmetic on integers, refused where their type does not hold it."""
    if not x.dtype or importer.is_raw(result) or not result.is_affine:
        return result
    lo, hi = limits_of(x.dtype)
    least, most = ends(importer, result)
    if least < lo or most > hi:
        raise ProgramError(
            f"{node}: values in {int(least)}..{int(most)} leave {x.dtype}, where runtimes wrap "
            "around; cast to a wider type before it"
        )
    return replace(result, dtype=x.dtype)


@handles("Mul")
def mul(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Mul.

    By a constant that broadcasts, absorbed; not of two tensors.
    """
    streams = [k for k in (0, 1) if isinstance(importer.value(node, k), Stream)]
    if len(streams) == 2:
        raise ProgramError(
            f"{node}: two tensors that depend on the input are multiplied, and hardware multiplies "
            "by constants only; remove the gating"
        )
    x = importer.stream(node, streams[0])
    result = _affine(importer, node, x, _constant(importer, node, 1 - streams[0], x), None)
    return _held(importer, node, x, result)


@handles("Div")
def div(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Div.

    By a constant that broadcasts, absorbed; integers are divided towards zero.
    """
    x = importer.stream(node)
    divisor = _constant(importer, node, 1, x)
    if not bool(divisor.all()):
        raise ProgramError(f"{node}: it divides by 0; export the model again")
    result = _affine(importer, node, x, np.asarray(1 / divisor, dtype=object), None)
    if is_float(importer.constant(node, 1, "its constant").dtype):
        return result
    # Integers are divided towards zero.
    return result.applied(Round(DOWN, -WIDE, WIDE), node.name)


def _constant(importer: Importer, node: Node, number: int, x: Stream) -> Fractions:
    """The reals at an input, which broadcast to the tensor without making it larger."""
    constant = importer.constant(node, number, "its constant")
    shape = (importer.batch, *x.shape)
    sizes = zip(constant.shape[::-1], shape[::-1], strict=False)
    if len(constant.shape) > len(shape) or any(size not in (1, own) for size, own in sizes):
        raise ProgramError(
            f"{node}: a constant of shape {constant.shape} does not broadcast against {shape}; "
            "reshape it"
        )
    with blamed(node):
        return np.asarray(constant.fractions(), dtype=object)


def _affine(
    importer: Importer, node: Node, x: Stream, factor: Fractions | None, term: Fractions | None
) -> Stream:
    one, zero = np.array(Fraction(1), object), np.array(Fraction(0), object)
    x, (scale, offset) = importer.parameters(
        node, x, one if factor is None else factor, zero if term is None else term
    )
    return x.applied(Affine(scale, offset), node.name)


@handles("BatchNormalization")
def batch_normalization(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """BatchNormalization at inference.

    Absorbed exactly (its square root to 256 bits).
    """
    epsilon = attributes.number("epsilon", 1e-5)
    attributes.ignore("momentum", "spatial")
    if attributes.integer("training_mode", 0) or any(node.outputs[1:]):
        raise ProgramError(f"{node}: it is in training mode; export the model for inference")
    x = importer.stream(node)
    names = ("its scale", "its bias", "its mean", "its variance")
    columns: list[Fractions] = []
    for number, name in enumerate(names, 1):
        with blamed(node):
            values = importer.constant(node, number, name).fractions()
        if not x.shape or values.shape != (x.shape[0],):
            raise ProgramError(
                f"{node}: {name} has shape {values.shape}, and its input has "
                f"{x.shape[0] if x.shape else 0} channels; export the model again"
            )
        columns.append(values)
    gamma, beta, mean, variance = columns
    if min(variance) + epsilon <= 0:
        raise ProgramError(
            f"{node}: a variance of {float(min(variance)):.6g} is below 0; export the model again"
        )
    factor = np.array([g / root(v + epsilon) for g, v in zip(gamma, variance, strict=True)], object)
    shape = (-1, *[1] * (len(x.shape) - 1))
    term = beta - mean * factor
    return _affine(importer, node, x, factor.reshape(shape), term.reshape(shape))
