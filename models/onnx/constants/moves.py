"""Operators on constants that move values without computing with them."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import made
from .constant import (
    OBJECTS_MAX,
    Constant,
    Refused,
    common_shape,
    compact,
    exactly,
    is_float,
    made_size,
    sized,
)
from .rules import MANY, Call, Results, Rules, distinct_axes, enter, from_front, whole_numbers

MOVES: Rules = {}
BLOCK_MAX = 1 << 16
"""Rows and columns of a block of pixels."""


@enter(MOVES, "Identity")
def identity(call: Call) -> Results:
    """The input."""
    return call[0]


@enter(MOVES, "Dropout", most=3, outputs=2)
def dropout(call: Call) -> Results:
    """The input, and a mask that keeps everything; never the one of training."""
    call.attributes.ignore("ratio", "seed")
    training = call.optional(2)
    if training is not None and bool(training.fractions().any()):
        raise Refused("it drops values at random in training; export the model for inference")
    mask = Constant(np.broadcast_to(np.True_, call[0].shape), "bool")
    return [call[0], mask][: len(call.node.outputs)]


@enter(MOVES, "Shape")
def shape(call: Call) -> Results:
    """The sizes of the axes from `start` to `end`."""
    sizes = call[0].shape
    start = call.attributes.integer("start", 0)
    end = call.attributes.integer("end", len(sizes))
    return whole_numbers(sizes[slice(start, end)])


@enter(MOVES, "Size")
def size(call: Call) -> Results:
    """The number of elements, of shape ()."""
    return Constant(np.array(call[0].size, np.int64), "int64")


@enter(MOVES, "ConstantOfShape")
def constant_of_shape(call: Call) -> Results:
    """One value everywhere."""
    value = np.zeros(1, np.float32)
    if "value" in call.attributes:
        value = call.attributes.tensor("value")
    if value.size != 1:
        raise Refused(f"value is one number, not {value.size}; export the model again")
    filled = np.broadcast_to(value.reshape(()), made_size(_list(call, "shape", 0)))
    return Constant(filled, value.dtype.name)


@enter(MOVES, "Range", least=3)
def arithmetic_range(call: Call) -> Results:
    """`start`, start + delta, ... before `limit`."""
    values = [constant.fractions() for constant in call.all]
    if any(value.size != 1 for value in values):
        raise Refused("start, limit and delta are one number each; export the model again")
    start, limit, delta = (Fraction(value.reshape(-1)[0]) for value in values)
    if delta == 0:
        raise Refused("delta is not 0; export the model again")
    count = max(ceil((limit - start) / delta), 0)
    if count > OBJECTS_MAX:
        raise Refused(f"it makes {count} values, above the limit of {OBJECTS_MAX}; shorten it")
    numbers = np.empty(count, object)
    numbers[:] = [start + place * delta for place in range(count)]
    return made(numbers, call[0].dtype)


@enter(MOVES, "Expand", least=2)
def expand(call: Call) -> Results:
    """Broadcast to a shape, which may also be the smaller of the two."""
    wanted = common_shape(call[0].shape, sized(_list(call, "shape", 1)))
    made_size(wanted)
    return call[0].moved(lambda v: np.broadcast_to(v, wanted))


@enter(MOVES, "Tile", least=2)
def tile(call: Call) -> Results:
    """Repeat each axis."""
    repeats = sized(_list(call, "repeats", 1))
    if len(repeats) != len(call[0].shape):
        raise Refused(
            f"repeats has one number for each of {len(call[0].shape)} axes, not {len(repeats)}; "
            "export the model again"
        )
    made_size([times * n for times, n in zip(repeats, call[0].shape, strict=True)])
    return call[0].moved(lambda v: np.tile(v, repeats))


@enter(MOVES, "Reshape", least=2)
def reshape(call: Call) -> Results:
    """The same elements in another shape: 0 keeps a size, -1 takes what is left."""
    x, keep = call[0], not call.attributes.flag("allowzero", False)
    wanted = reshaped(x.shape, _list(call, "shape", 1), keep)
    return x.moved(lambda v: v.reshape(wanted))


def reshaped(shape: tuple[int, ...], wanted: tuple[int, ...], keep: bool) -> tuple[int, ...]:
    """The shape that a Reshape of `shape` gives; `keep` says that 0 keeps the size."""
    sizes = list(wanted)
    if keep and any(not n for n in sizes[len(shape) :]):
        raise Refused(f"shape {wanted} keeps sizes that {shape} has not; export the model again")
    if keep:
        sizes = [n or shape[axis] for axis, n in enumerate(sizes)]
    rest = prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and rest:
        sizes[sizes.index(-1)] = prod(shape) // rest
    if min(sizes, default=0) < 0 or prod(sizes) != prod(shape):
        raise Refused(f"{shape} does not reshape to {wanted}; export the model again")
    return sized(sizes)


@enter(MOVES, "Flatten")
def flatten(call: Call) -> Results:
    """A matrix: the axes before `axis` are its rows."""
    sizes = call[0].shape
    axis = call.attributes.integer("axis", 1)
    if not -len(sizes) <= axis <= len(sizes):
        raise Refused(f"axis is in {-len(sizes)}..{len(sizes)}, not {axis}; export the model again")
    axis = axis + len(sizes) if axis < 0 else axis
    return call[0].moved(lambda v: v.reshape(prod(sizes[:axis]), prod(sizes[axis:])))


@enter(MOVES, "Transpose")
def transpose(call: Call) -> Results:
    """The axes in another order, by default in the opposite one."""
    rank = len(call[0].shape)
    order = call.attributes.integers("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise Refused(f"perm is an order of {rank} axes, not {order}; export the model again")
    return call[0].moved(lambda v: v.transpose(order))


@enter(MOVES, "DepthToSpace")
def depth_to_space(call: Call) -> Results:
    """Channels as blocks of b x b pixels: (N, b*b*C, H, W) in mode DCR, (N, C*b*b, H, W) in CRD."""
    frames, channels, height, width = _image(call)
    block = _block(call)
    if channels % (block * block):
        raise Refused(
            f"blocks of {block}x{block} pixels take a multiple of {block * block} channels, not "
            f"{channels}; use another blocksize"
        )
    shape = (frames, channels // (block * block), height * block, width * block)
    if (mode := call.attributes.text("mode", "DCR")) not in ("DCR", "CRD"):
        raise Refused(f"mode is DCR or CRD, not {mode[:40]!r}; export the model again")
    apart = (frames, block, block, shape[1], height, width)
    order = (0, 3, 4, 1, 5, 2)
    if mode == "CRD":
        apart = (frames, shape[1], block, block, height, width)
        order = (0, 1, 4, 2, 5, 3)
    return call[0].moved(lambda v: v.reshape(apart).transpose(order).reshape(shape))


@enter(MOVES, "SpaceToDepth")
def space_to_depth(call: Call) -> Results:
    """Blocks of b x b pixels of (N, C, H, W) as channels, b*b of them for each, outermost."""
    frames, channels, height, width = _image(call)
    block = _block(call)
    if height % block or width % block:
        raise Refused(
            f"an image of {height}x{width} is no multiple of blocks of {block}x{block}; pad it or "
            "use another blocksize"
        )
    apart = (frames, channels, height // block, block, width // block, block)
    shape = (frames, channels * block * block, height // block, width // block)
    return call[0].moved(lambda v: v.reshape(apart).transpose(0, 3, 5, 1, 2, 4).reshape(shape))


def _image(call: Call) -> tuple[int, ...]:
    """The sizes (N, C, H, W) of the first input."""
    if len(call[0].shape) != 4:
        raise Refused(f"it takes (N, C, H, W), not {call[0].shape}; reshape the input")
    return call[0].shape


def _block(call: Call) -> int:
    block = call.attributes.integer("blocksize")
    if not 1 <= block <= BLOCK_MAX:
        raise Refused(f"blocksize is from 1 to {BLOCK_MAX}, not {block}; export the model again")
    return block


@enter(MOVES, "Squeeze", most=2)
def squeeze(call: Call) -> Results:
    """Drop axes of size 1: the ones named, or all."""
    sizes = call[0].shape
    named = call.integers("axes", 1)
    axes = [axis for axis, n in enumerate(sizes) if n == 1]
    if named is not None:
        axes = distinct_axes(named, len(sizes))
    if any(sizes[axis] != 1 for axis in axes):
        raise Refused(f"axes {axes} of {sizes} are not all of size 1; export the model again")
    left = [n for axis, n in enumerate(sizes) if axis not in axes]
    return call[0].moved(lambda v: v.reshape(left))


@enter(MOVES, "Unsqueeze", most=2)
def unsqueeze(call: Call) -> Results:
    """Insert axes of size 1; they are counted in the result."""
    named = call.integers("axes", 1)
    if named is None:
        raise Refused("axes are missing; export the model again")
    sizes = iter(call[0].shape)
    rank = len(call[0].shape) + len(named)
    axes = distinct_axes(named, rank)
    wanted = sized([1 if axis in axes else next(sizes) for axis in range(rank)])
    return call[0].moved(lambda v: v.reshape(wanted))


@enter(MOVES, "Concat", most=MANY)
def concat(call: Call) -> Results:
    """The inputs one after the other along an axis."""
    parts = call.all
    axis = from_front(call.attributes.integer("axis"), len(parts[0].shape))
    dtypes = [x.dtype for x in parts]
    if len(set(dtypes)) > 1 and not all(map(is_float, dtypes)):
        raise Refused(f"inputs have one type, not {' and '.join(dtypes[:4])}; add a Cast")
    if len({(x.shape[:axis], x.shape[axis + 1 :], len(x.shape)) for x in parts}) != 1:
        listed = ", ".join(str(x.shape) for x in parts[:4])
        raise Refused(f"shapes {listed} differ beside axis {axis}; export the model again")
    total = list(parts[0].shape)
    total[axis] = sum(x.shape[axis] for x in parts)
    made_size(total)
    return joined(parts, axis)


def joined(parts: list[Constant], axis: int) -> Constant:
    """Constants one after the other along an axis, which they share with all others."""
    dtype = parts[0].dtype
    if len({x.values.dtype for x in parts}) != 1 or parts[0].values.dtype == object:
        return Constant(np.concatenate([x.fractions() for x in parts], axis), dtype)
    values = np.concatenate([x.values for x in parts], axis)
    if all(x.scale is None for x in parts):
        return Constant(values, dtype)
    scales = [np.ones((), object) if x.scale is None else x.scale for x in parts]
    starts = np.cumsum([0, *(scale.size for scale in scales)]).tolist()
    numbers = [
        np.broadcast_to(np.arange(start, start + s.size, dtype=np.int32).reshape(s.shape), x.shape)
        for start, s, x in zip(starts, scales, parts, strict=False)
    ]
    places = compact(np.concatenate(numbers, axis))
    return Constant(values, dtype, np.concatenate([s.reshape(-1) for s in scales])[places])


@enter(MOVES, "Split", most=2, outputs=MANY)
def split(call: Call) -> Results:
    """Pieces along an axis: of stated sizes, or alike, the last one smaller where need be."""
    x, count = call[0], len(call.node.outputs)
    axis = from_front(call.attributes.integer("axis", 0), len(x.shape))
    sizes = call.integers("split", 1)
    if call.attributes.integer("num_outputs", count) != count:
        raise Refused(f"num_outputs is the number of outputs, {count}; export the model again")
    sizes = split_sizes(x.shape[axis], count) if sizes is None else sizes
    if len(sizes) != count or min(sizes) < 0 or sum(sizes) != x.shape[axis]:
        raise Refused(
            f"{x.shape[axis]} is not split into {count} pieces by {sizes[:8]}; export the model "
            "again"
        )
    before = (slice(None),) * axis
    ends = np.cumsum(sizes).tolist()
    return [
        x.moved(lambda v, cut=(*before, slice(end - n, end)): v[cut])
        for end, n in zip(ends, sizes, strict=True)
    ]


def split_sizes(total: int, count: int) -> tuple[int, ...]:
    """Sizes alike but for the last, which takes what is left."""
    each = -(-total // count)
    return (*(each,) * (count - 1), total - each * (count - 1))


@enter(MOVES, "Slice", most=5)
def slice_of(call: Call) -> Results:
    """From `starts` to `ends` by `steps`, along `axes`."""
    rank = len(call[0].shape)
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None:
        raise Refused("starts and ends are missing; export the model again")
    axes, steps = call.integers("axes", 3), call.integers("steps", 4)
    named = distinct_axes(range(len(starts)) if axes is None else axes, rank)
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(named) == len(steps) or 0 in steps:
        raise Refused(
            f"starts, ends, axes and steps are lists alike, with no step 0, not {starts}, {ends}, "
            f"{axes} and {steps}; export the model again"
        )
    cut = [slice(None)] * rank
    for axis, start, end, step in zip(named, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return call[0].moved(lambda v: v[tuple(cut)])


@enter(MOVES, "Gather", least=2)
def gather(call: Call) -> Results:
    """The places of an axis that `indices` name."""
    sizes = call[0].shape
    axis = from_front(call.attributes.integer("axis", 0), len(sizes))
    places = _places(call[1], sizes[axis])
    made_size((*sizes[:axis], *places.shape, *sizes[axis + 1 :]))
    return call[0].moved(lambda v: np.take(v, places, axis))


@enter(MOVES, "GatherElements", least=2)
def gather_elements(call: Call) -> Results:
    """Of each line along an axis the places that `indices` name."""
    sizes, wanted = call[0].shape, call[1].shape
    axis = from_front(call.attributes.integer("axis", 0), len(sizes))
    beside = [n for place, n in enumerate(sizes) if place != axis]
    if len(wanted) != len(sizes) or beside != [n for i, n in enumerate(wanted) if i != axis]:
        raise Refused(
            f"indices of shape {wanted} do not lie along axis {axis} of {sizes}; use GatherND's "
            "slices instead"
        )
    places = _places(call[1], sizes[axis])
    return call[0].moved(lambda v: np.take_along_axis(v, places, axis))


def _places(indices: Constant, total: int) -> NDArray[Any]:
    places = indices.integers()
    if places.size and not (-total <= int(places.min()) and int(places.max()) < total):
        odd = int(places.min()) if int(places.min()) < -total else int(places.max())
        raise Refused(f"an index is in {-total}..{total - 1}, not {odd}; export the model again")
    return places


@enter(MOVES, "Pad", most=4)
def pad(call: Call) -> Results:
    """A constant value around, or less than the whole where a number of places is negative."""
    x, rank = call[0], len(call[0].shape)
    if (mode := call.attributes.text("mode", "constant")) != "constant":
        raise Refused(f"constants are padded in the mode 'constant', not {mode[:40]!r}")
    pads, value = call.integers("pads", 1), call.number("value", 2)
    named = call.integers("axes", 3)
    axes = distinct_axes(range(rank) if named is None else named, rank)
    if pads is None or len(pads) != 2 * len(axes):
        raise Refused(f"pads are {2 * len(axes)} integers, not {pads}; export the model again")
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    total = [b + n + a for b, n, a in zip(before, x.shape, after, strict=True)]
    cut = tuple(
        slice(max(0, -b), max(0, n - max(0, -a)))
        for b, n, a in zip(before, x.shape, after, strict=True)
    )
    width = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    made_size(total)
    return _framed(x.moved(lambda v: v[cut]), width, value)


def _framed(x: Constant, width: list[tuple[int, int]], value: Constant | None) -> Constant:
    fill = exactly(0) if value is None else value.fractions()
    numbers = x.values.dtype != object
    if numbers and not fill.any() and (x.scale is None or not x.scale.shape):
        return Constant(np.pad(x.values, width), x.dtype, x.scale)
    whole = np.broadcast_to(fill, [b + n + a for n, (b, a) in zip(x.shape, width, strict=True)])
    whole = whole.copy()
    whole[tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, width, strict=True))] = x.fractions()
    return made(whole, x.dtype)


def _list(call: Call, name: str, place: int) -> tuple[int, ...]:
    values = call.integers(name, place)
    if values is None:
        raise Refused(f"{name} is missing; export the model again")
    return values
