"""Random programs, layer by layer: every operator, in the forms that are hard for one.

Each function appends its nodes behind the edge `at` of a draft and returns the edge at its end.  A
layer that breaks a rule of the program is dropped and another drawn: the operators' own
`ProgramError`s say what fits.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from ..hw.pack import MULTIPLIER
from ..hw.unit import divisors
from ..models.fixed import BINARY, TERNARY, Grid, Ints, ProgramError, signed, unsigned
from ..models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    Lookup,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SparseDot,
    SumPool,
    Table,
    Tables,
    TableSum,
    TapTransform,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from ..models.program import INPUT, Edge, Node, Op, Program

MOST_LAYERS = 6
MOST_NODES = 10
MOST_ELEMENTS = 400
MOST_ENTRIES = 64
"""Values of a table's input."""
WIDEST = 44
"""Bits of an element: wider edges show nothing new and make simulators slow."""
MOST_LEVELS = 4
"""Levels of a tree."""
HOSTILE_NAMES = (
    "always", "aclk", "error", "s_axis", "source", "o", "i", "a", "a_valid", "A", "x__fifo",
    "1st", "conv/1:0", "with space", "\u00fcn\u00ef",
)  # fmt: skip

T = TypeVar("T")


def pick(rng: Generator, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def between(rng: Generator, lo: int, hi: int) -> int:
    """An integer from lo to hi, both included."""
    return int(rng.integers(lo, hi, endpoint=True))


def _grid(rng: Generator) -> Grid:
    """The type of an input: 1 to 16 bits, signed or not, full or a part of it."""
    bits = between(rng, 1, 16) if rng.random() < 0.5 else between(rng, 1, 5)
    kind = rng.random()
    if kind < 0.25:
        return BINARY
    if kind < 0.5:
        return signed(bits)
    if kind < 0.75:
        return unsigned(bits)
    if kind < 0.85:
        return TERNARY
    lo, hi = sorted(rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), 2).tolist())
    return Grid(lo, hi)


def _input_edge(rng: Generator) -> Edge:
    kind = rng.random()
    if kind < 0.65:
        shape = tuple(between(rng, 1, 6) for _ in range(3))
    elif kind < 0.8:
        shape = (between(rng, 1, 6), between(rng, 1, 12))
    elif kind < 0.95:
        shape = (between(rng, 1, 32),)
    else:
        shape = tuple(between(rng, 1, 4) for _ in range(4))
    edge = Edge.of(shape, _grid(rng))
    if edge.step == 1 and rng.random() < 0.15:
        bounds = np.sort(rng.integers(edge.lo, edge.hi, (2, edge.channels), endpoint=True), 0)
        return Edge(shape, bounds[0], bounds[1])
    return edge


class _Draft:
    """A program in the making."""

    def __init__(self, rng: Generator, edge: Edge) -> None:
        self.rng = rng
        self.nodes: list[Node] = []
        self.edges = {INPUT: edge}

    def add(self, op: Op, *inputs: str) -> str:
        """Append a node; ProgramError where it does not fit, or grows too large."""
        edge = op.infer(*(self.edges[name] for name in inputs))
        large = edge.elements > MOST_ELEMENTS or edge.grid.bits > WIDEST
        if large or len(self.nodes) == MOST_NODES:
            raise ProgramError("a random program shows nothing new beyond this size")
        name = self._name(op)
        self.nodes.append(Node(name, op, inputs))
        self.edges[name] = edge
        return name

    def _name(self, op: Op) -> str:
        hostile = pick(self.rng, HOSTILE_NAMES)
        if self.rng.random() < 0.08 and hostile not in self.edges:
            return hostile
        return f"{type(op).__name__.lower()}{len(self.nodes)}"

    def rewind(self, nodes: int) -> None:
        """Drop all but the first `nodes` nodes."""
        for node in self.nodes[nodes:]:
            del self.edges[node.name]
        del self.nodes[nodes:]


Layer = Callable[[_Draft, str], str]


