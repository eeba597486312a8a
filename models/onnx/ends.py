"""The two ends of an imported program: what its users put in, and what they take out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import permutations
from math import prod

import numpy as np

from ..border import Border
from ..exact import (
    Affine,
    Bounded,
    Chain,
    Clip,
    Finish,
    Fractions,
    Function,
    Integral,
    Round,
    Sigmoid,
    Steps,
    Tanh,
    composed,
    direction,
    fraction_array,
    of_channel,
)
from ..fixed import BINARY, Ints, ProgramError
from ..program import Edge
from ..rounding import FLOOR
from .constants.constant import Constant
from .constants.folding import fold
from .graph import Graph, Node

IMAGES = {
    "Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "GlobalAveragePool",
    "GlobalMaxPool", "BatchNormalization", "Resize", "Upsample", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "PRelu", "InstanceNormalization", "ConvTranspose",
    "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
"""Operators whose tensors have their channels first."""
MATRICES = {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "QGemm"}
"""Operators whose tensors have their features last."""
MOVES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
SAMPLE = 64
"""Elements that are looked at before all are."""
AXES_MAX = 6
"""Axes of an output whose orders are all tried."""


BITS_MAX = 32
"""Widest integers that enter hardware."""


def channels_first(graph: Graph) -> bool:
    """Whether the channels of the graph's input are the first axis of a frame.

    The first operator on images or matrices tells, through all that moves values; else the first
    tensor with other axes than the input's.
    """
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    first = graph.inputs[0]
    shape = tuple(size or 1 for size in first.shape)
    start = np.arange(prod(shape)).reshape(shape)
    waiting, seen = [(first.name, start)], {first.name}
    turned = start
    while waiting:
        name, places = waiting.pop(0)
        for node in readers.get(name, []):
            if node.op in IMAGES or _by_channel(node):
                return _channels_apart(start, places, 1)
            if node.op in MATRICES:
                return places is not start and _channels_apart(start, places, -1)
            if node.op.startswith("Reduce"):
                continue  # what follows has axes of its own
            moved = _moved(graph, node, places) if node.op in MOVES else places
            if moved is None:
                return False
            if turned is start and moved is not start and moved.ndim > 2:
                turned = moved
            new = [output for output in node.outputs if output not in seen]
            seen.update(new)
            waiting += [(output, moved) for output in new]
    return _channels_apart(start, turned, 1)


def _by_channel(node: Node) -> bool:
    return node.op == "MultiThreshold" and node.attributes.get("data_layout", "") in ("", "NCHW")


LAYOUTS = {2: "NC", 3: "NWC", 4: "NCHW"}
"""Where MultiThreshold has its channels if it does not say: by rank, as in the qonnx package."""


def threshold_axis(layout: str, rank: int) -> int | None:
    """The axis of a frame along which thresholds differ, or None where the layout does not fit."""
    layout = layout or LAYOUTS.get(rank, "")
    if layout.count("C") != 1 or layout[:1] != "N" or len(layout) != rank:
        return None
    return layout.index("C") - 1


def _channels_apart(start: Ints, places: Ints, axis: int) -> bool:
    """Whether neighbours along the channels of a tensor are apart in the graph's input."""
    if places is start or places.ndim < 2:
        return True
    line = np.moveaxis(places, axis, -1).reshape(-1, places.shape[axis])[0]
    return int(line[1] - line[0]) != 1 if len(line) > 1 else start.shape[1:2] == (1,)


def _moved(graph: Graph, node: Node, places: Ints) -> Ints | None:
    """The places behind a node that moves values; None where it is not known or does not fit."""
    if any(name and name not in graph.constants for name in node.inputs[1:]):
        return None
    given = [Constant.of(graph.constants[name]) if name else None for name in node.inputs[1:]]
    try:
        return fold(node, [Constant.of(places), *given])[0].integers()
    except ProgramError:
        return None  # refused with its reason when its turn comes


def layout(shape: tuple[int, ...], first: bool) -> tuple[Ints, tuple[int, ...]]:
    """Where each element of the program's input stands in the tensor, and the border's axes."""
    if not shape:
        return np.zeros(1, np.int64), ()
    index = np.arange(int(np.prod(shape))).reshape(shape)
    if not first or len(shape) not in (2, 3):
        return index, ()
    rank = len(shape)
    return np.moveaxis(index, 0, -1), (rank - 1, *range(rank - 1))


