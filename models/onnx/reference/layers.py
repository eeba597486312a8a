"""Matrix products, convolutions and pools that the reference computes: exactly, on integers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from ... import ops
from ...program import MAX_ELEMENTS
from ..constants.arithmetic import alike
from ..constants.constant import Refused, common_shape
from ..constants.rules import Call, Results, Rules, enter
from ..nodes.windows import Windowing, pooling, taps_inside, windowing
from .numbers import Numbers, Whole, bits, number, product, wide
from .rules import mean, reals

LAYERS: Rules = {}


@enter(LAYERS, "MatMul", least=2)
def matrix_product(call: Call) -> Results:
    """The matrix product over the last two axes."""
    dtype = alike(call[0], call[1])
    return multiplied(Numbers.of(call[0]), Numbers.of(call[1])).constant(dtype)


def multiplied(a: Numbers, b: Numbers) -> Numbers:
    """The matrix product of two tensors, as NumPy's."""
    left, right = a.shape, b.shape
    if not left or not right or left[-1] != right[-2:][0]:
        raise Refused(f"{left} times {right} is no matrix product; export the model again")
    before = common_shape(left[:-2], right[:-2])
    check_elements(prod(before) * prod(left[-2:-1]) * prod(right[-2:][1:]))
    return product(np.matmul, a, b, left[-1])


def check_elements(count: int) -> None:
    """Refuse more values than memory bears."""
    if count > MAX_ELEMENTS:
        raise Refused(
            f"it makes {count} values, above the limit of {MAX_ELEMENTS}; use a smaller input"
        )


@enter(LAYERS, "Gemm", least=2, most=3)
def gemm(call: Call) -> Results:
    """A times B times alpha plus beta times C."""
    a, b, c = reals(call[0]), reals(call[1]), call.optional(2)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise Refused(f"Gemm is of matrices, not {a.shape} and {b.shape}; export the model again")
    a = a.moved(np.transpose) if call.attributes.flag("transA", False) else a
    b = b.moved(np.transpose) if call.attributes.flag("transB", False) else b
    alpha, beta = call.attributes.number("alpha", 1.0), call.attributes.number("beta", 1.0)
    y = multiplied(a, b) * number(alpha)
    if c is not None:
        if common_shape(y.shape, c.shape) != y.shape:
            raise Refused(f"C of shape {c.shape} does not fit {y.shape}; export the model again")
        y = y + reals(c) * number(beta)
    return y.constant(call[0].dtype)


@enter(LAYERS, "MatMulInteger", least=2, most=4)
def matmul_integer(call: Call) -> Results:
    """(A - zero of A) times (B - zero of B); a zero point per row of A, or per column of B."""
    a, b = _centred(call, 0, 2, (-1, 1)), _centred(call, 1, 3, (-1,))
    return multiplied(a, b).constant("int32")


@enter(LAYERS, "ConvInteger", least=2, most=4)
def conv_integer(call: Call) -> Results:
    """The convolution of x - zero with w - zero; a zero point per output channel of w."""
    column = (-1, *[1] * (len(call[1].shape) - 1))
    x, w = _centred(call, 0, 2, ()), _centred(call, 1, 3, column)
    return _convolved(call, x, w).constant("int32")


def _centred(call: Call, place: int, zero_place: int, shape: tuple[int, ...]) -> Numbers:
    """An 8-bit tensor less its zero point: one number, or a list that broadcasts in `shape`."""
    x, zero = call[place], call.optional(zero_place)
    for part in (x, zero or x):
        if part.dtype not in ("int8", "uint8"):
            raise Refused(
                f"8-bit integers are multiplied, not {part.dtype}; put a quantiser before it"
            )
    if zero is None:
        return Numbers.of(x)
    if zero.dtype != x.dtype:
        raise Refused(
            f"a tensor and its zero point have one type, not {x.dtype} and {zero.dtype}; export "
            "the model again"
        )
    points = zero.integers()
    if points.size == 1:
        points = points.reshape(())
    elif points.ndim == 1 and shape:
        points = points.reshape(shape)
    if common_shape(x.shape, points.shape) != x.shape or (points.ndim and not shape):
        raise Refused(
            f"zero points of shape {zero.shape} do not fit a tensor of shape {x.shape}; export the "
            "model again"
        )
    return Numbers.held(x.integers() - points, Fraction(1))


@enter(LAYERS, "Conv", least=2, most=3)
def conv(call: Call) -> Results:
    """The convolution of real numbers, with a bias."""
    y, bias = _convolved(call, reals(call[0]), reals(call[1])), call.optional(2)
    if bias is not None:
        if bias.shape != (y.shape[1],):
            raise Refused(
                f"a bias has shape {(y.shape[1],)}, not {bias.shape}; export the model again"
            )
        column = (-1, *[1] * (len(y.shape) - 2))
        y = y + reals(bias).moved(lambda v: v.reshape(column))
    return y.constant(call[0].dtype)