def _window(draft: _Draft, at: str) -> str:
    rng, edge = draft.rng, draft.edges[at]
    if len(edge.shape) != 3:
        at = _image(draft, at)
        edge = draft.edges[at]
    kernel = (between(rng, 1, 3), between(rng, 1, 3))
    stride = (between(rng, 1, 3), between(rng, 1, 3)) if rng.random() < 0.4 else (1, 1)
    dilation = (between(rng, 1, 3), between(rng, 1, 3)) if rng.random() < 0.5 else (1, 1)
    padding = (0, 0, 0, 0)
    if rng.random() < 0.6:
        least = pick(rng, (0, -2))
        top, left, bottom, right = rng.integers(least, 3 if rng.random() < 0.8 else 5, 4).tolist()
        padding = (top, left, bottom, right)
    return draft.add(Window(kernel, stride, padding, dilation, _pad(rng, edge)), at)


def _resize(draft: _Draft, at: str) -> str:
    """Rows and columns repeated, or a part of them kept, perhaps in steps."""
    rng = draft.rng
    if len(draft.edges[at].shape) != 3:
        at = _image(draft, at)
    if rng.random() < 0.7:
        return draft.add(Window((1, 1), repeat=(between(rng, 1, 3), between(rng, 2, 3))), at)
    top, left, bottom, right = (-rng.integers(0, 3, 4)).tolist()
    stride = (between(rng, 1, 2), between(rng, 1, 3))
    return draft.add(Window((1, 1), stride, (top, left, bottom, right)), at)


def _pad(rng: Generator, edge: Edge) -> int:
    kind = rng.random()
    if kind < 0.5:
        return 0
    if kind < 0.75:
        return pick(rng, (-1, 1))
    if kind < 0.8:
        return pick(rng, (-(1 << 18), 1 << 18))
    return between(rng, edge.grid.lo - 3, edge.grid.hi + 3)


