"""The two ends of an imported program: what its users put in, and what they take out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations

import numpy as np

from ..border import Border
from ..exact import (
    Affine,
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
    fraction_array,
    of_channel,
)
from ..fixed import BINARY, Grid, Ints, ProgramError
from ..program import Edge
from ..rounding import FLOOR
from .graph import Graph

IMAGES = {
    "Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "GlobalAveragePool",
    "GlobalMaxPool", "BatchNormalization", "Resize", "Upsample", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "PRelu", "InstanceNormalization", "ConvTranspose",
}  # fmt: skip
"""Operators whose tensors have their channels first."""
ROWS = {
    "Transpose",
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "QLinearMatMul",
    "QGemm",
    "Reshape",
    "Flatten",
}
"""Operators before which the order of the graph is kept."""
AXES_MAX = 6
"""Axes of an output whose orders are all tried."""


def channels_first(graph: Graph) -> bool:
    """Whether nothing that keeps the order of the graph is met before an operator on images."""
    readers: dict[str, list[int]] = {}
    for number, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(number)
    waiting, seen = [graph.inputs[0].name], {graph.inputs[0].name}
    while waiting:
        for number in readers.get(waiting.pop(0), []):
            node = graph.nodes[number]
            if node.op in IMAGES:
                return True
            if node.op in ROWS:
                return False
            new = [name for name in node.outputs if name not in seen]
            seen.update(new)
            waiting += new
    return True


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
    lo, hi = last.lo, last.hi  # type: ignore[attr-defined]
    affine = Affine(fraction_array(1), fraction_array(0))
    for at, function in enumerate(before):
        if isinstance(function, Affine):
            affine = affine.then(function.scale, function.offset)
        elif isinstance(function, Clip) and all(f.channels == 1 for f in chain[at + 1 :]):
            # Rounding never falls: clipping before it clips its result.
            lo, hi = _clipped(function, chain[at + 1 :], lo, hi)
        else:
            raise _unfit(f"{type(function).__name__} comes before it")
    if min(affine.scale) <= 0:
        raise _unfit("it is multiplied by a number that is not positive")
    scale = 1 / affine.scale
    if isinstance(last, Round):
        edge = Edge.of(shape, Grid(lo, hi))
        return edge, _border(scale, -affine.offset * scale, last.mode)
    if not isinstance(last, Steps):
        raise _unfit("it goes through a function that is no quantiser")
    if last.at.shape != (1, 1) or not last.reached:
        raise _unfit("it goes through several thresholds")
    cut = (of_channel(last.at[:, 0], 0) - affine.offset) * scale
    if bipolar:
        return Edge.of(shape, BINARY), _border(scale, cut, FLOOR)
    # From the cut on the quotient is 1 or more.
    return Edge.of(shape, Grid(lo, hi)), _border(scale, cut - scale * (lo + 1), FLOOR)


def _clipped(clip: Clip, rest: Chain, lo: int, hi: int) -> tuple[int, int]:
    ends = [None if end is None else int(composed(rest, 0, end)) for end in (clip.lo, clip.hi)]
    lo = lo if ends[0] is None else max(lo, ends[0])
    hi = hi if ends[1] is None else min(hi, ends[1])
    return lo, max(lo, hi)


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
    axes = _order(index)
    if axes is None:
        raise ProgramError(
            "the graph's output is in an order that hardware does not give; end the graph before "
            "the last transposition"
        )
    plain = axes == tuple(range(index.ndim))
    own = None if shape == index.shape else shape
    return replace(
        border, rounding=Border().rounding, shape=own, axes=() if plain else axes, finish=name
    )


def _order(index: Ints) -> tuple[int, ...] | None:
    """The order of the program's axes in which its elements lie as in the tensor."""
    for axes in permutations(range(index.ndim)):
        wanted = np.arange(index.size).reshape([index.shape[axis] for axis in axes])
        if bool((wanted.transpose(np.argsort(axes)) == index).all()):
            return axes
    return None


def unflattened(shape: tuple[int, ...], index: Ints) -> tuple[int, ...] | None:
    """The tensor's own axes in the order of the program; None where no reshape is of use."""
    if _order(index) is not None or len(shape) > AXES_MAX:
        return None
    for axes in permutations(range(len(shape))):
        wanted = np.arange(index.size).reshape(shape).transpose(axes)
        if bool((wanted.reshape(-1) == index.reshape(-1)).all()):
            return wanted.shape
    return None
