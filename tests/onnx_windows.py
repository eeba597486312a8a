"""Convolution, pooling, padding and resizing, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor, isqrt, prod

import numpy as np
from onnx_exact import (
    Array,
    Exact,
    add,
    as_object,
    common_unit,
    divide,
    from_fractions,
    matmul,
)
from onnx_node import View, operator


@dataclass(frozen=True)
class Windows:
    """Where a kernel reads, per spatial axis: positions `index[axis]` of shape (outputs, taps).

    Positions count from the first element of the tensor; those below zero or past its end lie in
    the padding, or past it.
    """

    index: tuple[Array, ...]
    sizes: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.index)

    def inside(self, padded: bool = False) -> Array:
        """Which taps read the tensor (or its padding too): bool of shape (outputs..., taps)."""
        axes = [
            (axis >= -(pads[0] if padded else 0)) & (axis < size + (pads[1] if padded else 0))
            for axis, size, pads in zip(self.index, self.sizes, self.pads, strict=True)
        ]
        whole = np.ones((1, 1), bool)
        for axis in axes:
            whole = (whole[:, None, :, None] & axis[None, :, None, :]).reshape(
                len(whole) * len(axis), -1
            )
        return whole.reshape(*self.outputs, -1)

    def gather(self, values: Array) -> Array:
        """Of (N, C, sizes...) every window, (N, C, outputs..., taps); what is outside is 0."""
        for axis, index in enumerate(self.index):
            clipped = np.clip(index, 0, self.sizes[axis] - 1)
            values = np.take(values, clipped.ravel(), axis=2 + axis)
        rank = len(self.index)
        values = values.reshape(*values.shape[:2], *(n for i in self.index for n in i.shape))
        outputs, taps = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
        values = values.transpose(0, 1, *outputs, *taps)
        values = values.reshape(*values.shape[:2], *self.outputs, -1)
        return np.where(self.inside(), values, 0)


def windows(view: View, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> Windows:
    """The windows that a Conv's or a pool's attributes say."""
    rank = len(sizes)
    strides = view("strides", [1] * rank)
    dilations = view("dilations", [1] * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(view, sizes, spans, strides)
    index: list[Array] = []
    for axis in range(rank):
        start, end = pads[axis]
        count = _outputs(view, sizes[axis], start, end, spans[axis], strides[axis])
        taps = np.arange(kernel[axis]) * dilations[axis]
        index.append((np.arange(count) * strides[axis] - start)[:, None] + taps)
    return Windows(tuple(index), sizes, pads)


def _outputs(view: View, size: int, start: int, end: int, span: int, stride: int) -> int:
    room = size + start + end - span
    if not view("ceil_mode", 0):
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - ((count - 1) * stride >= size + start)  # a window must begin before the padding


def _pads(
    view: View, sizes: tuple[int, ...], spans: list[int], strides: list[int]
) -> tuple[tuple[int, int], ...]:
    rank, auto = len(sizes), view("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = view("pads", [0] * (2 * rank))
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    if auto == "VALID":
        return ((0, 0),) * rank
    pairs: list[tuple[int, int]] = []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return tuple(pairs)


@operator("Conv")
def conv(view: View, x: Exact, w: Exact, b: Exact | None = None) -> Exact:
    groups, (outputs, _, *kernel) = view("group", 1), w.shape
    places = windows(view, x.shape[2:], tuple(kernel))
    taken = places.gather(x.count)  # (N, C, outputs..., taps)
    frames, channels = x.shape[:2]
    taken = taken.reshape(frames, groups, channels // groups, prod(places.outputs), -1)
    taken = taken.transpose(0, 1, 2, 4, 3).reshape(frames, groups, -1, prod(places.outputs))
    weights = w.count.reshape(groups, outputs // groups, -1)
    y = matmul(Exact(weights, w.unit), Exact(taken, x.unit))
    y = y.moved(lambda v: v.reshape(frames, outputs, *places.outputs))
    return y if b is None else add(y, b.moved(lambda v: v.reshape(-1, *[1] * len(kernel))))


@operator("MaxPool")
def max_pool(view: View, x: Exact) -> Exact:
    if len([name for name in view.outputs if name]) > 1:
        raise NotImplementedError("MaxPool with its Indices output")
    places = windows(view, x.shape[2:], tuple(view("kernel_shape")))
    lowest = int(x.count.min(initial=0)) - 1
    taken = np.where(places.inside(), places.gather(x.count), lowest)
    return Exact(as_object(taken.max(axis=-1)), x.unit, x.kind)


@operator("AveragePool")
def average_pool(view: View, x: Exact) -> Exact:
    places = windows(view, x.shape[2:], tuple(view("kernel_shape")))
    counted = places.inside(padded=bool(view("count_include_pad", 0))).sum(axis=-1)
    total = Exact(as_object(places.gather(x.count).sum(axis=-1)), x.unit)
    return divide(total, Exact(as_object(counted)))


@operator("GlobalAveragePool")
def global_average_pool(view: View, x: Exact) -> Exact:
    return mean(x, tuple(range(2, len(x.shape))), keep=True)


@operator("GlobalMaxPool")
def global_max_pool(view: View, x: Exact) -> Exact:
    axes = tuple(range(2, len(x.shape)))
    return Exact(as_object(x.count.max(axis=axes, keepdims=True)), x.unit, x.kind)


def mean(x: Exact, axes: tuple[int, ...], keep: bool) -> Exact:
    """The mean over some axes."""
    number = prod(x.shape[axis] for axis in axes)
    total = as_object(x.count.sum(axis=axes, keepdims=keep))
    return Exact(total, x.unit / number, x.kind)


@operator("Pad")
def pad(
    view: View,
    x: Exact,
    pads: Exact | None = None,
    value: Exact | None = None,
    axes: Exact | None = None,
) -> Exact:
    rank, mode = len(x.shape), view("mode", "constant")
    amounts = list(pads.integers()) if pads is not None else view("pads")
    chosen = [int(a) % rank for a in axes.integers()] if axes is not None else list(range(rank))
    value = value if value is not None else view.real("value", 0.0)
    before, after = np.zeros(rank, int), np.zeros(rank, int)
    before[chosen], after[chosen] = amounts[: len(chosen)], amounts[len(chosen) :]
    for axis in range(rank):  # a negative pad cuts off
        cut = slice(max(0, -before[axis]), x.shape[axis] - max(0, -after[axis]))
        x = x.moved(lambda v, a=axis, c=cut: v[(slice(None),) * a + (c,)])
    amounts = list(zip(before.clip(0), after.clip(0), strict=True))
    if mode != "constant":
        if mode not in ("reflect", "edge", "wrap"):
            raise NotImplementedError(f"Pad with mode = {mode!r}")
        return x.moved(lambda v: np.pad(v, amounts, mode=mode))
    unit = common_unit(x, value)
    fill = int(np.sum(value.in_unit(unit)))
    return Exact(as_object(np.pad(x.in_unit(unit), amounts, constant_values=fill)), unit, x.kind)


@operator("Resize", "Upsample")
def resize(view: View, x: Exact, *inputs: Exact | None) -> Exact:
    """Nearest neighbours; the scales are taken as the rational numbers that their floats are."""
    view.need("mode", "nearest")
    for name in ("axes", "keep_aspect_ratio_policy", "antialias", "exclude_outside"):
        view.need(name, 0, "stretch")
    older = view.op == "Upsample" or view.version < 11
    scales = inputs[0] if older else inputs[1] if len(inputs) > 1 else None
    sizes = inputs[2] if len(inputs) > 2 else None
    if scales is not None and scales.count.size:
        ratios = list(scales.fractions())
        lengths = [floor(s * r) for s, r in zip(x.shape, ratios, strict=True)]
    elif sizes is not None:
        lengths = [int(n) for n in sizes.integers()]
        ratios = [Fraction(n, s) for n, s in zip(lengths, x.shape, strict=True)]
    else:
        raise NotImplementedError("Resize without constant scales or sizes")
    coordinates = "asymmetric" if older else view("coordinate_transformation_mode", "half_pixel")
    rule = "floor" if older else view("nearest_mode", "round_prefer_floor")
    for axis, (length, by) in enumerate(zip(lengths, ratios, strict=True)):
        index = [_source(i, by, coordinates, rule) for i in range(length)]
        index = np.clip(index, 0, x.shape[axis] - 1)
        x = x.moved(lambda v, a=axis, i=index: np.take(v, i, axis=a))
    return x


def _source(place: int, by: Fraction, coordinates: str, rule: str) -> int:
    half = Fraction(1, 2)
    match coordinates:
        case "asymmetric":
            source = place / by
        case "half_pixel":
            source = (place + half) / by - half
        case _:
            raise NotImplementedError(f"Resize with coordinates {coordinates!r}")
    match rule:
        case "floor":
            return floor(source)
        case "ceil":
            return -floor(-source)
        case "round_prefer_floor":
            return -floor(half - source)
        case "round_prefer_ceil":
            return floor(source + half)
        case _:
            raise NotImplementedError(f"Resize with nearest_mode {rule!r}")


@operator("DepthToSpace")
def depth_to_space(view: View, x: Exact) -> Exact:
    n, c, h, w = x.shape
    b = view("blocksize")
    deep = view("mode", "DCR") == "DCR"
    split = (n, b, b, c // b**2, h, w) if deep else (n, c // b**2, b, b, h, w)
    order = (0, 3, 4, 1, 5, 2) if deep else (0, 1, 4, 2, 5, 3)
    return x.moved(lambda v: v.reshape(split).transpose(order).reshape(n, c // b**2, h * b, w * b))


@operator("SpaceToDepth")
def space_to_depth(view: View, x: Exact) -> Exact:
    b = view("blocksize")
    places = [(y, z) for y in range(b) for z in range(b)]
    return x.moved(lambda v: np.concatenate([v[:, :, y::b, z::b] for y, z in places], axis=1))


@operator("BatchNormalization")
def batch_normalisation(
    view: View, x: Exact, gain: Exact, bias: Exact, average: Exact, variance: Exact
) -> Exact:
    view.need("training_mode", 0)
    spread = add(variance, view.real("epsilon", 1e-5)).fractions()
    inverse = from_fractions(np.array([square_root(1 / v) for v in spread], dtype=object))
    slope = Exact(as_object(gain.count * inverse.count), gain.unit * inverse.unit)
    column = (-1, *[1] * (len(x.shape) - 2))
    shift, slope, bias = (t.moved(lambda v: v.reshape(column)) for t in (average, slope, bias))
    centred = add(x, shift, -1)
    return add(Exact(as_object(centred.count * slope.count), centred.unit * slope.unit), bias)


def square_root(value: Fraction) -> Fraction:
    """The root, exact where it is rational, else correct to 512 bits after the point."""
    root = Fraction(isqrt(value.numerator), isqrt(value.denominator))
    if root**2 == value:
        return root
    return Fraction(isqrt((value.numerator << 1024) // value.denominator), 1 << 512)
