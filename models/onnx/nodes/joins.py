"""Tensors that meet: sums of branches, concatenation."""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from ... import ops
from ...exact import Affine, Fractions, extended
from ...fixed import ProgramError
from ..budget import check_elements
from ..drafting import Join
from ..graph import Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import Stream, Value
from .handler import handles

BITS_MAX = 48
"""Widest integers of branches under a common scale."""


def add_streams(importer: Importer, node: Node, a: Stream, b: Stream, sign: int) -> Stream:
    """A + b or a - b, with exact integer factors that bring both to one scale."""
    if a.shape != b.shape:
        raise ProgramError(
            f"{node}: it adds tensors of shapes {(importer.batch, *a.shape)} and "
            f"{(importer.batch, *b.shape)}; hardware adds equal shapes only"
        )
    a, b = importer.settled(a, node), importer.settled(b, node)
    a, b = _one_layout(importer, node, a, b)
    channels = a.channels
    scales = [_per_channel(x.affine.scale, channels) for x in (a, b)]
    scales[1] = scales[1] * sign
    offset = a.affine.offset + sign * b.affine.offset
    steps = np.array([_step(s, t) for s, t in zip(*scales, strict=True)], object)
    factors = [scale / steps for scale in scales]
    _check_width(importer, node, (a, b), factors)
    pair = int(factors[0][0]), int(factors[1][0])
    if pair != (1, 1) and all(len(set(one.tolist())) == 1 for one in factors):
        branches = importer.realised(a.source), importer.realised(b.source)
        source = importer.joined(Join(node.name, branches, pair))
    else:
        sources = [
            rescaled(importer, node, x, factor, number)
            for number, (x, factor) in enumerate(zip((a, b), factors, strict=True))
        ]
        source = importer.emit(f"{node.name}_sum", ops.Add(), *sources)
    chain = extended((), Affine(_shared(steps), offset))
    return Stream(source, a.shape, a.index, chain, node.name)


def rescaled(importer: Importer, node: Node, x: Stream, factors: Fractions, number: int) -> str:
    """The integers of a stream times an integer per channel."""
    multiplier = [int(factor) for factor in factors]
    if set(multiplier) == {1}:
        return x.source
    op = ops.Scale(np.array(multiplier), np.zeros(len(multiplier), np.int64))
    return importer.emit(f"{node.name}_scale{number}", op, x.source)


def _check_width(
    importer: Importer, node: Node, streams: tuple[Stream, Stream], factors: list[Fractions]
) -> None:
    """Refuse factors that make integers too wide."""
    for x, each in zip(streams, factors, strict=True):
        edge = importer.edge(x)
        ends = zip(edge.lo.tolist(), edge.hi.tolist(), each.tolist(), strict=True)
        bits = max(int(max(abs(lo * m), abs(hi * m))).bit_length() + 1 for lo, hi, m in ends)
        if bits > BITS_MAX:
            raise ProgramError(
                f"{node}: a common scale of its inputs needs integers of {bits} bits, and at most "
                f"{BITS_MAX} are taken; quantise the inputs with one scale, or with powers of two"
            )


def _step(a: object, b: object) -> object:
    """The largest number of which both are integer multiples."""
    over = gcd(a.numerator * b.denominator, b.numerator * a.denominator)  # type: ignore[attr-defined]
    return type(a)(over, a.denominator * b.denominator) if over else type(a)(1)  # type: ignore[attr-defined,call-arg]


def _per_channel(values: Fractions, channels: int) -> Fractions:
    return np.broadcast_to(values, (channels,))


def _shared(values: Fractions) -> Fractions:
    """One value where all are alike."""
    return values[:1] if len(set(values.tolist())) == 1 else values


def _one_layout(importer: Importer, node: Node, a: Stream, b: Stream) -> tuple[Stream, Stream]:
    """Two streams of one shape with their elements in one order."""
    if not np.array_equal(a.index, b.index):
        a, b = importer.in_rows(a, node), importer.in_rows(b, node)
    if a.index.shape != b.index.shape:
        larger = max((a, b), key=lambda x: len(x.index.shape)).index.shape
        a, b = importer.reshaped(a, larger), importer.reshaped(b, larger)
    if not bool((a.index == b.index).all()):
        raise ProgramError(
            f"{node}: its inputs arrive in different orders, and reordering needs a buffer that is "
            "not offered; avoid the transposition of one of them"
        )
    return a, b


@handles("Sum")
def total(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Sum.

    Of quantised tensors of one shape.
    """
    result = importer.stream(node, 0)
    for number in range(1, len(node.inputs)):
        result = add_streams(importer, node, result, importer.stream(node, number), 1)
    return result


@handles("Concat")
def concat(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Concat.

    Of quantised tensors along any axis but the batch.
    """
    axis = attributes.integer("axis")
    return concatenate(
        importer, node, [importer.stream(node, k) for k in range(len(node.inputs))], axis
    )


def concatenate(importer: Importer, node: Node, streams: list[Stream], axis: int) -> Stream:
    """Streams side by side along an axis of their tensors (the batch is axis 0)."""
    rank = len(streams[0].shape) + 1
    axis = axis + rank if axis < 0 else axis
    if not 1 <= axis < rank:
        raise ProgramError(f"{node}: axis is from 1 to {rank - 1}, not {axis}; export it again")
    streams = [importer.unflattened(importer.settled(x, node), node) for x in streams]
    others = {(*x.shape[: axis - 1], *x.shape[axis:]) for x in streams}
    if len(others) > 1 or any(len(x.shape) != rank - 1 for x in streams):
        raise ProgramError(
            f"{node}: its inputs have shapes {', '.join(str(x.shape) for x in streams)}, which "
            f"differ beside axis {axis}; export the model again"
        )
    if len({x.index.shape[:-1] for x in streams}) > 1:
        alike = len({x.index.size // x.channels for x in streams}) == 1
        first = streams[0].index.shape[:-1] if alike else ()
        streams = [importer.reshaped(x, (*first, x.index.size // prod(first))) for x in streams]
    check_elements(str(node), sum(x.index.size for x in streams))
    most = ops.Concatenate.inputs[1]
    while len(streams) > 1:
        groups = [streams[first : first + most] for first in range(0, len(streams), most)]
        streams = [_joined(importer, node, group, axis) for group in groups]
    return streams[0]


def _joined(importer: Importer, node: Node, streams: list[Stream], axis: int) -> Stream:
    """Up to 16 streams side by side."""
    if len(streams) == 1:
        return streams[0]
    importer.spend(8 * sum(x.index.size for x in streams))
    source = importer.emit(node.name, ops.Concatenate(), *(x.source for x in streams))
    size = sum(x.shape[axis - 1] for x in streams)
    shape = (*streams[0].shape[: axis - 1], size, *streams[0].shape[axis:])
    parts, start = [], 0
    for x in streams:
        places = list(np.unravel_index(x.index, x.shape))
        places[axis - 1] = places[axis - 1] + start
        parts.append(np.ravel_multi_index(places, shape))
        start += x.shape[axis - 1]
    affines = [x.affine for x in streams]
    counts = [x.channels for x in streams]
    both = [
        _shared(
            np.concatenate(
                [_per_channel(part, count) for part, count in zip(parts_, counts, strict=True)]
            )
        )
        for parts_ in ([a.scale for a in affines], [a.offset for a in affines])
    ]
    index = np.concatenate(parts, -1)
    return Stream(source, shape, index, extended((), Affine(*both)), node.name)
