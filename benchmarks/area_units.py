"""The units that areas are measured on: sizes that real networks use, every kind of unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from area_spread import Spread, nearest, placed, weights_of

from bitwright.hw.convert import Narrow, Widen
from bitwright.hw.fifo import Fifo
from bitwright.hw.fork import Fork
from bitwright.hw.unit import Fold, Place, divisors, foldings
from bitwright.hw.window import Buffered
from bitwright.models.compress.winograd import FACTORS, INPUTS, OUTPUTS
from bitwright.models.fixed import BINARY, TERNARY, Grid, signed, unsigned
from bitwright.models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    Lookup,
    MaxPool,
    Requantise,
    Scale,
    Select,
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
from bitwright.models.program import Edge


@dataclass(frozen=True, eq=False)
class Sample:
    """A unit to synthesise, under a name that says what it is."""

    name: str
    op: Any
    place: Place


def _input_grid(draw: Spread) -> Grid:
    return draw.pick((unsigned(4), unsigned(8), signed(4), signed(8), unsigned(2), signed(6)))


def _dot(
    inputs: Grid | None, weights: Grid | None, most: int, least: int = 1
) -> Callable[[Spread], Any]:
    """A matrix-vector unit of about `least` to `most` products a cycle."""

    def make(draw: Spread) -> Any:
        x, w = inputs or _input_grid(draw), weights or signed(draw.integer(2, 9))
        rows = draw.pick((10, 16, 24, 32, 64, 64, 128))
        columns = draw.pick((9, 27, 64, 72, 144, 144, 288, 256, 576))
        lanes = 2 ** draw.uniform(np.log2(least), np.log2(most))
        pe = nearest(divisors(rows), lanes ** draw.uniform(0.1, 0.7))
        simd = nearest(divisors(columns), lanes / pe)
        if (pe, simd) == (rows, columns):
            return make(draw)
        op = Dot(weights_of(draw, w, (rows, columns)), w)
        return placed(op, Fold(pe, simd), Edge.of((columns,), x))

    return make


def _wide(
    inputs: Grid | None,
    weights: Grid | None,
    widths: tuple[int, ...],
    parts: tuple[int, ...] = (1, 1, 2),
    pes: tuple[int, ...] = (1, 1, 2),
) -> Callable[[Spread], Any]:
    """A unit with all or half of its columns in one cycle, as the default folding prefers."""

    def make(draw: Spread) -> Any:
        x, w = inputs or draw.pick((unsigned(4), unsigned(8))), weights or signed(8)
        columns = draw.pick(widths)
        op = Dot(weights_of(draw, w, (draw.pick((16, 32, 64)), columns)), w)
        simd = columns // draw.pick(parts)
        return placed(op, Fold(draw.pick(pes), simd), Edge.of((columns,), x))

    return make


def _graph(draw: Spread) -> Any:
    """A matrix of constants in one step: an adder graph."""
    x, w = (
        draw.pick((unsigned(4), unsigned(8), signed(6))),
        draw.pick((signed(4), signed(6), TERNARY)),
    )
    rows, columns = draw.pick((4, 8, 10, 16)), draw.pick((4, 8, 9, 16))
    op = Dot(weights_of(draw, w, (rows, columns)), w)
    return placed(op, Fold(rows, columns), Edge.of((columns,), x))


def _depthwise(draw: Spread) -> Any:
    x, w = draw.pick(
        (
            (BINARY, BINARY), (unsigned(4), BINARY), (signed(8), TERNARY), (unsigned(8), signed(8)),
            (unsigned(8), signed(8)), (unsigned(4), signed(4)), (signed(8), signed(4)),
        ),
    )  # fmt: skip
    channels, taps = draw.pick((8, 16, 24, 32, 64)), draw.pick((4, 9, 9, 25))
    pe = draw.pick([d for d in divisors(channels) if 1 <= d <= 16 and channels // d <= 32])
    op = DepthwiseDot(weights_of(draw, w, (channels, taps)), w)
    return placed(op, Fold(pe), Edge.of((channels * taps,), x))


def _window(draw: Spread) -> Any:
    size, channels = draw.pick((6, 8, 12, 16, 28, 32)), draw.pick((1, 3, 8, 16, 32, 64))
    kernel = draw.pick((1, 2, 3, 3, 3, 5))
    stride = draw.pick((1, 1, 2)) if kernel != 2 else 2
    pad = draw.pick((0, kernel // 2))
    grid = draw.pick((BINARY, unsigned(4), unsigned(8), signed(8)))
    op = Window((kernel, kernel), (stride, stride), (pad,) * 4)
    simd = draw.pick([d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _point_window(draw: Spread) -> Any:
    size, channels = draw.pick((6, 8, 16, 32)), draw.pick((3, 8, 16, 32, 64))
    grid = draw.pick((BINARY, unsigned(4), unsigned(8), signed(8)))
    stride = draw.pick((1, 2, 2))
    op = Window((1, 1), (stride, stride))
    simd = draw.pick([d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _padded_window(least: int, most: int) -> Callable[[Spread], Any]:
    """A window with padding, of about `least` to `most` bits a cycle."""

    def make(draw: Spread) -> Any:
        size, channels = draw.pick((6, 8, 10, 16)), draw.pick((8, 16, 32))
        grid = draw.pick((BINARY, unsigned(4), unsigned(8), signed(8)))
        op = Window((3, 3), padding=(1, 1, 1, 1))
        bits = 2 ** draw.uniform(np.log2(max(least, grid.bits)), np.log2(most))
        simd = nearest(divisors(channels), bits / grid.bits)
        edge = Edge.of((size, size, channels), grid)
        return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))

    return make


def _cropped_window(draw: Spread) -> Any:
    """A window of which some rows and columns are cut off."""
    size, channels = draw.pick((8, 12, 16, 28)), draw.pick((1, 3, 8, 16, 32))
    kernel, stride = draw.pick((1, 1, 2, 3)), draw.pick((1, 1, 2))
    grid = draw.pick((BINARY, unsigned(4), unsigned(8), signed(8)))
    top, left, bottom, right = (-draw.rng.integers(0, size // 3, 4)).tolist()
    op = Window((kernel, kernel), (stride, stride), (top, left, bottom, right))
    simd = draw.pick([d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _repeated_window(draw: Spread) -> Any:
    """A window that shows pixels several times."""
    size, channels = draw.pick((4, 6, 8, 12, 16, 28)), draw.pick((1, 3, 8, 16, 32))
    grid = draw.pick((BINARY, unsigned(4), unsigned(8), signed(8)))
    op = Window((1, 1), repeat=draw.pick(((2, 2), (2, 2), (4, 4), (3, 3), (2, 1), (1, 2))))
    simd = draw.pick([d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _select(draw: Spread) -> Any:
    """A group of channels of every tap, as grouped convolutions take it, or any channels."""
    taps, groups = draw.pick((1, 1, 4, 9)), draw.pick((2, 3, 4, 8))
    size = draw.pick((3, 4, 8, 16, 32))
    mask = np.zeros((taps, groups, size), bool)
    mask[:, draw.integer(0, groups)] = True
    if draw.random() < 0.3:
        mask = draw.rng.random(mask.shape) < 0.4
    op = Select(np.flatnonzero(mask))
    grid = draw.pick((BINARY, unsigned(4), unsigned(8), signed(8)))
    edge = Edge.of((4, mask.size), grid)
    folds = foldings(op, Place((edge,), op.infer(edge), Fold()))
    return placed(op, draw.pick([fold for fold in folds if fold.pe * grid.bits <= 256]), edge)


def _thresholds(draw: Spread) -> Any:
    bits = draw.integer(5, 19)
    channels, count = draw.pick((10, 16, 32, 64, 128)), draw.pick((1, 1, 3, 7, 15, 15))
    grid = draw.pick((signed(bits), unsigned(bits)))
    pe = draw.pick([d for d in divisors(channels) if d * count * bits <= 600 and d <= 16])
    spread = (grid.hi - grid.lo) / 4
    cuts = draw.rng.normal((grid.lo + grid.hi) / 2, spread, (channels, count)).astype(int)
    cuts = np.sort(cuts, 1)
    rising = draw.rng.random(channels) < (1.0 if draw.random() < 0.5 else 0.8)
    if count == 1:
        op = Thresholds(cuts, np.where(rising, -1, 1), np.where(rising, 2, -2))
    else:
        op = Thresholds(cuts, np.where(rising, 0, count), np.where(rising, 1, -1))
    return placed(op, Fold(pe), Edge.of((4, channels), grid))


def _requantise(least: int, most: int) -> Callable[[Spread], Any]:
    """A unit whose input has so many bits."""

    def make(draw: Spread) -> Any:
        bits, channels = draw.integer(least, most + 1), draw.pick((1, 10, 16, 32, 64, 64))
        output = draw.pick((signed(8), unsigned(8), unsigned(4), signed(4)))
        pe = draw.pick([d for d in divisors(channels) if d <= 4])
        m_bits = draw.integer(6, 17)
        multiplier = draw.rng.integers(1 << (m_bits - 1), 1 << m_bits, channels)
        shift = max(1, bits + m_bits - output.bits - 1)
        reach = 1 << (bits + m_bits - 3)
        bias = draw.rng.integers(-reach, reach, channels)
        op = Requantise(multiplier, bias, shift, output.lo, output.hi)
        return placed(op, Fold(pe), Edge.of((4, channels), signed(bits)))

    return make


def _requantise_even(draw: Spread) -> Any:
    """A unit that rounds halves to even."""
    op, place = _requantise(8, 18)(draw)
    return replace(op, even=1), place


def _requantise_fixed(multiplies: bool) -> Callable[[Spread], Any]:
    """One multiplier for all channels, or one of each lane's own, and biases of all kinds."""

    def make(draw: Spread) -> Any:
        bits, channels = draw.integer(6, 21), draw.pick((1, 10, 16, 32, 64, 64))
        grid = draw.pick((signed(bits), signed(bits), unsigned(bits)))
        narrow = (Grid(-127, 127), Grid(-7, 7), Grid(0, 200))
        output = draw.pick((signed(8), unsigned(8), unsigned(4), signed(4), *narrow))
        pe = draw.pick([d for d in divisors(channels) if d <= 4])
        own = draw.random() < 0.25
        if multiplies:
            m_bits = draw.integer(3, 17)
            multiplier = draw.rng.integers(1 << (m_bits - 1), 1 << m_bits, channels)
        else:
            m_bits = draw.pick((1, 1, 1, 3, 7))
            multiplier = 1 << draw.rng.integers(0 if own else m_bits - 1, m_bits, channels)
        multiplier = np.tile(multiplier[: pe if own else 1], channels // (pe if own else 1))
        multiplier *= draw.pick((1, 1, -1)) if grid.signed else 1
        shift = max(m_bits, bits + m_bits - output.bits - draw.integer(0, 3))
        reach = draw.pick((0, 0, 1 << (bits + m_bits - 3), 1 << (bits + m_bits - 3)))
        bias = draw.rng.integers(-reach, reach, channels, endpoint=True)
        if draw.random() < 0.3:
            bias[:] = bias[0]
        even = draw.integer(0, 2)
        op = Requantise(multiplier, bias, shift, output.lo, output.hi, even)
        drawn = placed(op, Fold(pe), Edge.of((4, channels), grid))
        y = drawn[1].output
        # A channel that is always clamped is a constant, which no network asks for.
        return make(draw) if (y.lo == y.hi).any() else drawn

    return make


def _scale(multiplies: bool) -> Callable[[Spread], Any]:
    """Channels with a multiplier or with powers of two, signs and biases of all kinds."""

    def make(draw: Spread) -> Any:
        bits = draw.integer(4, 21 if multiplies else 17)
        channels, grid = (
            draw.pick((1, 10, 16, 32, 64, 64)),
            draw.pick((signed(bits), unsigned(bits))),
        )
        pe = draw.pick([d for d in divisors(channels) if d <= 4])
        if multiplies:
            m_bits = draw.integer(3, 13)
            multiplier = draw.rng.integers(1 << (m_bits - 1), 1 << m_bits, channels)
        else:
            multiplier = 1 << draw.rng.integers(0, draw.pick((1, 1, 2, 4)), channels)
        sign = draw.pick((1, 1, -1, 0))
        multiplier = multiplier * (sign or draw.rng.choice([-1, 1], channels))
        reach = draw.pick((0, 1 << (bits - 2), 1 << (bits - 2), 1 << bits))
        bias = draw.rng.integers(-reach, reach, channels, endpoint=True)
        if draw.random() < 0.4:
            multiplier[:] = multiplier[0]
        if draw.random() < 0.3:
            bias[:] = bias[0]
        return placed(Scale(multiplier, bias), Fold(pe), Edge.of((4, channels), grid))

    return make


def _table(least: int, most: int) -> Callable[[Spread], Any]:
    """A table of any values or of a smooth step, whose input has so many bits."""

    def make(draw: Spread) -> Any:
        bits, channels = draw.integer(least, most + 1), draw.pick((1, 8, 10, 16, 32, 64))
        grid = draw.pick((signed(bits), unsigned(bits)))
        output = draw.pick((BINARY, unsigned(2), unsigned(4), signed(4), unsigned(8), signed(8)))
        pe = draw.pick([d for d in divisors(channels) if d <= 8])
        rows = channels if draw.random() < 0.35 and channels << bits <= 1 << 14 else 1
        if draw.random() < 0.5 and not output.bipolar:
            slope = np.linspace(-4, 4, 1 << bits) * draw.rng.uniform(0.5, 2, (rows, 1))
            step = (output.hi - output.lo) / (1 + np.exp(-slope))
            values = output.lo + np.rint(step).astype(np.int64)
        else:
            values = weights_of(draw, output, (rows, 1 << bits))
        return placed(Table(values, grid.lo), Fold(pe), Edge.of((4, channels), grid))

    return make


def _tables(draw: Spread) -> Any:
    """Tables of product quantisation, a sub-space or several at a time."""
    x, w = draw.pick((unsigned(8), signed(8), unsigned(4))), draw.pick((signed(8), signed(6)))
    spaces, words, size = draw.pick((4, 8, 16)), draw.pick((8, 16, 32)), draw.pick((2, 4, 8))
    values = weights_of(draw, w, (spaces * words, size)).reshape(spaces, words, size)
    edge = Edge.of((4, spaces * size), x)
    op = Tables(values, w)
    fit = foldings(op, Place((edge,), op.infer(edge)))
    return placed(op, draw.pick([f for f in fit if 4 <= f.pe * f.simd <= 128]), edge)


def _lookup(draw: Spread) -> Any:
    """Lookups in tables as wide as sums of a few products of 8 bits."""
    words, spaces = draw.pick((8, 16, 16, 32)), draw.pick((2, 4, 8))
    results, taps = draw.pick((16, 32, 64)), draw.pick((1, 9, 9))
    edge = Edge.of((4, taps * spaces * words), signed(draw.integer(8, 19)))
    op = Lookup(draw.rng.integers(0, words, (results, taps, spaces)), words)
    pe = draw.pick([d for d in divisors(results) if d <= 16])
    side = draw.pick([d for d in divisors(spaces) if d * pe * words <= 512])
    return placed(op, Fold(pe, side * words), edge)


def _tree(draw: Spread) -> Any:
    """Trees whose inputs are in orders of their own, as learning finds them."""
    trees, levels = draw.pick((8, 16, 32)), draw.pick((3, 4, 4, 5))
    grid = draw.pick((unsigned(8), signed(8), unsigned(4), signed(6)))
    op = Tree(
        draw.rng.integers(0, levels, (trees, levels)),
        weights_of(draw, grid, (trees, (1 << levels) - 1)),
    )
    pe = draw.pick([d for d in divisors(trees) if d <= 8])
    return placed(op, Fold(pe), Edge.of((4, trees * levels), grid))


def _table_sum(draw: Spread) -> Any:
    """Sums of entries of 8 bits, or fewer, that numbers of 8 to 32 leaves choose."""
    results, inputs = draw.pick((16, 32, 64)), draw.pick((8, 16, 32))
    leaves, grid = draw.pick((8, 16, 16, 32)), draw.pick((signed(8), signed(8), signed(6)))
    values = weights_of(draw, grid, (results, inputs * leaves))
    op = TableSum(values.reshape(results, inputs, leaves), grid)
    pe = draw.pick([d for d in divisors(results) if d <= 16])
    simd = draw.pick([d for d in divisors(inputs) if d * pe <= 64])
    return placed(op, Fold(pe, simd), Edge.of((4, inputs), Grid(0, leaves - 1)))


def _tap_transform(draw: Spread) -> Any:
    """The transforms of Winograd's tiles, and others of a few taps and small numbers."""
    channels = draw.pick((8, 16, 32, 64, 128))
    grid = draw.pick((unsigned(8), unsigned(4), signed(8), signed(20)))
    inward, outward = np.kron(INPUTS, INPUTS), np.kron(OUTPUTS, OUTPUTS) * np.kron(FACTORS, FACTORS)
    other = weights_of(draw, signed(3), (draw.integer(2, 9), draw.integer(2, 9)))
    op = TapTransform(draw.pick((inward, outward, other)))
    pe = draw.pick([d for d in divisors(channels) if d <= 8])
    return placed(op, Fold(pe), Edge.of((4, op.matrix.shape[1] * channels), grid))


def _depth_to_space(draw: Spread) -> Any:
    """Blocks of two by two, as tiles make them, and of three and four; some are cut."""
    rows, columns, side = draw.integer(2, 12), draw.integer(2, 12), draw.pick((2, 2, 2, 3, 4))
    channels, grid = draw.pick((8, 16, 32)), draw.pick((signed(20), signed(24), unsigned(8)))
    cut = draw.pick((0, 0, 1))
    op = DepthToSpace((side, side), (rows * side - cut, columns * side - cut))
    edge = Edge.of((rows, columns, side * side * channels), grid)
    simd = draw.pick([d for d in divisors(channels) if d <= 8])
    return placed(op, Fold(1, simd), edge)


def _pool(
    kind: type[MaxPool] | type[SumPool],
    grids: tuple[Grid, ...] = (BINARY, unsigned(4), unsigned(8), signed(8), signed(6)),
) -> Callable[[Spread], Any]:
    def make(draw: Spread) -> Any:
        grid = draw.pick(grids)
        channels, taps = draw.pick((8, 16, 32, 64)), draw.pick((4, 4, 9, 16, 49))
        pe = draw.pick([d for d in divisors(channels) if channels // d <= 32])
        return placed(kind(taps), Fold(pe), Edge.of((4, channels * taps), grid))

    return make


def _add(draw: Spread) -> Any:
    channels = draw.pick((8, 16, 24, 64))
    edges = [
        Edge.of((4, channels), draw.pick((signed(8), unsigned(8), signed(12), signed(4))))
        for _ in "ab"
    ]
    return placed(Add(), Fold(draw.pick(divisors(channels))), *edges)


def _concatenate(draw: Spread) -> Any:
    count, base = draw.integer(2, 5), draw.pick((4, 8, 16))
    edges = [
        Edge.of((4, base * draw.integer(1, 4)), draw.pick((unsigned(4), unsigned(8), signed(8))))
        for _ in range(count)
    ]
    return placed(Concatenate(), Fold(draw.pick(divisors(base))), *edges)


def _top_k(draw: Spread) -> Any:
    channels, k = draw.pick((8, 10, 16, 64, 100)), draw.pick((1, 1, 1, 2, 3, 5))
    simd = draw.pick([d for d in divisors(channels) if d <= 10])
    grid = draw.pick((signed(8), signed(12), signed(16), signed(20), unsigned(10)))
    return placed(TopK(k), Fold(k, simd), Edge.of((channels,), grid))


def _link_edge(draw: Spread, lanes: int) -> Edge:
    return Edge.of(
        (lanes * 4,), draw.pick((BINARY, unsigned(4), unsigned(8), signed(12), signed(8)))
    )


def _fifo(depths: tuple[int, ...]) -> Callable[[Spread], Any]:
    def make(draw: Spread) -> Any:
        lanes = draw.pick((1, 2, 3, 4, 8, 16))
        edge = _link_edge(draw, lanes)
        return Fifo(draw.pick(depths)), Place((edge,), edge, Fold(lanes))

    return make


def _convert(draw: Spread) -> Any:
    few, times = draw.pick((1, 2, 3, 4, 8)), draw.pick((2, 3, 4, 8, 16))
    edge = _link_edge(draw, few * times)
    if draw.random() < 0.5:
        return Widen(), Place((edge,), edge, Fold(few * times, few))
    return Narrow(), Place((edge,), edge, Fold(few, few * times))


def _fork(draw: Spread) -> Any:
    lanes = draw.pick((1, 2, 4, 8, 16))
    edge = _link_edge(draw, lanes)
    return Fork(draw.integer(2, 5)), Place((edge,), edge, Fold(lanes))


UNITS: dict[str, tuple[int, Callable[[Spread], Any]]] = {
    "xnor": (8, _dot(BINARY, BINARY, 256)),
    "xnor-wide": (4, _wide(BINARY, BINARY, (48, 72, 144, 288))),
    "masked": (4, _dot(TERNARY, BINARY, 96)),
    "masked-wide": (3, _wide(TERNARY, BINARY, (48, 72, 144, 288))),
    "signs": (6, _dot(None, BINARY, 48)),
    "signs-wide": (3, _wide(None, BINARY, (48, 72, 144))),
    "ternary": (5, _dot(None, TERNARY, 48)),
    "ternary-wide": (2, _wide(None, TERNARY, (48, 72, 144))),
    "multiply": (8, _dot(None, None, 24)),
    "multiply-wide": (3, _wide(None, None, (18, 36, 48))),
    "graph": (6, _graph),
    "depthwise": (7, _depthwise),
    "window": (8, _window),
    "window-padded": (4, _padded_window(1, 128)),
    "window-point": (3, _point_window),
    "window-cropped": (4, _cropped_window),
    "window-repeat": (4, _repeated_window),
    "thresholds": (8, _thresholds),
    "requantise": (6, _requantise(8, 24)),
    "requantise-even": (4, _requantise_even),
    "requantise-shifts": (8, _requantise_fixed(False)),
    "requantise-fixed": (8, _requantise_fixed(True)),
    "scale-shifts": (7, _scale(False)),
    "scale-multiply": (6, _scale(True)),
    "table": (7, _table(2, 8)),
    "table-large": (4, _table(8, 11)),
    "max": (5, _pool(MaxPool)),
    "max-signs": (2, _pool(MaxPool, (BINARY,))),
    "sum": (5, _pool(SumPool)),
    "add": (3, _add),
    "concatenate": (6, _concatenate),
    "topk": (7, _top_k),
    "select": (5, _select),
    "fifo": (7, _fifo((2, 2, 2, 3, 4, 8, 16, 20, 32))),
    "deep": (6, _fifo((33, 48, 64, 100, 200, 300, 512, 1000, 2000))),
    "convert": (8, _convert),
    "fork": (5, _fork),
    "tables": (5, _tables),
    "lookup": (8, _lookup),
    "tree": (8, _tree),
    "table-sum": (8, _table_sum),
    "tap-transform": (8, _tap_transform),
    "depth-to-space": (8, _depth_to_space),
}
"""How many units of each kind, and how one is drawn."""


def samples(seed: int, share: float = 1.0) -> list[Sample]:
    """All units, or the first ones of each kind, which lie evenly too; the same in every run."""
    made: list[Sample] = []
    for number, (kind, (count, make)) in enumerate(UNITS.items()):
        drawn = enumerate(Spread.points(ceil(count * share), (seed, number)))
        made += [Sample(f"{kind}{k}", *make(draw)) for k, draw in drawn]
    return made
