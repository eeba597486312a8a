"""Operators of float graphs that compute nothing: they move, cut, pad and name."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ... import layers
from ...network import INPUT
from ..constants.constant import Constant
from ..graph import Node
from ..parameters import Attributes
from .table import axes_of, handles, own_axis
from .views import Draft, Places, Value, View, reals, refuse


def _moved(node: Node, view: View, places: Places) -> View:
    """The tensor with its places rearranged; what waits to finish it keeps its axis."""
    by_row = view.finish in ("softmax", "log_softmax")
    if by_row and places.shape[-1:] != view.shape[-1:]:
        raise refuse(
            node,
            f"it moves the result of {view.finisher}, which is left to the host; cut the model "
            "before that",
        )
    return replace(view, places=places)


@handles("Identity", "Dropout", "Cast")
def _same(draft: Draft, node: Node, attributes: Attributes) -> Value:
    attributes.ignore("ratio", "seed", "saturate", "round_mode")
    if node.op == "Dropout" and len(node.inputs) > 2:
        mode = draft.optional(node, 2, "the training mode")
        if mode is not None and bool(mode.values.any()):
            raise refuse(node, "it is in training mode; export the model for inference")
    view = draft.unfinished(node)
    if node.op == "Cast":
        kind = attributes.integer("to")
        is_input = view.source == INPUT and draft.integers
        integral = is_input or isinstance(draft.layer(view), layers.ArgMax)
        if kind not in FLOATS and not integral:
            raise refuse(node, "it rounds reals to integers; remove it, or quantise the model")
    return view


FLOATS = {1, 10, 11, 16}
"""ONNX's numbers of float32, float16, float64 and bfloat16."""


