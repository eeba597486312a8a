"""Convolutions and matrix products with constant weights: a window and a dot product."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ... import ops
from ...exact import Affine, Fractions, extended
from ...fixed import Ints, ProgramError
from ..budget import check_elements
from ..constants.constant import Constant, blamed
from ..graph import Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import ONE, Stream, Value
from .handler import handles
from .weights import Rows, integer_rows, stand_in
from .windows import Windowing, windowing

GROUPS_MAX = 16
"""Groups that get a dot product of their own; more become one with zeros between."""
WEIGHT = 4
"""Units of work for a weight."""
DENSE_MAX = 1 << 23
"""Weights of that one, zeros included."""


@handles("Conv")
def conv(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Conv.

    1-D and 2-D, strided, dilated, padded (also auto_pad and unequal sides), grouped, depthwise;
    weights that are constants on a grid of at most 16 bits per output channel, input quantised.
    """
    weights = importer.constant(node, 1, "its weights")
    bias = importer.optional(node, 2, "its bias")
    return convolve(importer, node, attributes, importer.stream(node), weights, bias)


@handles("Gemm")
def gemm(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Gemm.

    A quantised first input, constant weights on a grid of at most 16 bits, transB, alpha and
    beta; transA only as 0.
    """
    if attributes.flag("transA", False):
        raise ProgramError(f"{node}: transA = 1 would mix the frames of a batch; export it as 0")
    if len(importer.stream(node).shape) != 1:
        raise ProgramError(
            f"{node}: it takes a matrix of frames by features, not an input of shape "
            f"{(importer.batch, *importer.stream(node).shape)}; flatten before it"
        )
    alpha, beta = attributes.number("alpha", 1.0), attributes.number("beta", 1.0)
    weights = importer.constant(node, 1, "its weights")
    _rank(node, weights, 2)
    if attributes.flag("transB", False):
        weights = weights.moved(np.transpose)
    weights = weights.scaled(np.array(alpha, object))
    bias = importer.optional(node, 2, "its bias")
    if bias is not None:
        bias = bias.scaled(np.array(beta, object))
    return multiply(importer, node, importer.stream(node), weights, bias)


@handles("MatMul")
def matmul(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """MatMul.

    A quantised first input, a constant matrix on a grid of at most 16 bits.
    """
    return multiply(
        importer, node, importer.stream(node), importer.constant(node, 1, "its weights"), None
    )


def convolve(
    importer: Importer,
    node: Node,
    attributes: Attributes,
    x: Stream,
    weights: Constant,
    bias: Constant | None,
) -> Stream:
    """The convolution of a stream (C, H, W) or (C, L) with weights (N, C/group, kh, kw)."""
    if len(weights.shape) not in (3, 4) or len(weights.shape) != len(x.shape) + 1:
        raise ProgramError(
            f"{node}: weights of shape {weights.shape} do not fit an input of shape "
            f"{(importer.batch, *x.shape)}; 1-D and 2-D convolutions are understood"
        )
    if min(weights.shape) < 1:
        raise ProgramError(f"{node}: weights of shape {weights.shape} are empty; export it again")
    flat = len(weights.shape) == 3
    if flat:
        weights = weights.moved(lambda v: v.reshape(*v.shape[:2], 1, v.shape[2]))
    group = attributes.integer("group", 1)
    outputs, inputs = weights.shape[:2]
    if group < 1 or inputs * group != x.shape[0] or outputs % group:
        raise ProgramError(
            f"{node}: weights of shape {weights.shape} and group {group} do not fit an input of "
            f"{x.shape[0]} channels; export the model again"
        )
    x = importer.images(node, importer.settled(x, node))
    kernel = weights.shape[2], weights.shape[3]
    shape = windowing(node, attributes, kernel, x.index.shape[:2], flat)
    convolution = _Convolution(importer, node, x, shape, weights, group)
    if group == x.shape[0] == outputs and group > 1:
        result = convolution.depthwise()
    elif group <= GROUPS_MAX:
        result = convolution.grouped()
    else:
        result = convolution.dense()
    return _biased(importer, node, result, bias)


@dataclass(frozen=True, eq=False)
class _Convolution:
    """One convolution on its way into the program; weights (N, C/group, kh, kw)."""

    importer: Importer
    node: Node
    x: Stream
    shape: Windowing
    weights: Constant
    group: int

    @property
    def order(self) -> Ints:
        """The tensor's channel at each of the program's."""
        return self.importer.channel_order(self.x)

    def windows(self, x: Stream) -> str:
        """The edge of the taps of every position."""
        if self.shape.is_plain:
            return x.source
        zero = 0
        if self.shape.pads(x.index.shape[:2]):
            zero = self.importer.integral_offset(x, self.node, "it pads")
        return self.importer.emit(f"{self.node.name}_window", self.shape.window(zero), x.source)

    def columns(self, channels: Ints) -> tuple[Fractions, Fractions]:
        """Scale and offset of each tap (ky, kx, c) of some of the program's channels."""
        count = prod(self.shape.kernel)
        affine = self.x.affine
        both = np.broadcast_arrays(affine.scale, affine.offset, np.empty(self.x.channels))[:2]
        return tuple(np.tile(values[channels], count) for values in both)  # type: ignore[return-value]

    def dot(self, x: Stream, channels: Ints, weights: Constant, label: str) -> tuple[str, Affine]:
        """Weights (N, C', kh, kw), C' in the program's order, on the windows of `x`."""
        scale, offset = self.columns(channels)
        flat = weights.moved(lambda v: v.transpose(0, 2, 3, 1).reshape(len(v), -1))
        rows = _rows(self.importer, self.node, flat, scale)
        op = ops.Dot(rows.weights, rows.grid)
        source = self.importer.emit(label, op, self.windows(x))
        return source, Affine(rows.scale, _real_sums(self.node, rows, flat, offset, scale))

    def grouped(self) -> Stream:
        """One dot product per group, side by side; a single group needs no more."""
        order, label = self.order, self.node.name
        each = self.x.channels // self.group
        members = [np.flatnonzero(order // each == g) for g in range(self.group)]
        parts: list[tuple[str, Affine]] = []
        count = self.weights.shape[0] // self.group
        for g, channels in enumerate(members):
            own = self.weights.moved(
                lambda v, g=g, c=channels: v[g * count : (g + 1) * count][:, order[c] % each]
            )
            if self.group == 1:
                parts.append(self.dot(self.x, channels, own, f"{label}_dot"))
                continue
            picked = self.importer.emit(f"{label}_select{g}", ops.Select(channels), self.x.source)
            x = Stream(picked, self.x.shape, self.x.index[..., channels], self.x.chain, label)
            parts.append(self.dot(x, channels, own, f"{label}_dot{g}"))
        source, affine = parts[0]
        if self.group > 1:
            sources = [source for source, _ in parts]
            source = self.importer.emit(f"{label}_groups", ops.Concatenate(), *sources)
            affine = Affine(
                np.concatenate([part.scale for _, part in parts]),
                np.concatenate([part.offset for _, part in parts]),
            )
        return self.importer.image_result(source, self.x, extended((), affine), label)

    def dense(self) -> Stream:
        """Many groups: one dot product over all channels, with zeros outside each group."""
        each, count = self.x.channels // self.group, self.weights.shape[0] // self.group
        size = self.weights.size * self.group
        if size > DENSE_MAX:
            raise ProgramError(
                f"{self.node}: {self.group} groups become one dot product of {size} weights with "
                f"zeros between, above the limit of {DENSE_MAX}; use at most {GROUPS_MAX} groups, "
                "or one for each channel"
            )
        owner = np.arange(self.weights.shape[0])[:, None] // count
        inside = self.order // each == owner

        def spread_out(values: np.ndarray) -> np.ndarray:
            full = values[:, self.order % each]
            return np.where(inside[..., None, None], full, np.zeros((), values.dtype))

        numbers = Constant(spread_out(self.weights.values), self.weights.dtype)
        if self.weights.scale is not None:
            scale = np.broadcast_to(self.weights.scale, self.weights.shape)
            numbers = numbers.scaled(scale[:, self.order % each])
        every = np.arange(self.x.channels)
        source, affine = self.dot(self.x, every, numbers, f"{self.node.name}_dot")
        return self.importer.image_result(source, self.x, extended((), affine), self.node.name)

    def depthwise(self) -> Stream:
        """One small dot product per channel; the channels keep the program's order."""
        order = self.order
        weights = self.weights.moved(lambda v: v[order].reshape(len(v), -1))
        affine = self.x.affine
        rows = _rows(self.importer, self.node, weights, np.tile(ONE, weights.shape[1]))
        source = self.importer.emit(
            f"{self.node.name}_dot", ops.DepthwiseDot(rows.weights, rows.grid), self.windows(self.x)
        )
        taps = rows.weights.sum(1).astype(object) * rows.scale
        scale = Affine(rows.scale * affine.scale, taps * affine.offset)
        chain = extended((), scale)
        return self.importer.image_result(source, self.x, chain, self.node.name, order)


def _rows(importer: Importer, node: Node, weights: Constant, columns: Fractions) -> Rows:
    """The weights as integers; where they are none, that is noted and others stand in."""
    try:
        importer.spend(WEIGHT * weights.size)
        with blamed(node):
            return integer_rows(node, weights, columns)
    except ProgramError as error:
        importer.unquantised(str(error))
        return stand_in(weights)


def _real_sums(
    node: Node, rows: Rows, weights: Constant, offset: Fractions, scale: Fractions
) -> Fractions:
    """Per row the sum of real weights times offsets; row scales include the inputs' scales."""
    if all(scale):
        return rows.sums(offset / scale)
    # An input that is constant has lost its weight among the integers.
    with blamed(node):
        return np.asarray(weights.fractions() @ offset, dtype=object)


def multiply(
    importer: Importer, node: Node, x: Stream, weights: Constant, bias: Constant | None
) -> Stream:
    """The product of a stream (F,) or (T, F) with weights (F, N)."""
    _rank(node, weights, 2)
    if not x.shape or x.shape[-1] != weights.shape[0] or min(weights.shape) < 1:
        raise ProgramError(
            f"{node}: weights of shape {weights.shape} do not fit an input of shape "
            f"{(importer.batch, *x.shape)}; its last axis meets the weights' first"
        )
    x = importer.settled(x, node)
    features, outputs = weights.shape
    rows = x.index.size // features
    x = importer.reshaped(x, (rows, features) if rows > 1 else (features,))
    place = x.index.reshape(rows, features)
    columns, at = place[0] % features, place[:, 0] // features
    if not bool((place == at[:, None] * features + columns).all()):
        raise ProgramError(
            f"{node}: the features of its input are not side by side in the stream, and reordering "
            "needs a buffer that is not offered; avoid the transposition before it"
        )
    affine = x.affine
    scale, offset, _ = np.broadcast_arrays(affine.scale, affine.offset, np.empty(features))
    flat = weights.moved(lambda v: v[columns].T)
    found = _rows(importer, node, flat, scale)
    source = importer.emit(f"{node.name}_dot", ops.Dot(found.weights, found.grid), x.source)
    check_elements(str(node), rows * outputs)
    importer.spend(rows * outputs)
    index = (at[:, None] * outputs + np.arange(outputs)).reshape(importer.edges[source].shape)
    chain = extended((), Affine(found.scale, _real_sums(node, found, flat, offset, scale)))
    result = Stream(source, (*x.shape[:-1], outputs), index, chain, node.name)
    if bias is None:
        return result
    with blamed(node):
        values = bias.fractions()
    result, (offsets,) = importer.parameters(node, result, values)
    return result.applied(Affine(ONE, offsets), node.name)


def _biased(importer: Importer, node: Node, x: Stream, bias: Constant | None) -> Stream:
    """A convolution's result plus a bias (N,)."""
    if bias is None:
        return x
    if bias.shape != (x.shape[0],):
        raise ProgramError(
            f"{node}: a bias has shape {(x.shape[0],)}, not {bias.shape}; export the model again"
        )
    with blamed(node):
        values = bias.fractions().reshape(-1, *[1] * (len(x.shape) - 1))
    x, (offsets,) = importer.parameters(node, x, values)
    return x.applied(Affine(ONE, offsets), node.name)


def _rank(node: Node, weights: Constant, rank: int) -> None:
    if len(weights.shape) != rank:
        raise ProgramError(
            f"{node}: its weights have {rank} axes, not shape {weights.shape}, since all frames of "
            "a batch share them; export one matrix"
        )