def _convolved(call: Call, x: Numbers, w: Numbers) -> Numbers:
    """The convolution of x (N, C, sizes...) with w (O, C / group, kernel...), 1-D or 2-D."""
    group = call.attributes.integer("group", 1)
    rank = len(w.shape)
    if (
        rank not in (3, 4)
        or len(x.shape) != rank
        or min(*w.shape, *x.shape, group) < 1
        or w.shape[1] * group != x.shape[1]
        or w.shape[0] % group
    ):
        raise Refused(
            f"weights of shape {w.shape} and group {group} do not fit an input of shape {x.shape}; "
            "1-D and 2-D convolutions are computed"
        )
    image, weights = _image(x), _image(w)
    size, kernel = image.shape[2:], weights.shape[2:]
    shape = windowing(
        call.node, call.attributes, (kernel[0], kernel[1]), (size[0], size[1]), rank == 3
    )
    places = shape.window().output_size(size[0], size[1])
    check_elements(prod(places) * prod(kernel) * x.shape[1])
    y = product(
        lambda a, b: np.stack([_convolution(frame, b, shape, group) for frame in a]),
        image,
        weights,
        prod(w.shape[1:]),
    )
    sizes = places[1:] if rank == 3 else places
    return y.moved(lambda v: v.reshape(x.shape[0], w.shape[0], *sizes))


def _image(x: Numbers) -> Numbers:
    """A tensor with one spatial axis as one of height 1."""
    if len(x.shape) != 3:
        return x
    return x.moved(lambda v: v.reshape(*v.shape[:2], 1, v.shape[2]))


def _convolution(x: Whole, w: Whole, shape: Windowing, group: int) -> Whole:
    """One frame (C, H, W) with weights (O, C / group, kh, kw)."""
    taps = shape.window()(x.transpose(1, 2, 0)[None])[0]
    rows, columns = taps.shape[:2]
    taps = taps.reshape(rows * columns, prod(shape.kernel), group, -1)
    taps = taps.transpose(2, 0, 1, 3).reshape(group, rows * columns, -1)
    weights = w.transpose(0, 2, 3, 1).reshape(group, w.shape[0] // group, -1)
    y = np.matmul(taps, weights.transpose(0, 2, 1))
    return y.transpose(0, 2, 1).reshape(w.shape[0], rows, columns)


@enter(LAYERS, "MaxPool", outputs=2)
def max_pool(call: Call) -> Results:
    """The largest value of each window."""
    if any(call.node.outputs[1:]):
        raise Refused("its indices are asked for, which are not offered; remove them")
    call.attributes.ignore("storage_order")
    x, dtype = Numbers.of(call[0]), alike(call[0])
    shape, _, flat = _pooling(call, x)
    lowest = Numbers.held(int(x.counts.min()), x.unit)
    # Less the lowest, so that padding may be 0.
    pooled = _pooled(x - lowest, shape, ops.MaxPool(prod(shape.kernel)), flat)
    return (pooled + lowest).constant(dtype)


@enter(LAYERS, "AveragePool")
def average_pool(call: Call) -> Results:
    """The mean of each window, of what lies inside the image or inside its padding as well."""
    include = call.attributes.flag("count_include_pad", False)
    x = reals(call[0])
    shape, asked, flat = _pooling(call, x)
    total = _pooled(x, shape, ops.SumPool(prod(shape.kernel)), flat)
    size = _image(x).shape[2:]
    counts = taps_inside(shape, asked.padding if include else (0, 0, 0, 0), (size[0], size[1]))
    counts = counts[0] if flat else counts
    return (total * Numbers.held(counts, Fraction(1)).inverse()).constant(call[0].dtype)


def _pooled(x: Numbers, shape: Windowing, pool: ops.MaxPool | ops.SumPool, flat: bool) -> Numbers:
    """The pool of each window of a tensor (N, C, sizes...), padded with 0."""
    values = _image(x).counts
    values = wide(values, bits(values) + prod(shape.kernel).bit_length())
    top, left, bottom, right = shape.padding
    rows, columns = values.shape[2:]
    # Padded here: np.pad would put NumPy's integers among Python's.
    padded = np.zeros(
        (*values.shape[:2], top + rows + bottom, left + columns + right), values.dtype
    )
    padded[:, :, top : top + rows, left : left + columns] = values
    window = replace(shape, padding=(0, 0, 0, 0)).window()
    frames = [pool(window(frame.transpose(1, 2, 0)[None]))[0] for frame in padded]
    y = np.stack(frames).transpose(0, 3, 1, 2)
    return Numbers.held(y[:, :, 0] if flat else y, x.unit)


def _pooling(call: Call, x: Numbers) -> tuple[Windowing, Windowing, bool]:
    """The windows with what ceil_mode adds at the end, as they were asked for, and if 1-D."""
    if len(x.shape) not in (3, 4) or min(x.shape) < 1:
        raise Refused(f"images with one or two axes are pooled, not {x.shape}; reshape them")
    flat, size = len(x.shape) == 3, _image(x).shape[2:]
    shape, asked = pooling(call.node, call.attributes, (size[0], size[1]), flat)
    places = shape.window().output_size(size[0], size[1])
    check_elements(prod(places) * prod(shape.kernel) * x.shape[1])
    return shape, asked, flat


@enter(LAYERS, "GlobalAveragePool", "GlobalMaxPool")
def global_pool(call: Call) -> Results:
    """The mean or the largest value of each channel; its axes stay, of size 1."""
    x, dtype = Numbers.of(call[0]), alike(call[0])
    axes = tuple(range(2, len(x.shape)))
    if not axes or min(x.shape) < 1:
        raise Refused(f"images are pooled, not a tensor of shape {x.shape}; reshape it")
    if call.node.op == "GlobalMaxPool":
        return x.moved(lambda v: v.max(axis=axes, keepdims=True)).constant(dtype)
    reals(call[0])
    return mean(x.total(axes, True), prod(x.shape[2:])).constant(dtype)
