"""Layers of float graphs that have weights or a kernel: convolutions, products, pools."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ... import layers
from ...layer import Layer, Sides, Slide, inside
from ..graph import Node
from ..nodes.windows import Windowing, windowing
from ..parameters import Attributes
from .table import axes_of, handles
from .views import Draft, Places, View, reals, refuse


def _sizes(draft: Draft, source: str) -> tuple[int, int]:
    height, width, _ = draft.shapes[source]
    return height, width


def _slide(window: Windowing) -> Slide:
    """The walk of a window; what has one tap only is not dilated."""
    dilation = tuple(d if k > 1 else 1 for k, d in zip(window.kernel, window.dilation, strict=True))
    return Slide(window.kernel, window.stride, window.padding, (dilation[0], dilation[1]))


def _unpadded(draft: Draft, source: str, padding: Sides) -> tuple[str, Sides]:
    """A source and a padding with the `Pad` in front of it taken in."""
    before = draft.nodes.get(source)
    if before is None or not isinstance(before.layer, layers.Pad):
        return source, padding
    top, left, bottom, right = (a + b for a, b in zip(padding, before.layer.padding, strict=True))
    return before.inputs[0], (top, left, bottom, right)


def _bias(draft: Draft, node: Node, number: int, count: int) -> NDArray[np.float64]:
    """An optional bias, one value per output."""
    constant = draft.optional(node, number, "the bias")
    if constant is None:
        return np.zeros(count)
    if constant.size != 1 and (constant.size, constant.shape[-1]) != (count, count):
        raise refuse(
            node,
            f"its bias has shape {constant.shape}, and it has {count} outputs; make them equal",
        )
    return np.broadcast_to(reals(constant).ravel(), (count,))


@handles("Conv")
def _conv(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    weights = draft.numbers(node, 1, "the weights")
    if weights.ndim != len(view.shape) + 1 or weights.ndim not in (3, 4):
        raise refuse(
            node,
            f"its weights have shape {weights.shape} and its input {draft.with_batch(view)}, and "
            "convolutions of one and two dimensions are understood; reshape it",
        )
    count, inputs, *_ = weights.shape
    flat = weights.ndim == 3
    weights = weights[:, :, None] if flat else weights
    kernel = weights.shape[2], weights.shape[3]
    groups = attributes.integer("group", 1)
    if groups < 1 or count % groups or inputs * groups != view.shape[0]:
        raise refuse(
            node,
            f"{groups} groups of {inputs} input channels and {count} outputs do not fit an input "
            f"of {view.shape[0]} channels; export the model again",
        )
    if groups == 1 or inputs == count // groups == 1:
        source, channels = draft.image(node, view)
    else:
        source = draft.ordered(node, view)
        channels = np.arange(view.shape[0])
    slide = _slide(windowing(node, attributes, kernel, _sizes(draft, source), flat))
    source, padding = _unpadded(draft, source, slide.padding)
    walk = (slide.stride, padding, slide.dilation)
    bias = _bias(draft, node, 2, count)
    # Channels that the layer before has in another order are read, and given, in that order.
    stored = np.argsort(channels)
    if inputs == 1 and groups == count > 1:
        layer: Layer = layers.DepthwiseConv(
            draft.weights(weights[stored, 0]), draft.weights(bias[stored]), *walk
        )
        places: Places | None = channels
    else:
        last = weights.transpose(0, 2, 3, 1)
        last = last[..., stored] if groups == 1 else last
        layer = layers.Conv(draft.weights(last), draft.weights(bias), *walk, groups)
        places = None
    name = draft.emit(node, layer, source)
    height, width = _sizes(draft, name)
    shape = (count, width) if flat else (count, height, width)
    return draft.image_view(name, shape, 0, places)


@handles("Gemm")
def _gemm(draft: Draft, node: Node, attributes: Attributes) -> View:
    if attributes.flag("transA", False):
        raise refuse(node, "it transposes its first input; transpose it before exporting")
    weights = draft.numbers(node, 1, "the weights") * float(attributes.number("alpha", 1.0))
    if weights.ndim != 2:
        raise refuse(node, f"its weights are a matrix, not of shape {weights.shape}; export again")
    weights = weights if attributes.flag("transB", False) else weights.T
    bias = _bias(draft, node, 2, len(weights)) * float(attributes.number("beta", 1.0))
    return _product(draft, node, weights, bias)


@handles("MatMul")
def _matmul(draft: Draft, node: Node, attributes: Attributes) -> View:
    weights = draft.numbers(node, 1, "the second factor")
    if weights.ndim != 2:
        raise refuse(
            node,
            f"its second factor is a matrix, not of shape {weights.shape}; reshape it",
        )
    return _product(draft, node, weights.T, np.zeros(weights.shape[1]))


def _product(
    draft: Draft, node: Node, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> View:
    """The product of weights (N, S) with the last axis of the input."""
    view = draft.view(node)
    count, inputs = weights.shape
    if not view.shape or view.shape[-1] != inputs:
        raise refuse(
            node,
            f"its weights take {inputs} inputs, and the last axis of {draft.with_batch(view)} is "
            "another size; make them equal",
        )
    if len(view.shape) == 1:
        view = draft.flat(node, view)
        ordered = weights[:, np.argsort(view.places)]
        layer = layers.Dense(draft.weights(ordered), draft.weights(bias))
        name = draft.emit(node, layer, view.source)
        return View(name, np.arange(count))
    axis = len(view.shape) - 1
    source, channels = draft.image(node, view, axis)
    ordered = weights[:, None, None, np.argsort(channels)]
    name = draft.emit(node, layers.Conv(draft.weights(ordered), draft.weights(bias)), source)
    return draft.image_view(name, (*view.shape[:-1], count), axis)


@handles("MaxPool", "AveragePool")
def _pool(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    source, channels = draft.image(node, view)
    size, flat = _sizes(draft, source), len(view.shape) == 2
    window = windowing(node, attributes, None, size, flat)
    slide = _slide(window)
    slide, extended = (
        _ceiled(slide, size) if attributes.flag("ceil_mode", False) else (slide, False)
    )
    attributes.ignore("storage_order")
    if node.op == "MaxPool":
        layer: Layer = layers.MaxPool(slide.kernel, slide.stride, slide.padding, slide.dilation)
        counts = None
    else:
        counted = attributes.flag("count_include_pad", False)
        if extended and counted:
            raise refuse(
                node, "it counts padding and rounds its size up; export it with ceil_mode=0"
            )
        counts = _taps(slide, size) if any(slide.padding) and not counted else None
        if counts is None and not any(slide.padding):
            source, padding = _unpadded(draft, source, slide.padding)
            slide = replace(slide, padding=padding)
        layer = layers.AveragePool(slide.kernel, slide.stride, slide.padding, slide.dilation)
    name = draft.emit(node, layer, source)
    height, width = _sizes(draft, name)
    shape = (view.shape[0], width) if flat else (view.shape[0], height, width)
    found = draft.image_view(name, shape, 0, channels)
    if counts is None:
        return found
    if not counts.all():
        raise refuse(node, "some of its means are of padding alone; pad less")
    # The layer's mean counts the padding, and the node's does not.
    factor = prod(slide.kernel) / counts.astype(np.float64)
    return draft.affine(node, found, factor.reshape(shape[1:]), np.zeros(()))


def _ceiled(slide: Slide, size: tuple[int, int]) -> tuple[Slide, bool]:
    """The walk with the padding at the end that rounding its size up asks for."""
    top, left, *ends = slide.padding
    added: list[int] = []
    for length, before, after, reach, stride in zip(
        size, (top, left), ends, slide.reach, slide.stride, strict=True
    ):
        steps = -(-(length + before + after - reach) // stride)
        # No window starts in the padding at the end.
        if steps * stride >= length + before:
            steps -= 1
        added.append(max(0, steps * stride + reach - (length + before + after)))
    bottom, right = ends[0] + added[0], ends[1] + added[1]
    return replace(slide, padding=(top, left, bottom, right)), any(added)


def _taps(slide: Slide, size: tuple[int, int]) -> NDArray[np.int64]:
    """How many taps of the kernel read the image at each output position, (Ho, Wo)."""
    across, down = (inside(size[k], slide, k).sum(1) for k in (1, 0))
    return down[:, None] * across


@handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    source, channels = draft.image(node, view)
    average = node.op == "GlobalAveragePool"
    size = _sizes(draft, source)
    layer = layers.GlobalAveragePool() if average else layers.MaxPool(size, (1, 1))
    shape = (view.shape[0], *(1 for _ in view.shape[1:]))
    return draft.image_view(draft.emit(node, layer, source), shape, 0, channels)


@handles("ReduceMean", "ReduceMax", "ReduceSum")
def _reduce(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    rank, keep = len(view.shape), attributes.flag("keepdims", True)
    axes = axes_of(draft, node, attributes, rank)
    if axes is None and attributes.flag("noop_with_empty_axes", False):
        return view
    attributes.ignore("noop_with_empty_axes")
    axes = list(range(rank)) if axes is None else axes
    kept = [axis for axis in (0, rank - 1) if axis not in axes]
    if not kept or rank not in (2, 3):
        raise refuse(
            node,
            f"it reduces {draft.with_batch(view)} over its channels, and only positions are "
            "reduced; reduce H and W",
        )
    channel = draft.channel_axis(view, kept)
    source, channels = draft.image(node, view, channel)
    spans = [view.shape[axis] if axis in axes else 1 for axis in range(rank) if axis != channel]
    kernel = (spans[0], spans[1]) if rank == 3 else (1, spans[0])
    reduced = prod(kernel)
    if node.op == "ReduceMax":
        layer: Layer = layers.MaxPool(kernel, (1, 1))
    elif kernel == _sizes(draft, source):
        layer = layers.GlobalAveragePool()
    else:
        layer = layers.AveragePool(kernel, (1, 1))
    shape = tuple(1 if axis in axes else view.shape[axis] for axis in range(rank))
    found = draft.image_view(draft.emit(node, layer, source), shape, channel, channels)
    if node.op == "ReduceSum":
        found = draft.affine(node, found, np.array(float(reduced)), np.zeros(()))
    return found if keep else replace(found, places=np.squeeze(found.places, tuple(axes)))
