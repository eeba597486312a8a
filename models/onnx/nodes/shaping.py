"""Layouts: what moves, keeps or repeats values.  Most of it leaves no trace in hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor, prod

import numpy as np

from ... import ops
from ...exact import Finish, Integral, spread
from ...fixed import Ints, ProgramError
from ..constants.constant import Constant, Refused, blamed
from ..constants.folding import fold
from ..graph import Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import Stream, Value
from .handler import handles
from .lookup import look_up
from .windows import shortened


@handles("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
def rearrange(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Reshape, Flatten, Squeeze, Unsqueeze, Transpose.

    With constant parameters, within a frame (the batch stays the first axis); wires only, or a
    unit where they move blocks of pixels into channels or back.
    """
    return _rearranged(importer, node, attributes)


@handles("DepthToSpace")
def depth_to_space(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """DepthToSpace.

    Blocks of up to 256x256, a ring of one row of them; mode CRD right behind a convolution or its
    activation, where the rows of the weights change places.
    """
    return _rearranged(importer, node, attributes)


@handles("SpaceToDepth")
def space_to_depth(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """SpaceToDepth.

    Any block that divides the image; a window of its size and stride.
    """
    return _rearranged(importer, node, attributes)


def _rearranged(importer: Importer, node: Node, attributes: Attributes) -> Stream:
    """All elements of a tensor in other places."""
    attributes.ignore(*node.attributes)  # read by `positions`
    x = importer.stream(node)
    places = positions(importer, node, x)
    frames = places.reshape(len(places), -1) // prod(x.shape) if places.ndim else places
    if places.shape[:1] != (importer.batch,) or bool((np.ptp(frames, axis=1) > 0).any()):
        raise ProgramError(
            f"{node}: it moves the batch, of {importer.batch}, away from the first axis; keep "
            "frames apart"
        )
    _finished(node, x, places[0])
    return moved(x, places[0], node.name)


def _finished(node: Node, x: Stream, places: Ints | None) -> None:
    """Refuse to move values behind a softmax, which belongs to the axis that it ran along."""
    if not any(isinstance(function, Finish) for function in x.chain):
        return
    plain = places is not None and [n for n in places.shape if n > 1] == [
        n for n in x.shape if n > 1
    ]
    if not plain or bool((places.reshape(-1) != np.arange(places.size)).any()):  # type: ignore[union-attr]
        raise ProgramError(
            f"{node}: it moves values behind a softmax, which the host computes at the end; move "
            "them before it"
        )


def positions(importer: Importer, node: Node, x: Stream) -> Ints:
    """For each element of the node's result the flat position of what it holds, batch included."""
    numbers = _numbered(importer, x)
    rest = [importer.optional(node, k, "its parameter") for k in range(1, len(node.inputs))]
    return fold(node, [numbers, *rest])[0].integers()


def _numbered(importer: Importer, x: Stream) -> Constant:
    """A constant of the tensor's shape, batch included, that holds flat positions."""
    shape = (importer.batch, *x.shape)
    importer.spend(8 * prod(shape))
    return Constant(np.arange(prod(shape)).reshape(shape), "int64")


def moved(x: Stream, places: Ints, label: str) -> Stream:
    """The tensor whose element j is element places[j] of `x`, all of them."""
    new = np.empty(x.index.size, np.int64)
    new[places.reshape(-1)] = np.arange(places.size)
    return replace(x, shape=places.shape, index=new[x.index], label=label)


@handles("Slice", "Gather")
def slice_(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Slice and Gather.

    Constant indices, each element at most once and in rising order; channels by selection, rows
    and columns by cropping and striding.  Gather also of a constant list, at places that depend on
    the input: by a table of at most 4096.
    """
    if node.op == "Gather" and isinstance(importer.value(node, 0), Constant):
        return look_up(importer, node, attributes.integer("axis", 0))
    attributes.ignore(*node.attributes)
    return _kept(
        importer, node, importer.stream(node), positions(importer, node, importer.stream(node))
    )


@handles("Split")
def split(importer: Importer, node: Node, attributes: Attributes) -> tuple[Value, ...]:
    """Split.

    Constant sizes along any axis but the batch.
    """
    attributes.ignore(*node.attributes)
    x = importer.stream(node)
    numbers = _numbered(importer, x)
    rest = [importer.optional(node, k, "its sizes") for k in range(1, len(node.inputs))]
    parts = fold(node, [numbers, *rest])
    return tuple(_kept(importer, node, x, part.integers()) for part in parts)


def _kept(importer: Importer, node: Node, x: Stream, places: Ints) -> Stream:
    """The elements at `places` of the tensor with its batch, by the least hardware."""
    frame = prod(x.shape)
    importer.spend(4 * (frame + places.size))
    if places.shape[:1] != (importer.batch,) or not places.size:
        raise ProgramError(f"{node}: it cuts the batch, of {importer.batch}; keep whole frames")
    wanted = places[0]
    alike = wanted.reshape(-1) + np.arange(1, importer.batch)[:, None] * frame
    if not np.array_equal(places[1:].reshape(alike.shape), alike):
        raise ProgramError(f"{node}: it takes other elements of each frame; keep whole frames")
    flat = wanted.reshape(-1)
    if int(np.bincount(flat).max()) > 1:
        raise ProgramError(f"{node}: it repeats elements, which is not offered; use Resize")
    _finished(node, x, None if flat.size < frame else wanted)
    if flat.size == frame:
        return moved(x, wanted, node.name)
    return _picked(importer, node, importer.unflattened(_narrow(importer, node, x), node), wanted)


def _narrow(importer: Importer, node: Node, x: Stream) -> Stream:
    """The stream with its roundings done; a chain without any waits."""
    rounds = any(isinstance(function, Integral) for function in x.chain)
    return importer.settled(x, node) if rounds or importer.is_raw(x) else x


def _picked(importer: Importer, node: Node, x: Stream, wanted: Ints) -> Stream:
    importer.spend(8 * x.index.size)
    whole, new = x, np.full(prod(x.shape), -1)
    new[wanted.reshape(-1)] = np.arange(wanted.size)
    at = new[x.index]
    keep = at >= 0
    rows = keep.reshape(-1, x.channels)
    channels = np.flatnonzero(rows.any(0))
    if len(channels) < x.channels and bool((rows == np.outer(rows.any(1), rows.any(0))).all()):
        source = importer.emit(node.name, ops.Select(channels), x.source)
        x = replace(x, source=source, index=x.index[..., channels], chain=spread(x.chain, channels))
        at, keep = at[..., channels], keep[..., channels]
    if bool(keep.all()):
        return replace(x, shape=wanted.shape, index=at, label=node.name)
    if keep.ndim == 2 and len(x.shape) == 2:
        x = importer.reshaped(x, (1, *keep.shape))
        at, keep = at[None], keep[None]
    cut = _cut(keep)
    if cut is not None:
        source = importer.emit(node.name, cut, x.source)
        index = at[keep].reshape(importer.edges[source].shape)
        return replace(x, source=source, shape=wanted.shape, index=index, label=node.name)
    image = importer.unblocked(whole, node)
    return _picked(importer, node, importer.flat(x) if image is whole else image, wanted)


def _cut(keep: np.ndarray) -> ops.Window | None:
    """The window that keeps evenly spaced rows and columns of (H, W, C), if these are they."""
    if keep.ndim != 3 or bool((keep != keep[..., :1]).any()):
        return None
    grid = keep[..., 0]
    axes = [np.flatnonzero(grid.any(1)), np.flatnonzero(grid.any(0))]
    if bool((grid != np.logical_and.outer(grid.any(1), grid.any(0))).any()):
        return None
    start, step, end = [], [], []
    for at, size in zip(axes, grid.shape, strict=True):
        gaps = np.unique(np.diff(at))
        if len(gaps) > 1:
            return None
        stride = int(gaps[0]) if len(gaps) else 1
        start.append(int(at[0]))
        step.append(stride)
        end.append(size - int(at[-1]) - 1)
    return ops.Window((1, 1), (step[0], step[1]), (-start[0], -start[1], -end[0], -end[1]))


@handles("Pad")
def pad(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Pad.

    Rows and columns of an image by a constant on the input's grid; negative pads crop.
    """
    if attributes.text("mode", "constant") != "constant":
        raise ProgramError(f"{node}: it pads with copies; pad with a constant")
    x = importer.stream(node)
    rank = len(x.shape) + 1
    pads, value = _pads(importer, node, attributes, rank)
    before, after = pads[:rank], pads[rank:]
    if not any(pads):
        return x
    if rank not in (3, 4) or any(before[:2]) or any(after[:2]):
        raise ProgramError(
            f"{node}: it pads {pads} of rank {rank}, and hardware pads rows and columns of an "
            "image only; rewrite it"
        )
    for size, first, last in zip(x.shape[1:], before[2:], after[2:], strict=True):
        if min(first, 0) + min(last, 0) + size < 1 or first + last + size < 1:
            raise ProgramError(
                f"{node}: its pads {first} and {last} leave nothing of an axis of {size}; crop less"
            )
    found = importer.unified(importer.images(node, importer.settled(x, node)), value)
    if found is None:
        raise ProgramError(
            f"{node}: it pads with {float(value):.6g}, which no integer of its input stands for in "
            "every channel; pad with the zero of the quantiser"
        )
    x, order = found, importer.channel_order(found)
    number = (value - x.affine.offset[0]) / x.affine.scale[0]
    top, left = (before[2], before[3]) if rank == 4 else (0, before[2])
    bottom, right = (after[2], after[3]) if rank == 4 else (0, after[2])
    window = ops.Window((1, 1), padding=(top, left, bottom, right), pad=int(number))
    source = importer.emit(node.name, window, x.source)
    return importer.image_result(source, x, x.chain, node.name, order)


def _pads(
    importer: Importer, node: Node, attributes: Attributes, rank: int
) -> tuple[list[int], Fraction]:
    value = attributes.number("value", 0.0)
    if "pads" in attributes:
        pads = list(attributes.integers("pads"))
    else:
        with blamed(node):
            pads = importer.constant(node, 1, "its pads").integers().reshape(-1).tolist()
        given = importer.optional(node, 2, "its value")
        if given is not None and given.size != 1:
            raise ProgramError(
                f"{node}: its value is one number, not {given.size}; export the model again"
            )
        if given is not None:
            with blamed(node):
                value = given.fractions().reshape(-1)[0]
        axes = importer.optional(node, 3, "its axes")
        if axes is not None:
            pads = _placed(node, pads, axes.integers().reshape(-1).tolist(), rank)
    if len(pads) != 2 * rank or max(map(abs, pads)) > 1 << 16:
        raise ProgramError(
            f"{node}: pads are {2 * rank} integers of at most 65536, not {shortened(pads)}; export "
            "the model again"
        )
    return pads, value


def _placed(node: Node, pads: list[int], axes: list[int], rank: int) -> list[int]:
    full = [0] * (2 * rank)
    for number, axis in enumerate(axes):
        place = axis + rank if axis < 0 else axis
        if not 0 <= place < rank or len(pads) != 2 * len(axes):
            raise ProgramError(f"{node}: axes {axes} and pads {pads} do not fit; export it again")
        full[place], full[place + rank] = pads[number], pads[number + len(axes)]
    return full


@handles("Resize", "Upsample")
def resize(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Resize and Upsample.

    Nearest neighbour; by whole factors, or to evenly spaced rows and columns.
    """
    if attributes.text("mode", "nearest") != "nearest":
        raise ProgramError(f"{node}: it interpolates, which is not offered; use mode nearest")
    x = importer.stream(node)
    _finished(node, x, None)
    # Before opset 11 there was one rule: rows are repeated.
    old = node.op == "Upsample" or node.version < 11
    transform = attributes.text(
        "coordinate_transformation_mode", "asymmetric" if old else "half_pixel"
    )
    nearest = attributes.text("nearest_mode", "floor" if old else "round_prefer_floor")
    attributes.ignore("cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias")
    if (
        attributes.integers("axes", ())
        or attributes.text("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise ProgramError(f"{node}: axes and keep_aspect_ratio_policy are not offered; name sizes")
    sizes, scales = _sizes(importer, node, attributes, x)
    if sizes[0] != importer.batch or len(x.shape) not in (2, 3) or sizes[1] != x.shape[0]:
        raise ProgramError(f"{node}: it resizes batch or channels; resize rows and columns only")
    x = importer.images(node, _narrow(importer, node, x))
    order = importer.channel_order(x)
    height, width = x.index.shape[:2]
    targets = sizes[2:] if len(x.shape) == 3 else [1, sizes[2]]
    factors = scales[2:] if len(x.shape) == 3 else [Fraction(1), scales[2]]
    maps = [
        _sources(node, size, target, factor, transform, nearest)
        for size, target, factor in zip((height, width), targets, factors, strict=True)
    ]
    if old and min(factors) < 1:
        raise ProgramError(
            f"{node}: it makes its input smaller by the rules of before opset 11; convert the "
            "model with onnx.version_converter"
        )
    window = _resized(node, maps, (height, width))
    source = importer.emit(node.name, window, x.source)
    return importer.image_result(source, x, x.chain, node.name, order)


def _sizes(
    importer: Importer, node: Node, attributes: Attributes, x: Stream
) -> tuple[list[int], list[Fraction]]:
    """Sizes of the result and scales, batch and channels included."""
    shape = [importer.batch, *x.shape]
    upsample = node.op == "Upsample" or len(node.inputs) == 2
    if "scales" in attributes:
        raise ProgramError(f"{node}: it is of an old opset; convert the model to opset 11 or newer")
    given = importer.optional(node, 1 if upsample else 2, "its scales")
    sizes = importer.optional(node, 3, "its sizes")
    with blamed(node):
        if given is not None and sizes is not None and given.size and sizes.size:
            raise Refused("it states both scales and sizes; keep one of them")
        if given is not None and given.size:
            scales = given.fractions().reshape(-1).tolist()
            result = [floor(scale * size) for scale, size in zip(scales, shape, strict=False)]
        elif sizes is not None:
            result = sizes.integers().reshape(-1).tolist()
            scales = [Fraction(new, old) for new, old in zip(result, shape, strict=False)]
        else:
            raise Refused("it states neither scales nor sizes; export the model again")
    if len(result) != len(shape) or len(scales) != len(shape) or min(result) < 1:
        raise ProgramError(
            f"{node}: each of {len(shape)} axes has a size or a scale that leaves something, and "
            f"here are {len(result)}, {shortened(result)}; export the model again"
        )
    if max(result) > 1 << 16:
        raise ProgramError(
            f"{node}: it resizes to {max(result)}, and at most 65536 are taken; choose a smaller "
            "size"
        )
    return result, scales


def _sources(
    node: Node, size: int, target: int, factor: Fraction, transform: str, nearest: str
) -> list[int]:
    """The row (or column) that each row of the result copies, as the standard defines it."""
    half = Fraction(1, 2)
    result: list[int] = []
    for out in range(target):
        match transform:
            case "asymmetric":
                at = out / factor
            case "half_pixel":
                at = (out + half) / factor - half
            case "pytorch_half_pixel":
                at = (out + half) / factor - half if target > 1 else Fraction(0)
            case "align_corners":
                at = Fraction(out * (size - 1), target - 1) if target > 1 else Fraction(0)
            case _:
                raise ProgramError(
                    f"{node}: coordinate_transformation_mode {transform[:40]!r} is not offered; "
                    "use asymmetric or half_pixel"
                )
        match nearest:
            case "floor":
                place = floor(at)
            case "ceil":
                place = ceil(at)
            case "round_prefer_floor":
                place = ceil(at - half)
            case "round_prefer_ceil":
                place = floor(at + half)
            case _:
                raise ProgramError(f"{node}: nearest_mode {nearest[:40]!r} is not known; use floor")
        result.append(min(max(place, 0), size - 1))
    return result


def _resized(node: Node, maps: Sequence[list[int]], size: tuple[int, int]) -> ops.Window:
    factors = [max(1, len(sources) // length) for sources, length in zip(maps, size, strict=True)]
    if all(
        sources == [out // factor for out in range(length * factor)]
        for sources, factor, length in zip(maps, factors, size, strict=True)
    ):
        return ops.Window((1, 1), repeat=(factors[0], factors[1]))
    keep = np.zeros((*size, 1), bool)
    keep[np.ix_(maps[0], maps[1])] = True
    cut = _cut(keep)
    if cut is None or any(len(set(sources)) != len(sources) for sources in maps):
        raise ProgramError(
            f"{node}: it resizes {size} to {tuple(map(len, maps))}, and hardware repeats by whole "
            "factors or keeps evenly spaced rows and columns; choose another size"
        )
    return cut
