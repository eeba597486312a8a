"""Pools: a window, then the largest value or the sum; an average's divisor is absorbed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from ... import ops
from ...exact import Affine, Finish, Integral, direction, extended, fraction_array, spread
from ...fixed import Ints, ProgramError
from ..budget import CHANNELS_MAX
from ..constants.constant import Constant
from ..graph import Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import ZERO, Stream, Value
from .handler import handles
from .windows import Pair, pooling, taps_inside


@handles("MaxPool")
def max_pool(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """MaxPool.

    1-D and 2-D, strided, dilated, padded, ceil_mode; not its indices.
    """
    if any(node.outputs[1:]):
        raise ProgramError(f"{node}: its indices are asked for, which are not offered; remove them")
    attributes.ignore("storage_order")
    return pool_max(importer, node, attributes, importer.stream(node))


def pool_max(importer: Importer, node: Node, attributes: Attributes, x: Stream) -> Stream:
    """The largest value of each window."""
    x = importer.images(node, rising(importer, node, x))
    shape, _ = pooling(node, attributes, _size(x), len(x.shape) == 2)
    order = importer.channel_order(x)
    lowest = importer.edge(x).grid.lo
    source = x.source
    if not shape.is_plain:
        source = importer.emit(f"{node.name}_window", shape.window(lowest), source)
    source = importer.emit(node.name, ops.MaxPool(prod(shape.kernel)), source)
    return importer.image_result(source, x, x.chain, node.name, order)


def rising(importer: Importer, node: Node, x: Stream) -> Stream:
    """A stream whose chain never falls, so that the largest integer is the largest real."""
    if (
        importer.is_raw(x)
        or x.is_affine
        or any(isinstance(function, (Integral, Finish)) for function in x.chain)
    ):
        x = importer.settled(x, node)
    signs = np.array([direction(x.chain, channel) for channel in range(x.channels)])
    if (signs == 0).any():
        x = importer.settled(x, node)
        return rising(importer, node, x)
    if (signs > 0).all():
        return x
    source = importer.emit(f"{node.name}_sign", ops.Scale(signs, 0 * signs), x.source)
    flip = Affine(fraction_array(*signs.tolist()), ZERO)
    chain = extended((), flip)
    for function in x.chain:
        chain = extended(chain, function)
    return replace(x, source=source, chain=chain)


def _size(images: Stream) -> Pair:
    """Rows and columns."""
    return images.index.shape[0], images.index.shape[1]


@handles("AveragePool")
def average_pool(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """AveragePool.

    1-D and 2-D, strided, dilated, padded with either count_include_pad, ceil_mode; divisors are
    exact at every position.
    """
    return pool_average(importer, node, attributes, importer.stream(node))


def pool_average(importer: Importer, node: Node, attributes: Attributes, x: Stream) -> Stream:
    """The mean of each window."""
    include = attributes.flag("count_include_pad", False)
    x = importer.images(node, importer.settled(x, node))
    shape, asked = pooling(node, attributes, _size(x), len(x.shape) == 2)
    size = _size(x)
    order = importer.channel_order(x)
    source, zero = x.source, 0
    if shape.pads(size):
        zero = importer.integral_offset(x, node, "it pads")
    if not shape.is_plain:
        source = importer.emit(f"{node.name}_window", shape.window(zero), source)
    taps = prod(shape.kernel)
    source = importer.emit(f"{node.name}_sum", ops.SumPool(taps), source)
    chain = extended((), Affine(x.affine.scale, x.affine.offset * taps))
    result = importer.image_result(source, x, chain, node.name, order)
    counts = taps_inside(shape, asked.padding if include else (0, 0, 0, 0), size)
    different, place = np.unique(counts, return_inverse=True)
    inverse = fraction_array(*(Fraction(1, count) for count in different.tolist()))
    if len(different) > 1 and counts.size * x.channels > CHANNELS_MAX:
        raise ProgramError(
            f"{node}: its divisors differ by position, which makes a channel of each of "
            f"{counts.size * x.channels} values, above the limit of {CHANNELS_MAX}; count the "
            "padding (count_include_pad = 1)"
        )
    if len(different) > 1:
        inverse = inverse[place].reshape(1, *counts.shape[3 - len(x.shape) :])
    result, (scale,) = importer.parameters(node, result, inverse)
    return result.applied(Affine(scale, ZERO), node.name)


@handles("GlobalAveragePool")
def global_average_pool(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """GlobalAveragePool.

    The divisor is absorbed.
    """
    return pool_globally(importer, node, importer.stream(node), ops.SumPool, True)


@handles("GlobalMaxPool")
def global_max_pool(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """GlobalMaxPool.

    Over all positions of an image.
    """
    return pool_globally(importer, node, importer.stream(node), ops.MaxPool, True)


def pool_globally(
    importer: Importer,
    node: Node,
    x: Stream,
    kind: type[ops.SumPool] | type[ops.MaxPool],
    keep: bool,
    mean: bool = True,
) -> Stream:
    """All positions of a channel reduced to one value; `keep` leaves axes of size 1."""
    largest = kind is ops.MaxPool
    x = rising(importer, node, x) if largest else importer.settled(x, node)
    x = importer.images(node, x)
    order = importer.channel_order(x)
    height, width, channels = x.index.shape
    count = height * width
    row = ops.Reshape((1, 1, count * channels))
    source = importer.emit(f"{node.name}_window", row, x.source)
    source = importer.emit(node.name, kind(count), source)
    chain = x.chain
    if not largest:
        share = Fraction(1, count if mean else 1)
        affine = x.affine.then(fraction_array(share), ZERO)
        chain = extended((), Affine(affine.scale, affine.offset * count))
    shape = (channels, *(1 for _ in x.shape[1:])) if keep else (channels,)
    return Stream(source, shape, order.reshape(1, 1, -1), chain, node.name)


@handles("ReduceMean", "ReduceSum", "ReduceMax")
def reduce(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """ReduceMean, ReduceSum and ReduceMax.

    Over all positions of an image (axes 2 and 3), or other axes whose values lie in the stream as
    the taps of a window do; not over the batch.
    """
    x = importer.stream(node)
    axes = attributes.integers("axes", ())
    given: Constant | None = importer.optional(node, 1, "its axes")
    if given is not None:
        axes = tuple(given.integers().reshape(-1).tolist())
    attributes.ignore("noop_with_empty_axes")
    keep = attributes.flag("keepdims", True)
    rank = len(x.shape) + 1
    axes = tuple(sorted(axis + rank if axis < 0 else axis for axis in axes))
    if node.op == "ReduceMean" and x.dtype:
        raise ProgramError(
            f"{node}: it is the mean of {x.dtype}, which runtimes cut off; cast to float before it"
        )
    kind = ops.MaxPool if node.op == "ReduceMax" else ops.SumPool
    if rank in (3, 4) and axes == tuple(range(2, rank)):
        return pool_globally(importer, node, x, kind, keep, node.op == "ReduceMean")
    if not axes or axes[0] < 1 or axes[-1] >= rank or len(set(axes)) < len(axes):
        raise ProgramError(
            f"{node}: it reduces axes {axes} of {rank}, and hardware reduces axes of a frame, from "
            f"1 to {rank - 1}; keep frames apart"
        )
    return _reduce_taps(importer, node, x, axes, keep)


def _reduce_taps(
    importer: Importer, node: Node, x: Stream, axes: tuple[int, ...], keep: bool
) -> Stream:
    """Values along some axes (the batch is axis 0) reduced where they lie as taps of channels."""
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape, 1)]
    taps = prod(x.shape) // prod(kept)
    largest = node.op == "ReduceMax"
    x = rising(importer, node, x) if largest else importer.settled(x, node)
    x = importer.in_rows(x, node)
    results = np.broadcast_to(np.arange(prod(kept)).reshape(kept), x.shape)
    of = results.reshape(-1)[x.index].reshape(-1)
    channels = _channels_of_taps(of, taps, x.channels)
    if channels is None:
        raise ProgramError(
            f"{node}: it reduces axes {axes} of {len(x.shape) + 1}, whose values do not lie one "
            "group of channels behind the other, and reordering needs a buffer that is not "
            "offered; reduce the channels, or all positions of an image"
        )
    x = importer.reshaped(x, _split(x.index.shape, taps * channels))
    if not _taps_alike(x, taps):
        x = importer.settled(x, node)
        found = importer.unified(x)
        if found is None:
            raise ProgramError(
                f"{node}: the values that it reduces have different scales; quantise per tensor "
                "before it"
            )
        x = found
    kind = ops.MaxPool if largest else ops.SumPool
    source = importer.emit(node.name, kind(taps), x.source)
    chain = spread(x.chain, np.arange(channels))
    if not largest:
        # What reading one tap would mean, but for the offsets, which add up.
        count = taps if node.op == "ReduceMean" else 1
        scale = np.broadcast_to(x.affine.scale, x.channels)[:channels]
        offset = np.broadcast_to(x.affine.offset, x.channels).reshape(taps, channels).sum(0)
        chain = extended((), Affine(scale / count, offset / count))
    index = of.reshape(-1, taps, channels)[:, 0].reshape(importer.edges[source].shape)
    shape = kept if keep else [n for axis, n in enumerate(x.shape, 1) if axis not in axes]
    return Stream(source, tuple(shape), index, chain, node.name)


def _channels_of_taps(of: Ints, taps: int, now: int) -> int | None:
    """The channels C of a pool of `taps` whose values (..., k*C + c) are reduced as `of` says."""
    # The second tap of the first result stands right behind the first taps of all channels.
    channels = int(np.flatnonzero(of == of[0])[1]) if taps > 1 else now
    if of.size % (taps * channels):
        return None
    groups = of.reshape(-1, taps, channels)
    return channels if bool((groups == groups[:, :1]).all()) else None


def _split(shape: tuple[int, ...], last: int) -> tuple[int, ...]:
    """The shape with a last axis of `last`, and as many of the first axes as can be kept."""
    for axis in range(len(shape), -1, -1):
        rest = prod(shape[axis:])
        if rest % last == 0:
            return (*shape[:axis], rest // last, last) if rest > last else (*shape[:axis], last)
    raise AssertionError("a divisor of the size divides the whole")


def _taps_alike(x: Stream, taps: int) -> bool:
    """Whether the taps of each channel share their functions."""
    channels = x.channels // taps
    return all(
        function.channels == 1
        or all(
            function.parameters(c) == function.parameters(c % channels) for c in range(x.channels)
        )
        for function in x.chain
    )