def _image(draft: _Draft, at: str) -> str:
    """Bring an edge to the shape (H, W, C)."""
    elements = draft.edges[at].elements
    height = pick(draft.rng, divisors(elements))
    width = pick(draft.rng, divisors(elements // height))
    return draft.add(Reshape((height, width, elements // height // width)), at)


def _weights(rng: Generator, shape: tuple[int, int]) -> tuple[Ints, Grid]:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice([-1, 1], shape), BINARY
    if kind < 0.55:
        return rng.integers(-1, 2, shape), TERNARY
    bits = between(rng, 2, 16 if rng.random() < 0.4 else 6)
    grid = signed(bits) if rng.random() < 0.6 else unsigned(bits)
    values = rng.integers(grid.lo, grid.hi, shape, endpoint=True)
    ends = rng.choice([grid.lo, grid.hi], shape)
    return np.where(rng.random(shape) < 0.15, ends, values), grid


def _dot(draft: _Draft, at: str) -> str:
    rows = pick(draft.rng, (1, 2, 3, 4, 4, 6, 6, 8, 9, 12))
    weights, grid = _weights(draft.rng, (rows, draft.edges[at].channels))
    return draft.add(Dot(weights, grid), at)


def _packed_dot(draft: _Draft, at: str) -> str:
    """Narrow weights in pairs of rows, over as many inputs as there are: they share multipliers."""
    if len(draft.edges[at].shape) == 3:
        at = _window(draft, at)
    edge = draft.edges[at]
    # As wide as a pair may be, so that few products are added before they are split.
    bits = (MULTIPLIER - 1 - edge.grid.bits) // 2 - between(draft.rng, 0, 1)
    if edge.channels < 3 or edge.grid.bits == 1 or bits < 3:
        raise ProgramError("nothing to pack")
    grid = signed(bits)
    shape = (pick(draft.rng, (2, 4, 6)), edge.channels)
    values = draft.rng.integers(grid.lo, grid.hi, shape, endpoint=True)
    ends = draft.rng.choice([grid.lo, grid.hi], shape)
    return draft.add(Dot(np.where(draft.rng.random(shape) < 0.5, ends, values), grid), at)


def _sparse_dot(draft: _Draft, at: str) -> str:
    """Blocks of zeros, single ones too, in rows and columns of any number; some rows are 0."""
    rng, channels = draft.rng, draft.edges[at].channels
    rows = pick(rng, (1, 2, 3, 4, 4, 6, 6, 8, 9, 12))
    weights, grid = _weights(rng, (rows, channels))
    if not grid.bipolar:
        block = pick(rng, divisors(rows)), pick(rng, divisors(channels))
        kept = rng.random((rows // block[0], channels // block[1])) < pick(rng, (0.1, 0.4, 0.7))
        weights = weights * np.kron(kept, np.ones(block, np.int64))
    return draft.add(SparseDot(weights, grid), at)


def _convolution(draft: _Draft, at: str) -> str:
    return _dot(draft, _window(draft, at))


def _binary_convolution(draft: _Draft, at: str) -> str:
    """Signs, a window (padded with 0 or a sign) and binary weights: a binary network's layer."""
    if draft.edges[at].step == 1:
        at = _signs(draft, at)
    if len(draft.edges[at].shape) == 3 and draft.rng.random() < 0.8:
        at = _window(draft, at)
    shape = (pick(draft.rng, (2, 4, 6, 8)), draft.edges[at].channels)
    return draft.add(Dot(draft.rng.choice([-1, 1], shape), BINARY), at)


def _taps(draft: _Draft, at: str) -> int:
    """A number of taps that divides the channels, more than one where there is a choice."""
    options = divisors(draft.edges[at].channels)
    return pick(draft.rng, options[1:] or options)


def _depthwise(draft: _Draft, at: str) -> str:
    taps = _taps(draft, at)
    weights, grid = _weights(draft.rng, (draft.edges[at].channels // taps, taps))
    return draft.add(DepthwiseDot(weights, grid), at)


def _max_pool(draft: _Draft, at: str) -> str:
    return draft.add(MaxPool(_taps(draft, at)), at)


def _sum_pool(draft: _Draft, at: str) -> str:
    return draft.add(SumPool(_taps(draft, at)), at)


def _windowed_pool(draft: _Draft, at: str) -> str:
    """A window and a pool or depthwise product over just its taps, as networks have them."""
    at = _window(draft, at)
    window = draft.nodes[-1].op
    assert isinstance(window, Window)
    taps = prod(window.kernel)
    kind = pick(draft.rng, ("max", "sum", "dot"))
    if kind == "dot":
        weights, grid = _weights(draft.rng, (draft.edges[at].channels // taps, taps))
        return draft.add(DepthwiseDot(weights, grid), at)
    return draft.add(MaxPool(taps) if kind == "max" else SumPool(taps), at)


def _global_pool(draft: _Draft, at: str) -> str:
    edge = draft.edges[at]
    at = draft.add(Reshape((1, 1, edge.elements)), at)
    taps = edge.elements // edge.channels
    return draft.add(MaxPool(taps) if draft.rng.random() < 0.3 else SumPool(taps), at)


def _thresholds(draft: _Draft, at: str) -> str:
    rng, channels = draft.rng, draft.edges[at].channels
    if rng.random() < 0.4:
        return _signs(draft, at)
    values = _limits(rng, draft.edges[at], pick(rng, (1, 2, 3, 3, 5, 7, 15, 40)))
    step = _slopes(rng, channels) * (1 if rng.random() < 0.5 else rng.integers(0, 4, channels))
    offset = rng.integers(-4, 5, channels) if rng.random() < 0.5 else np.zeros(channels, int)
    return draft.add(Thresholds(values, offset, step), at)


def _signs(draft: _Draft, at: str) -> str:
    edge = draft.edges[at]
    slopes = _slopes(draft.rng, edge.channels)
    return draft.add(Thresholds(_limits(draft.rng, edge, 1), -slopes, 2 * slopes), at)


def _limits(rng: Generator, edge: Edge, count: int) -> Ints:
    """Thresholds (C, count) about the range of an edge, a few far outside."""
    lo, hi = edge.lo[:, None] - 2, edge.hi[:, None] + 2
    values = rng.integers(lo, hi, (edge.channels, count), endpoint=True)
    far = rng.choice([-(1 << 62), -(1 << 40), 1 << 40, 1 << 62], values.shape)
    return np.where(rng.random(values.shape) < 0.08, far, values)


def _slopes(rng: Generator, channels: int) -> Ints:
    """1 for channels that rise, -1 for those that fall."""
    kind = pick(rng, ("rising", "falling", "mixed"))
    if kind == "mixed":
        return rng.choice([-1, 1], channels)
    return np.full(channels, 1 if kind == "rising" else -1)


def _requantise(draft: _Draft, at: str) -> str:
    rng, edge = draft.rng, draft.edges[at]
    bits = between(rng, 1, 12)
    multiplier = rng.integers(-(1 << bits), 1 << bits, edge.channels, endpoint=True)
    out = between(rng, 1, 16) if rng.random() < 0.4 else between(rng, 1, 6)
    # About the shift that fills the output's range; less saturates, more leaves few values.
    shift = max(1, edge.grid.bits + bits - out + between(rng, -2, 1))
    reach = 1 << min(40, edge.grid.bits + bits)
    bias = rng.integers(-reach, reach, edge.channels, endpoint=True)
    grid = signed(out) if rng.random() < 0.5 else unsigned(out)
    lo, hi = grid.lo, grid.hi
    if rng.random() < 0.2:
        lo, hi = sorted((between(rng, lo, hi), between(rng, lo, hi)))
    # Where halves go costs no draw: the programs of all seeds stay what they were.
    even = int(multiplier.sum()) & 1
    return draft.add(Requantise(multiplier, bias, shift, lo, hi, even), at)


def _scale(draft: _Draft, at: str) -> str:
    """Any multipliers, or none but powers of two, signs or ones; biases alike."""
    rng, channels = draft.rng, draft.edges[at].channels
    reach = 1 << between(rng, 1, 10)
    kind = rng.random()
    if kind < 0.4:
        multiplier = rng.integers(-reach, reach, channels, endpoint=True)
    elif kind < 0.7:
        multiplier = _slopes(rng, channels) << rng.integers(0, 4, channels)
        multiplier *= rng.random(channels) > 0.1
    else:
        multiplier = _slopes(rng, channels)
    bias = rng.integers(-reach, reach, channels, endpoint=True) * (rng.random() < 0.6)
    if rng.random() < 0.3:
        multiplier, bias = np.full_like(multiplier, multiplier[0]), np.full_like(bias, bias[0])
    return draft.add(Scale(multiplier, bias), at)


def _table(draft: _Draft, at: str) -> str:
    """A table for each channel or one for all, of signs or of any numbers."""
    if not _is_short(draft.edges[at]):
        at = _thresholds(draft, at)
    rng, edge = draft.rng, draft.edges[at]
    if not _is_short(edge):
        raise ProgramError("a random table shows nothing new beyond this size")
    lo, hi = edge.grid.lo - pick(rng, (0, 0, 3)), edge.grid.hi + pick(rng, (0, 0, 3))
    shape = (edge.channels if rng.random() < 0.6 else 1, hi - lo + 1)
    if rng.random() < 0.3:
        return draft.add(Table(rng.choice([-1, 1], shape), lo), at)
    grid = _grid(rng)
    return draft.add(Table(rng.integers(grid.lo, grid.hi, shape, endpoint=True), lo), at)


def _is_short(edge: Edge) -> bool:
    """Whether a table may have an entry for each value."""
    return edge.grid.hi - edge.grid.lo < MOST_ENTRIES


def _quantised_product(draft: _Draft, at: str) -> str:
    """Tables, perhaps a window, and lookups in them: a layer of product quantisation."""
    rng, channels = draft.rng, draft.edges[at].channels
    spaces = pick(rng, divisors(channels)[:4])
    words = between(rng, 1, 5)
    size = channels // spaces
    weights, grid = _weights(rng, (spaces * words, size))
    at = draft.add(Tables(weights.reshape(spaces, words, size), grid), at)
    if len(draft.edges[at].shape) == 3 and rng.random() < 0.6:
        at = _window(draft, at)
    taps = draft.edges[at].channels // (spaces * words)
    indices = rng.integers(0, words, (pick(rng, (1, 2, 3, 4, 6)), taps, spaces))
    return draft.add(Lookup(indices, words), at)


def _tree(draft: _Draft, at: str) -> str:
    """Trees of any few inputs and levels, which they read in one order or each in its own."""
    rng, edge = draft.rng, draft.edges[at]
    size = pick(rng, [d for d in divisors(edge.channels) if d <= MOST_LEVELS])
    trees, levels = edge.channels // size, between(rng, 1, MOST_LEVELS)
    order = rng.integers(0, size, (1 if rng.random() < 0.3 else trees, levels))
    limits = rng.integers(
        edge.grid.lo - 1, edge.grid.hi + 2, (trees, (1 << levels) - 1), endpoint=True
    )
    return draft.add(Tree(np.repeat(order, trees // len(order), 0), limits), at)


def _table_sum(draft: _Draft, at: str) -> str:
    """Lookups in tables, of leaves or of any few numbers that are not negative."""
    if not _is_leaf(draft.edges[at]):
        at = _tree(draft, at)
    rng, edge = draft.rng, draft.edges[at]
    leaves = edge.grid.hi + between(rng, 1, 3)
    rows = pick(rng, (1, 2, 3, 4, 6))
    entries, grid = _weights(rng, (rows, edge.channels * leaves))
    return draft.add(TableSum(entries.reshape(rows, edge.channels, leaves), grid), at)


def _is_leaf(edge: Edge) -> bool:
    """Whether the values of an edge may be numbers of leaves."""
    return edge.grid.lo >= 0 and edge.grid.hi < 1 << MOST_LEVELS


def _tap_transform(draft: _Draft, at: str) -> str:
    """Few taps of small numbers, as tiles have them, or any; a single one, or one result, too."""
    rng, taps = draft.rng, _taps(draft, at)
    results, most = between(rng, 1, 6), pick(rng, (1, 1, 1, 4, 1000))
    return draft.add(TapTransform(rng.integers(-most, most + 1, (results, taps))), at)


def _depth_to_space(draft: _Draft, at: str) -> str:
    """Blocks of any size, the last ones whole or cut."""
    if len(draft.edges[at].shape) != 3:
        at = _image(draft, at)
    rng, (rows, columns, channels) = draft.rng, draft.edges[at].shape
    by = pick(rng, [d for d in divisors(channels) if d <= 4])
    bx = pick(rng, [d for d in divisors(channels // by) if d <= 4])
    size = (rows * by - between(rng, 0, by - 1), columns * bx - between(rng, 0, bx - 1))
    return draft.add(DepthToSpace((by, bx), size), at)


def _tiles(draft: _Draft, at: str) -> str:
    """A convolution tap by tap: tiles, transformed, products of each tap, and their image."""
    if len(draft.edges[at].shape) != 3:
        at = _image(draft, at)
    rng, channels = draft.rng, draft.edges[at].channels
    at = draft.add(Window((2, 2), (1, 1), (0, 0, 1, 1)), at)
    at = draft.add(TapTransform(rng.integers(-1, 2, (4, 4))), at)
    blocks = rng.integers(-8, 8, (4, pick(rng, (1, 2, 4)), channels))
    weights = np.zeros((4, blocks.shape[1], 4, channels), np.int64)
    weights[np.arange(4), :, np.arange(4)] = blocks
    at = draft.add(SparseDot(weights.reshape(-1, 4 * channels), signed(4)), at)
    at = draft.add(TapTransform(rng.integers(-1, 2, (4, 4))), at)
    rows, columns, _ = draft.edges[at].shape
    size = (2 * rows - between(rng, 0, 1), 2 * columns - between(rng, 0, 1))
    return draft.add(DepthToSpace((2, 2), size), at)


def _reshape(draft: _Draft, at: str) -> str:
    elements = draft.edges[at].elements
    if draft.rng.random() < 0.4:
        return draft.add(Reshape((elements,)), at)
    if draft.rng.random() < 0.5:
        return _image(draft, at)
    rows = pick(draft.rng, divisors(elements))
    return draft.add(Reshape((rows, elements // rows)), at)


def _select(draft: _Draft, at: str) -> str:
    """A range of channels, every few of them, or any."""
    rng, channels = draft.rng, draft.edges[at].channels
    kind = pick(rng, ("range", "range", "steps", "any"))
    if kind == "any":
        kept = np.flatnonzero(rng.random(channels) < 0.5)
    else:
        step = between(rng, 2, 4) if kind == "steps" else 1
        begin, end = np.sort(rng.choice(channels + 1, 2, replace=False)).tolist()
        kept = np.arange(begin, end, step)
    return draft.add(Select(kept), at)


def _top_k(draft: _Draft, at: str) -> str:
    return draft.add(TopK(between(draft.rng, 1, min(4, draft.edges[at].channels))), at)


def _branch(draft: _Draft, at: str) -> str:
    """Up to two layers that keep the shape: one side of a fork."""
    for _ in range(between(draft.rng, 0, 2)):
        kind = pick(draft.rng, ("requantise", "thresholds", "scale", "dot"))
        if kind == "dot":
            channels = draft.edges[at].channels
            weights, grid = _weights(draft.rng, (channels, channels))
            at = draft.add(Dot(weights, grid), at)
        else:
            at = _POINTWISE[kind](draft, at)
    return at


_POINTWISE: dict[str, Layer] = {
    "requantise": _requantise,
    "thresholds": _thresholds,
    "scale": _scale,
}


def _residual(draft: _Draft, at: str) -> str:
    """The sum of two branches, of which either may be empty."""
    return draft.add(Add(), _branch(draft, at), _branch(draft, at))


def _parallel(draft: _Draft, at: str) -> str:
    """Two to four branches side by side."""
    branches = [_branch(draft, at) for _ in range(between(draft.rng, 2, 4))]
    if draft.edges[at].elements > 1 and draft.rng.random() < 0.4:
        branches[0] = _dot(draft, branches[0])
    return draft.add(Concatenate(), *branches)


def _skip(draft: _Draft, at: str) -> str:
    """A join with an edge from further back, whatever lies between."""
    here = draft.edges[at]
    fit = [n for n, edge in draft.edges.items() if edge.shape[:-1] == here.shape[:-1] and n != at]
    if not fit:
        raise ProgramError("no earlier edge has this shape")
    other = pick(draft.rng, fit)
    if draft.edges[other].shape == here.shape and draft.rng.random() < 0.6:
        return draft.add(Add(), other, at)
    return draft.add(Concatenate(), at, other)


_LAYERS: tuple[Layer, ...] = (
    _window, _window, _convolution, _convolution, _binary_convolution, _binary_convolution,
    _windowed_pool, _windowed_pool, _dot, _dot, _packed_dot, _packed_dot, _sparse_dot,
    _depthwise, _depthwise, _max_pool, _sum_pool, _global_pool, _thresholds, _thresholds,
    _requantise, _requantise, _reshape, _top_k, _residual, _parallel, _skip, _scale, _table,
    _select, _resize, _resize, _quantised_product, _tree, _table_sum, _tap_transform,
    _depth_to_space, _tiles,
)  # fmt: skip
"""Each as likely as it stands here often."""


def random_program(rng: Generator, name: str) -> Program:
    """One to six layers; a layer may be several nodes."""
    draft = _Draft(rng, _input_edge(rng))
    at = INPUT
    for _ in range(between(rng, 1, MOST_LAYERS)):
        at = _grow(draft, at)
    if all(isinstance(node.op, Reshape) for node in draft.nodes):
        raise ProgramError("reshapes alone are no hardware")
    return Program(name, draft.edges[INPUT], tuple(draft.nodes))


def _grow(draft: _Draft, at: str) -> str:
    """Append a layer that fits; none where many do not."""
    nodes = len(draft.nodes)
    for _ in range(20):
        try:
            return pick(draft.rng, _LAYERS)(draft, at)
        except ProgramError:
            draft.rewind(nodes)
    return at