def entrance(chain: Chain, shape: tuple[int, ...], bipolar: bool) -> tuple[Edge, Border]:
    """The integers that a chain, whose last function rounds, makes of the graph's real input."""
    *before, last = chain
    assert isinstance(last, Integral)
    lows, highs = _bounds(last, shape[-1])
    affine = Affine(fraction_array(1), fraction_array(0))
    for at, function in enumerate(before):
        if isinstance(function, Affine):
            affine = affine.then(function.scale, function.offset)
        elif isinstance(function, Clip):
            # What follows never falls: clipping before it clips its result.
            rest = chain[at + 1 :]
            if any(direction(rest, channel) < 0 for channel in range(len(lows))):
                raise _unfit("it is clipped and then multiplied by a negative number")
            lows, highs = _clipped(function, rest, lows, highs)
        else:
            raise _unfit(f"{type(function).__name__} comes before it")
    if min(affine.scale) <= 0:
        raise _unfit("it is multiplied by a number that is not positive")
    scale = 1 / affine.scale
    if max(abs(int(bound)) for bound in (*lows, *highs)).bit_length() > BITS_MAX:
        raise _unfit(f"it is rounded to integers of more than {BITS_MAX} bits")
    if isinstance(last, Round | Bounded):
        edge = Edge(shape, lows, highs)
        return edge, _border(scale, -affine.offset * scale, last.mode)
    if not isinstance(last, Steps):
        raise _unfit("it goes through a function that is no quantiser")
    if last.at.shape != (1, 1) or not last.reached:
        raise _unfit("it goes through several thresholds")
    cut = (of_channel(last.at[:, 0], 0) - affine.offset) * scale
    if bipolar:
        if bool((lows == highs).any()):
            raise _unfit("a bound before it leaves one of its two values only")
        return Edge.of(shape, BINARY), _border(scale, cut, FLOOR)
    # From the cut on the quotient is 1 or more.
    return Edge(shape, lows, highs), _border(scale, cut - scale * (last.lo + 1), FLOOR)


def _bounds(last: Integral, channels: int) -> tuple[Ints, Ints]:
    """The lowest and highest integer of each channel."""
    ends = (last.lows, last.highs) if isinstance(last, Bounded) else (last.lo, last.hi)
    lows, highs = (np.broadcast_to(np.array(end), channels) for end in ends)
    return lows, highs


def _clipped(clip: Clip, rest: Chain, lows: Ints, highs: Ints) -> tuple[Ints, Ints]:
    lows, highs = lows.copy(), highs.copy()
    for channel in range(len(lows)):
        lo, hi = clip.bounds(channel)
        if lo is not None:
            lows[channel] = max(lows[channel], int(composed(rest, channel, lo)))
        if hi is not None:
            highs[channel] = min(highs[channel], int(composed(rest, channel, hi)))
    return lows, np.maximum(lows, highs)


def _unfit(why: str) -> ProgramError:
    return ProgramError(
        f"the graph's input is quantised, but {why}; quantise it first, by a positive scale"
    )


def _border(scale: Fractions, offset: Fractions, mode: str) -> Border:
    scale, offset = np.broadcast_arrays(scale, offset)
    return Border(tuple(scale.tolist()), tuple(offset.tolist()), mode)


FINISHES: Mapping[type[Function], str] = {Sigmoid: "sigmoid", Tanh: "tanh"}


def finish(chain: Chain) -> tuple[Chain, str]:
    """A chain without the function that the host applies at the end, and that function's name."""
    if not chain:
        return chain, ""
    last = chain[-1]
    if isinstance(last, Finish):
        return chain[:-1], last.name
    name = FINISHES.get(type(last), "")
    rounds = any(isinstance(function, Integral) for function in chain)
    return (chain[:-1], name) if name and (rounds or len(chain) <= 2) else (chain, "")


def answer(affine: Affine, name: str, shape: tuple[int, ...], index: Ints) -> Border:
    """How the program's outputs become the graph's output of `shape`."""
    border = _border(affine.scale, affine.offset, FLOOR)
    axes = order_of(index)
    if axes is None:
        raise ProgramError(
            "the graph's output is in an order, or has scales that differ by position, which "
            "hardware does not give; end the graph before its last transposition, or quantise its "
            "result per tensor"
        )
    plain = axes == tuple(range(index.ndim))
    own = None if shape == index.shape else shape
    return replace(
        border, rounding=Border().rounding, shape=own, axes=() if plain else axes, finish=name
    )


def order_of(index: Ints) -> tuple[int, ...] | None:
    """The order of the program's axes in which its elements lie as in the tensor."""
    for axes in permutations(range(index.ndim)):
        shape = tuple(index.shape[axis] for axis in axes)
        if _lies(index, shape, tuple(np.argsort(axes).tolist())):
            return axes
    return None


def unflattened(shape: tuple[int, ...], index: Ints) -> tuple[int, ...] | None:
    """The tensor's own axes in the order of the program; None where no reshape is of use.

    Of axes of size 1, which may stand anywhere, that of the channels stands last if it can.
    """
    order = order_of(index)
    known = order is not None and _sizes(shape) == _sizes(index.shape[axis] for axis in order)
    if known or (order is not None and len(shape) == 1) or len(shape) > AXES_MAX:
        return None
    for axes in sorted(permutations(range(len(shape))), key=lambda axes: axes[-1] != 0):
        if _lies(index, shape, axes):
            return tuple(shape[axis] for axis in axes)
    return None


def _sizes(shape: Iterable[int]) -> list[int]:
    return [size for size in shape if size > 1]


def _lies(index: Ints, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether elements of a tensor of `shape` lie as in its transposition: few first, then all."""
    strides = [prod(shape[axis + 1 :]) for axis in axes]
    some = np.linspace(0, index.size - 1, SAMPLE).astype(np.int64)
    found = index[np.unravel_index(some, index.shape)]
    places = np.unravel_index(some, tuple(shape[axis] for axis in axes))
    first = sum(place * stride for place, stride in zip(places, strides, strict=True))
    if bool((found != first).any()):
        return False
    wanted = np.arange(index.size).reshape(shape).transpose(axes)
    return np.array_equal(wanted.reshape(index.shape), index)