@handles("Flatten")
def _flatten(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.unfinished(node)
    axis = attributes.integer("axis", 1)
    if axis not in (1, -len(view.shape)):
        raise refuse(node, f"it joins frames of a batch, by axis {axis}; use axis 1")
    return _moved(node, view, view.places.reshape(-1))


@handles("Reshape")
def _reshape(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.unfinished(node)
    wanted = draft.constant(node, 1, "the shape").integers().ravel().tolist()
    zeros = attributes.flag("allowzero", False)
    own = (draft.batch, *view.shape)
    sizes = [
        own[k] if size == 0 and not zeros and k < len(own) else size
        for k, size in enumerate(wanted)
    ]
    if sizes.count(-1) == 1 and -1 in sizes[1:]:
        known = prod(size for size in sizes[1:] if size != -1)
        sizes[sizes.index(-1)] = view.places.size // known if known > 0 else 0
    if not sizes or sizes[0] not in (-1, 1, draft.batch) or prod(sizes[1:]) != view.places.size:
        raise refuse(
            node,
            f"it reshapes {draft.with_batch(view)} to {tuple(wanted)}, which mixes the frames of a "
            "batch; keep the first axis",
        )
    return _moved(node, view, view.places.reshape(sizes[1:]))


@handles("Transpose")
def _transpose(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.unfinished(node)
    rank = len(view.shape) + 1
    order = attributes.integers("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise refuse(node, f"it moves the batch, by {order}; keep axis 0 first")
    return _moved(node, view, view.places.transpose([axis - 1 for axis in order[1:]]))


@handles("Squeeze", "Unsqueeze")
def _squeeze(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.unfinished(node)
    rank, grows = len(view.shape), node.op == "Unsqueeze"
    named = draft.optional(node, 1, "the axes")
    count = 0
    if grows:
        count = len(attributes.integers("axes")) if named is None else named.size
    axes = axes_of(draft, node, attributes, rank + count)
    if axes is None:
        axes = [axis for axis, size in enumerate(view.shape) if size == 1]
    if len(set(axes)) != len(axes):
        raise refuse(node, f"it names an axis twice, of {axes}; export the model again")
    if grows:
        return _moved(node, view, np.expand_dims(view.places, tuple(axes)))
    if any(view.shape[axis] != 1 for axis in axes):
        raise refuse(node, f"it drops axes of {draft.with_batch(view)} that are not of size 1")
    return _moved(node, view, np.squeeze(view.places, tuple(axes)))


@handles("Shape", "Size")
def _shape(draft: Draft, node: Node, attributes: Attributes) -> Value:
    shape = (draft.batch, *draft.unfinished(node).shape)
    if node.op == "Size":
        return Constant.of(np.array(prod(shape), np.int64))
    # Slices clip their ends as the operator does.
    first, last = attributes.integer("start", 0), attributes.integer("end", len(shape))
    return Constant.of(np.array(shape[first:last], np.int64))


@handles("Slice")
def _slice(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    rank = len(view.shape)

    def listed(name: str, number: int) -> list[int] | None:
        constant = draft.optional(node, number, f"the {name}")
        if constant is not None:
            return constant.integers().ravel().tolist()
        return list(attributes.integers(name)) if name in attributes else None

    starts, ends = listed("starts", 1), listed("ends", 2)
    if starts is None or ends is None:
        raise refuse(node, "it has no starts or no ends; export the model again")
    axes = listed("axes", 3) or list(range(len(starts)))
    steps = listed("steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or min(steps, default=1) < 1:
        raise refuse(node, "it takes as many starts, ends, axes and positive steps; export again")
    cuts = [slice(None)] * rank
    for first, last, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis in (0, -rank - 1) and (first, step) == (0, 1) and last >= draft.batch:
            continue
        cuts[own_axis(node, axis, rank)] = slice(first, last, step)
    return draft.selected(node, view, view.places[tuple(cuts)])


@handles("Split")
def _split(draft: Draft, node: Node, attributes: Attributes) -> list[Value]:
    view = draft.view(node)
    axis = own_axis(node, attributes.integer("axis", 0), len(view.shape))
    given, count = draft.optional(node, 1, "the sizes"), len(node.outputs)
    attributes.ignore("num_outputs")
    if given is not None:
        sizes = given.integers().ravel().tolist()
    elif "split" in attributes:
        sizes = list(attributes.integers("split"))
    else:
        largest = -(-view.shape[axis] // count)
        sizes = [largest] * (count - 1) + [view.shape[axis] - largest * (count - 1)]
    if len(sizes) != count or sum(sizes) != view.shape[axis] or min(sizes) < 1:
        raise refuse(
            node,
            f"it splits {view.shape[axis]} channels into {sizes}, for {count} outputs; export the "
            "model again",
        )
    parts = np.split(view.places, np.cumsum(sizes)[:-1], axis)
    return [draft.selected(node, view, part) for part in parts]


@handles("Gather")
def _gather(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    axis = own_axis(node, attributes.integer("axis", 0), len(view.shape))
    numbers = draft.constant(node, 1, "the indices").integers()
    size = view.shape[axis]
    if numbers.size and not -size <= int(numbers.min()) <= int(numbers.max()) < size:
        raise refuse(node, f"it takes indices beyond the {size} of its axis; export again")
    return draft.selected(node, view, np.take(view.places, numbers, axis))


@handles("Pad")
def _pad(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    rank = len(view.shape)
    mode = attributes.text("mode", "constant")
    given = draft.optional(node, 1, "the pads")
    pads = (
        attributes.integers("pads") if given is None else tuple(given.integers().ravel().tolist())
    )
    value = draft.optional(node, 2, "the value")
    filled = float(attributes.number("value", 0.0)) if value is None else reals(value).sum()
    axes = list(range(rank + 1))
    if (named := draft.optional(node, 3, "the axes")) is not None:
        axes = [axis % (rank + 1) for axis in named.integers().ravel().tolist()]
    if mode != "constant" or filled != 0 or min(pads, default=0) < 0:
        raise refuse(
            node, f"it pads by {pads} in mode {mode[:20]!r} with {filled}, and only zeros are added"
        )
    if len(pads) != 2 * len(axes):
        raise refuse(node, f"it has {len(pads)} pads for {len(axes)} axes; export the model again")
    ends = [(0, 0)] * (rank + 1)
    for axis, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        ends[axis] = (before, after)
    return _padded(draft, node, view, ends)


def _padded(draft: Draft, node: Node, view: View, ends: list[tuple[int, int]]) -> View:
    """The tensor with zeros before and after each axis, the batch's first."""
    rank = len(view.shape)
    if not any(map(any, ends)):
        return view
    free = [axis for axis in (0, rank - 1) if not any(ends[axis + 1])]
    if any(ends[0]) or not free or rank not in (2, 3):
        raise refuse(node, "it pads the batch or channels; pad positions only")
    channel = draft.channel_axis(view, free)
    source, channels = draft.image(node, view, channel)
    spans = [end for axis, end in enumerate(ends[1:]) if axis != channel]
    (top, bottom), (left, right) = spans if rank == 3 else [(0, 0), *spans]
    name = draft.emit(node, layers.Pad((top, left, bottom, right)), source)
    shape = tuple(size + sum(end) for size, end in zip(view.shape, ends[1:], strict=True))
    return draft.image_view(name, shape, channel, channels)
