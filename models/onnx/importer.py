"""The state of an import: what each tensor of the graph became, and the program so far.

A tensor is a `Constant`, or a `Stream`: integers that some node of the program emits, with a chain
of exact real functions (scales, biases, activations, roundings) that waits until an operator needs
integers.  Then the chain is absorbed into one operator (`absorb.py`).  Layouts wait as well: a
stream knows where each of its elements stands in the tensor, so that transposing, flattening and
reshaping cost nothing, and channels-first tensors are channels last in the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from .. import ops
from ..absorb import TABLE_MAX, absorb, monotone
from ..border import Border
from ..exact import (
    Affine,
    Chain,
    Clip,
    Fractions,
    Integral,
    Round,
    Steps,
    extended,
    spread,
)
from ..fixed import Ints, ProgramError, signed
from ..joint import shortened
from ..program import INPUT, Edge
from ..rounding import FLOOR
from .blocks import Blocks, blocks, row_by_row
from .budget import FUNCTION, JOIN, STEP, check_elements
from .constants.constant import Constant
from .drafting import Drafting
from .ends import entrance, order_of, unflattened
from .graph import Node
from .reordering import reordered
from .streams import ONE, RAW, ZERO, Stream, Value
from .uniform import unified, uniform

WIDEST = 1 << 60
"""The largest integer that a bound leaves."""
NOWHERE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Form:
    """What a rounding of the graph became, and that it is exact."""

    node: str
    form: str
    range: tuple[int, int]


@dataclass(eq=False)
class Importer(Drafting):
    """What each tensor of the graph became, and how its layout and its roundings wait."""

    values: dict[str, Value] = field(default_factory=dict[str, Value])
    forms: list[Form] = field(default_factory=list[Form])
    settled_chains: dict[tuple[object, ...], tuple[Chain, Stream]] = field(
        default_factory=dict[tuple[object, ...], tuple[Chain, Stream]]
    )
    """By the identities of a chain's functions, which live on here as long as these are known."""
    laid: dict[tuple[object, ...], tuple[Chain, Stream]] = field(
        default_factory=dict[tuple[object, ...], tuple[Chain, Stream]]
    )
    """Images row by row, so that all who read one share its operator; by chains as before."""
    axes: tuple[int, ...] = ()
    border: Border | None = None
    """How the input is quantised, once that is known."""

    # Values

    def stream(self, node: Node, number: int = 0) -> Stream:
        """An input of a node that must depend on the graph's input."""
        value = self.value(node, number)
        if not isinstance(value, Stream):
            raise ProgramError(
                f"{node}: input {number} is a constant where a tensor that depends on the graph's "
                "input belongs; fold the constants before exporting"
            )
        return value

    def constant(self, node: Node, number: int, what: str) -> Constant:
        """An input of a node that must be known."""
        value = self.optional(node, number, what)
        if value is None:
            raise ProgramError(f"{node}: input {number}, {what}, is missing; export it again")
        return value

    def optional(self, node: Node, number: int, what: str) -> Constant | None:
        """An input of a node that must be known where it is given."""
        if number >= len(node.inputs) or not node.inputs[number]:
            return None
        value = self.value(node, number)
        if not isinstance(value, Constant):
            raise ProgramError(
                f"{node}: input {number}, {what}, depends on the graph's input, and hardware needs "
                "constants there; make it an initialiser"
            )
        return value

    def value(self, node: Node, number: int) -> Value:
        """Any input of a node."""
        if number >= len(node.inputs) or not node.inputs[number]:
            raise ProgramError(f"{node}: input {number} is missing; export the model again")
        return self.values[node.inputs[number]]

    # Parameters per channel

    def parameters(
        self, node: Node, stream: Stream, *tensors: Fractions
    ) -> tuple[Stream, list[Fractions]]:
        """Tensors that broadcast against a stream's tensor, as one value or one per channel.

        Where they differ between positions of one channel, the stream is flattened first, so that
        each position is a channel of its own.
        """
        rows = [self._rows(node, stream, tensor) for tensor in tensors]
        if any(_differ(tensor, row) for tensor, row in zip(tensors, rows, strict=True)):
            stream = self.flat(stream)
            rows = [self._rows(node, stream, tensor) for tensor in tensors]
        return stream, [
            tensor.reshape(-1)[row[0]] if tensor.size > 1 else tensor.reshape(1)
            for tensor, row in zip(tensors, rows, strict=True)
        ]

    def _rows(self, node: Node, stream: Stream, tensor: Fractions) -> Ints:
        """Which element of a tensor meets each element of the stream, as rows of channels."""
        shape = tensor.shape
        if tensor.size == 1:
            return np.zeros((1, 1), np.int64)
        self.spend(2 * stream.index.size)
        if len(shape) == len(stream.shape) + 1:
            if shape[0] != 1:
                raise ProgramError(
                    f"{node}: a constant of shape {shape} differs between the frames of a batch, "
                    "and hardware treats all alike; export the model with a batch of 1"
                )
            shape = shape[1:]
        try:
            places = np.broadcast_to(np.arange(tensor.size).reshape(shape), stream.shape)
        except ValueError:
            raise ProgramError(
                f"{node}: a constant of shape {tensor.shape} does not broadcast against "
                f"{(self.batch, *stream.shape)}; reshape it"
            ) from None
        return places.reshape(-1)[stream.index].reshape(-1, stream.channels)

    # Layouts

    def flat(self, stream: Stream) -> Stream:
        """The stream as one row of features, in the program's order."""
        return self.reshaped(stream, (stream.index.size,))

    def unflattened(self, stream: Stream, node: Node | str) -> Stream:
        """Undo `flat`, where no function differs between channels any more; images row by row."""
        stream = self.in_rows(stream, node)
        ordered = unflattened(stream.shape, stream.index)
        if ordered is None or any(function.channels > 1 for function in stream.chain):
            return stream
        return self.reshaped(stream, ordered)

    def reshaped(self, stream: Stream, shape: tuple[int, ...]) -> Stream:
        """The stream under another shape of the program: wires only."""
        if shape == stream.index.shape:
            return stream
        if self.is_raw(stream):
            stream = self._entered(stream)
        self.spend(2 * stream.index.size)
        old = np.broadcast_to(np.arange(stream.channels), stream.index.shape).reshape(shape)
        rows = old.reshape(-1, shape[-1])
        if any(function.channels > 1 for function in stream.chain) and (rows != rows[0]).any():
            stream = self._unmixed(stream)
        source = self.emit(f"{stream.label}_reshape", ops.Reshape(shape), stream.source)
        chain = spread(stream.chain, rows[0])
        return replace(stream, source=source, index=stream.index.reshape(shape), chain=chain)

    def _entered(self, stream: Stream) -> Stream:
        """The graph's input behind its first rounding, which is the border's."""
        rounds = [k for k, function in enumerate(stream.chain) if isinstance(function, Integral)]
        if not rounds:
            raise ProgramError(
                f"node {stream.label!r}: the graph's input is reshaped, or differs by position, "
                "before it is quantised; quantise it first"
            )
        chain = stream.chain
        return self._absorbed(stream, chain[: rounds[0] + 1], chain[rounds[0] + 1 :])

    def _unmixed(self, stream: Stream) -> Stream:
        """A stream whose channels share all functions, before a reshape mixes them."""
        if any(isinstance(function, Integral) for function in stream.chain):
            stream = self.settled(stream, stream.label)
        found = self.unified(stream) if stream.is_affine else None
        if found is None:
            raise ProgramError(
                f"node {stream.label!r}: its scales differ between channels that a reshape mixes; "
                "quantise per tensor before it"
            )
        return found

    def unified(self, stream: Stream, *also: Fraction) -> Stream | None:
        """A settled stream under one positive scale and one offset for all channels.

        Integers stand for the reals `also` too.  None where that takes integers that are too wide.
        """
        if uniform(stream.affine, stream.channels, also):
            return stream
        found = unified(self.edge(stream), stream.affine, also)
        if found is None:
            return None
        op, affine = found
        source = self.emit(f"{stream.label}_scale", op, stream.source)
        return replace(stream, source=source, chain=extended((), affine))

    def images(self, node: Node, stream: Stream) -> Stream:
        """A tensor (C, H, W) or (C, L) as a stream (H, W, C): channels last, in any order.

        Channels may stand in any order, the same at each position (see `channel_order`).
        """
        if len(stream.shape) not in (2, 3):
            raise ProgramError(
                f"{node}: an input of shape {(self.batch, *stream.shape)} is neither (N, C, L) "
                "nor (N, C, H, W); 1-D and 2-D layers are understood"
            )
        self.spend(4 * stream.index.size)
        shape = _rows(stream.shape)
        if row_by_row(stream.index.reshape(shape)):
            return self.reshaped(stream, shape)
        found = self._from_blocks(stream, node)
        if found is None:
            raise ProgramError(
                f"{node}: its input arrives in another order than row by row with the channels of "
                "a pixel together, and reordering needs a buffer that is not offered; avoid the "
                "transposition before it"
            )
        return found

    def in_rows(self, stream: Stream, node: Node | str) -> Stream:
        """The stream, pixel by pixel where it lies in no order of its axes but in blocks."""
        return stream if order_of(stream.index) is not None else self.unblocked(stream, node)

    def unblocked(self, stream: Stream, node: Node | str) -> Stream:
        """The stream as it is, or an image in blocks row by row, its channels first or last."""
        rank = len(stream.shape)
        if rank not in (2, 3):
            return stream
        self.spend(8 * stream.index.size)
        orders = [*range(rank)], [rank - 1, *range(rank - 1)]
        views = [stream.turned(axes) for axes in orders]
        if any(row_by_row(view.index.reshape(_rows(view.shape))) for view in views):
            return stream
        for view, axes in zip(views, orders, strict=True):
            found = self._from_blocks(view, node)
            if found is not None:
                return found.turned(np.argsort(axes).tolist())
        return stream

    def _from_blocks(self, stream: Stream, node: Node | str) -> Stream | None:
        """An image that stands in blocks as a stream (H, W, C); None where no operator makes it."""
        grid = (1,) * (3 - stream.index.ndim) + stream.index.shape
        found = blocks(_image(stream.shape), stream.index.reshape(grid)) if len(grid) == 3 else None
        if found is None:
            return None
        key = (stream.source, *found.key, *map(id, stream.chain))
        if key not in self.laid:
            laid = self._laid(self.reshaped(stream, grid), found, node)
            self.laid[key] = stream.chain, replace(laid, index=NOWHERE)
        _, laid = self.laid[key]
        return replace(
            laid, shape=stream.shape, index=found.index, label=stream.label, dtype=stream.dtype
        )

    def _laid(self, stream: Stream, found: Blocks, node: Node | str) -> Stream:
        """An image that stands in blocks, behind the operator that lays it row by row."""
        if self.is_raw(stream):
            stream = self._entered(stream)
        if found.mixes(stream.chain):
            stream = self._unmixed(stream)
        source = self._reordered(stream, found, node)
        try:
            op = found.op
        except ProgramError as error:
            raise ProgramError(f"{node}: {error}; use a smaller blocksize") from None
        source = self.emit(f"{stream.label}_rows", op, source)
        return replace(stream, source=source, chain=spread(stream.chain, found.sources[0]))

    def _reordered(self, stream: Stream, found: Blocks, node: Node | str) -> str:
        """The node that emits a stream's channels in the order that its blocks need."""
        source = self.realised(stream.source)
        if not found.reorders:
            return source
        moved = reordered(self, source, found.order)
        if moved is None:
            raise ProgramError(
                f"{node}: the pixels of a block stand between the channels of its input, as "
                "DepthToSpace of mode CRD has them, and nothing but a product puts channels in "
                "another order; let a convolution come right before it, or use mode DCR"
            )
        return moved

    @staticmethod
    def channel_order(images: Stream) -> Ints:
        """The tensor's channel at each channel of the program."""
        positions = images.index.shape[0] * images.index.shape[1]
        return images.index[0, 0] // positions

    def image_result(
        self, source: str, like: Stream, chain: Chain, label: str, order: Ints | None = None
    ) -> Stream:
        """A stream (C, H, W), or (C, L) where `like` was one, from an edge (H, W, C)."""
        height, width, channels = self.edges[source].shape
        check_elements(self._owner(label), height * width * channels)
        self.spend(2 * height * width * channels)
        order = np.arange(channels) if order is None else order
        index = order * height * width + np.arange(height * width).reshape(height, width, 1)
        shape = (channels, width) if len(like.shape) == 2 else (channels, height, width)
        return Stream(source, shape, index, chain, label)

    # Integers

    def is_raw(self, stream: Stream) -> bool:
        """True for the graph's real input, before anything has rounded it."""
        return stream.source == RAW

    def settled(self, stream: Stream, node: Node | str) -> Stream:
        """The stream with all roundings done: integers with a scale and an offset.

        Where nothing rounds a function's values to a grid, that is an obstacle.
        """
        if stream.is_affine and not self.is_raw(stream):
            return stream
        key = (stream.source, stream.index.shape, *map(id, stream.chain))
        if key not in self.settled_chains:
            settled = replace(self._settled(stream, node), index=NOWHERE)
            self.settled_chains[key] = stream.chain, settled
        _, found = self.settled_chains[key]
        return replace(
            found, shape=stream.shape, index=stream.index, label=stream.label, dtype=stream.dtype
        )

    def rounded(self, stream: Stream, node: Node) -> Stream:
        """A tensor that several nodes read: rounded once for all, if a rounding waits last."""
        rest = [function for function in stream.chain if not isinstance(function, Affine)]
        if rest and isinstance(rest[-1], Integral):
            return self.settled(stream, node)
        return stream

    def _settled(self, stream: Stream, node: Node | str) -> Stream:
        chain = stream.chain
        rounds = [k for k, function in enumerate(chain) if isinstance(function, Integral)]
        if self.is_raw(stream):
            if not rounds:
                return self._stand_in(stream, node)
            return self.settled(self._entered(stream), node)
        if len(rounds) > 1 and not self._in_one(stream, chain[: rounds[-1] + 1]):
            before, rest = chain[: rounds[-2] + 1], chain[rounds[-2] + 1 :]
            stream = self.settled(replace(stream, chain=before), node)
            for function in rest:
                stream = stream.applied(function, stream.label)
            return self.settled(stream, node)
        if rounds:
            stream = self._absorbed(stream, chain[: rounds[-1] + 1], chain[rounds[-1] + 1 :])
        while not stream.is_affine:
            clipped = self._clipped(stream)
            if clipped is None:
                return self._stand_in(stream, node)
            stream = clipped
        return stream

    def _in_one(self, stream: Stream, chain: Chain) -> bool:
        """Whether one operator can be all of a chain: what is not monotone needs a short range."""
        grid = self.edge(stream).grid
        return monotone(chain, stream.channels) or grid.hi - grid.lo < TABLE_MAX

    def _absorbed(self, stream: Stream, chain: Chain, rest: Chain) -> Stream:
        """The stream behind the operator that `chain` becomes; `rest` waits."""
        last, after = chain[-1], Affine(ONE, ZERO)
        assert isinstance(last, Integral)
        if rest and isinstance(rest[0], Affine):
            after, rest = rest[0], rest[1:]
        # The border rounds to integers as they are; its only bipolar form is a comparison.
        compares = not self.is_raw(stream) or isinstance(last, Steps)
        bipolar = (
            compares
            and (last.lo, last.hi) == (0, 1)
            and all(
                2 * offset == -scale * (last.lo + last.hi)
                for scale, offset in np.broadcast(after.scale, after.offset)
            )
        )
        if bipolar:
            # Two levels around zero: -1 and +1, at half the scale and without an offset.
            after = Affine(after.scale / 2, ZERO)
        waiting = extended((), after)
        for function in rest:
            waiting = extended(waiting, function)
        self.spend(FUNCTION * stream.channels * len(chain))
        if stream.source in self.joins:
            self.spend(JOIN)
        try:
            if self.is_raw(stream):
                self._enter(stream, chain, bipolar)
                return replace(stream, source=INPUT, chain=waiting)
            short = None if bipolar else self._shortened(stream, chain)
            if short is not None:
                return replace(stream, source=short, chain=waiting)
            absorbed = absorb(self.edge(stream), chain, bipolar)
        except ProgramError as error:
            raise ProgramError(f"node {stream.label!r}: {error}") from None
        self.spend(STEP * absorbed.steps)
        source = self.realised(stream.source)
        if absorbed.op is not None:
            source = self.emit(stream.label, absorbed.op, source)
        grid = self.edges[source].grid
        self.forms.append(Form(stream.label, absorbed.form, (grid.lo, grid.hi)))
        return replace(stream, source=source, chain=waiting)

    def _shortened(self, stream: Stream, chain: Chain) -> str | None:
        """A waiting sum and its rounding with factors that are shorter and still exact."""
        join = self.joins.get(stream.source)
        if join is None or stream.source in self.sums:
            return None
        grids = [self.edges[branch].grid for branch in join.branches]
        found = shortened(grids[0], grids[1], join.factors, chain)
        if found is None:
            return None
        total = self._sum(join, found.factors)
        ones = np.ones(self.edges[total].channels, np.int64)
        op = ops.Requantise(ones, found.bias * ones, found.shift, found.lo, found.hi)
        source = self.emit(stream.label, op, total)
        grid = self.edges[source].grid
        form = f"factors {found.factors[0]} and {found.factors[1]}, shift by {found.shift}"
        self.forms.append(Form(stream.label, form, (grid.lo, grid.hi)))
        return source

    def _enter(self, stream: Stream, chain: Chain, bipolar: bool) -> None:
        """Make the input's integers what a chain makes of its reals."""
        edge, border = entrance(chain, stream.index.shape, bipolar)
        if self.border is None:
            self.edges[INPUT], self.border = edge, border
        elif border != self.border or not _alike(edge, self.edges[INPUT]):
            raise ProgramError(
                "the graph's input is quantised in two ways, and it enters hardware once; quantise "
                "it once and share the result"
            )

    def _clipped(self, stream: Stream) -> Stream | None:
        """Relu or Clip of integers with a scale, where its bounds are multiples of the scales."""
        before = stream.chain[0] if isinstance(stream.chain[0], Affine) else Affine(ONE, ZERO)
        rest = stream.chain[1:] if isinstance(stream.chain[0], Affine) else stream.chain
        clip, rest = rest[0], rest[1:]
        scale, grid = before.scale, self.edge(stream).grid
        if not isinstance(clip, Clip) or min(scale) <= 0:
            return None
        shifts = before.offset / scale
        bounds = [None if end is None else end / scale for end in (clip.lo, clip.hi)]
        ends = [*shifts, *(value for bound in bounds if bound is not None for value in bound)]
        widest = max(abs(grid.lo), abs(grid.hi)) + int(max(map(abs, ends)))
        if any(end.denominator != 1 for end in ends) or widest > WIDEST:
            return None
        chain = extended((), Affine(ONE, shifts))
        chain = (*chain, Clip(*bounds), Round(FLOOR, -widest, widest))
        return self._absorbed(stream, chain, (Affine(scale, ZERO), *rest))

    def _stand_in(self, stream: Stream, node: Node | str) -> Stream:
        """Note that nothing rounds the stream before `node`; go on with 8 bits in its place."""
        read = "the graph's input" if self.is_raw(stream) else f"node {stream.label!r}"
        self.unquantised(
            f"{node} reads {read}, which is not quantised; put a quantiser (Quant, or "
            "QuantizeLinear and DequantizeLinear) between them"
        )
        if self.is_raw(stream):
            self.edges[INPUT], self.border = Edge.of(stream.index.shape, signed(8)), Border()
            return replace(stream, source=INPUT, chain=())
        edge = self.edge(stream)
        shift = max(1, edge.grid.bits - 7)
        ones = np.ones(edge.channels, np.int64)
        op = ops.Requantise(ones, 0 * ones, shift, -128, 127)
        return replace(stream, source=self.emit(stream.label, op, stream.source), chain=())

    def integral_offset(self, stream: Stream, node: Node, what: str) -> int:
        """The integer that stands for zero in every channel of a settled stream."""
        affine = stream.affine
        pairs = list(np.broadcast(affine.scale, affine.offset))
        zeros = {-o / s for s, o in pairs if s}
        # Nothing stands for zero in a channel that is always another number.
        stuck = any(o and not s for s, o in pairs)
        zero = None if stuck or len(zeros) > 1 else zeros.pop() if zeros else Fraction(0)
        if zero is None or zero.denominator != 1:
            raise ProgramError(
                f"{node}: {what} with zeros, and no integer of its input stands for zero in every "
                "channel; quantise the input with an integer zero point"
            )
        return int(zero)


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, rows and columns of a tensor (C, H, W) or (C, L)."""
    channels, *size = shape
    return (channels, size[0], size[1]) if len(size) == 2 else (channels, 1, size[0])


def _rows(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows, columns and channels of such a tensor."""
    channels, height, width = _image(shape)
    return height, width, channels


def _alike(a: Edge, b: Edge) -> bool:
    """Whether two edges hold the same values."""
    bounds = np.array_equal(a.lo, b.lo) and np.array_equal(a.hi, b.hi)
    return bounds and (a.shape, a.step) == (b.shape, b.step)


def _differ(tensor: Fractions, rows: Ints) -> bool:
    """Whether a channel meets different values of a tensor at different positions."""
    if not bool((rows != rows[0]).any()):
        return False
    first: dict[object, int] = {}
    alike = np.array([first.setdefault(value, k) for k, value in enumerate(tensor.reshape(-1))])
    return bool((alike[rows] != alike[rows[0]]).any())
