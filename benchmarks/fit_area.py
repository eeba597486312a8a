"""Fit the area model: synthesise units of every kind, fit, and measure the error on others.

    python benchmarks/fit_area.py [--family ecp5] [--jobs 2] [--check]

Each unit is synthesised alone, with so much time for its paths that Yosys maps all of it for area,
as it does in a whole design with all but the slowest unit; whole designs are synthesised as users
do.  Results are cached by content (the Verilog, its memory files, the rules and Yosys' version)
under ~/.cache/bitwright/area.  Writes hw/cost_FAMILY.json; --check fits and prints only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.optimize import nnls

from bitwright.codegen.folding import build
from bitwright.codegen.synth import FAMILIES, RELAXED, Area, synthesise, yosys_version
from bitwright.codegen.verilog import Rtl, write_component, write_rtl
from bitwright.hw import cost
from bitwright.hw.convert import Narrow, Widen
from bitwright.hw.fifo import Fifo
from bitwright.hw.fork import Fork
from bitwright.hw.unit import Fold, Place, component, divisors, foldings
from bitwright.hw.window import Buffered
from bitwright.models import zoo
from bitwright.models.fixed import BINARY, TERNARY, Grid, signed, unsigned
from bitwright.models.ops import (
    Add,
    Concatenate,
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SumPool,
    Table,
    Thresholds,
    TopK,
    Window,
)
from bitwright.models.program import INPUT, Edge, Node, Op, Program

SEED = 20240
FLOORS = {"lut": 20, "ff": 20, "bram": 1, "dsp": 1}
"""Errors are relative to what was measured, or to this where that is less."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bitwright" / "area"


@dataclass(frozen=True, eq=False)
class Sample:
    """A unit to synthesise, under a name that says what it is."""

    name: str
    op: Any
    place: Place


# --- the units ----------------------------------------------------------------------------------


def _pick(rng: Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _placed(op: Op, fold: Fold, *edges: Edge) -> tuple[Any, Place]:
    return op, Place(edges, op.infer(*edges), fold)


def _input_grid(rng: Generator) -> Grid:
    return _pick(rng, (unsigned(4), unsigned(8), signed(4), signed(8), unsigned(2), signed(6)))


def _weights(rng: Generator, grid: Grid, shape: tuple[int, ...]) -> Any:
    if grid.bipolar:
        return rng.choice([-1, 1], shape)
    return rng.integers(grid.lo, grid.hi, shape, endpoint=True)


def _nearest(options: tuple[int, ...], wish: float) -> int:
    return min(options, key=lambda n: abs(np.log(n / wish)))


def _dot(
    inputs: Grid | None, weights: Grid | None, most: int, least: int = 1
) -> Callable[[Generator], Any]:
    """A matrix-vector unit of about `least` to `most` products a cycle."""

    def make(rng: Generator) -> Any:
        x, w = inputs or _input_grid(rng), weights or signed(int(rng.integers(2, 9)))
        rows = _pick(rng, (10, 16, 24, 32, 64, 64, 128))
        columns = _pick(rng, (9, 27, 64, 72, 144, 144, 288, 256, 576))
        lanes = 2 ** rng.uniform(np.log2(least), np.log2(most))
        pe = _nearest(divisors(rows), lanes ** rng.uniform(0.1, 0.7))
        simd = _nearest(divisors(columns), lanes / pe)
        if (pe, simd) == (rows, columns):
            return make(rng)
        op = Dot(_weights(rng, w, (rows, columns)), w)
        return _placed(op, Fold(pe, simd), Edge.of((columns,), x))

    return make


def _wide(
    inputs: Grid | None,
    weights: Grid | None,
    widths: tuple[int, ...],
    parts: tuple[int, ...] = (1, 1, 2),
    pes: tuple[int, ...] = (1, 1, 2),
) -> Callable[[Generator], Any]:
    """A unit with all or half of its columns in one cycle, as the default folding prefers."""

    def make(rng: Generator) -> Any:
        x, w = inputs or _pick(rng, (unsigned(4), unsigned(8))), weights or signed(8)
        columns = _pick(rng, widths)
        op = Dot(_weights(rng, w, (_pick(rng, (16, 32, 64)), columns)), w)
        simd = columns // _pick(rng, parts)
        return _placed(op, Fold(_pick(rng, pes), simd), Edge.of((columns,), x))

    return make


def _depthwise(rng: Generator) -> Any:
    x, w = _pick(
        rng,
        (
            (BINARY, BINARY), (unsigned(4), BINARY), (signed(8), TERNARY), (unsigned(8), signed(8)),
            (unsigned(8), signed(8)), (unsigned(4), signed(4)), (signed(8), signed(4)),
        ),
    )  # fmt: skip
    channels, taps = _pick(rng, (8, 16, 24, 32, 64)), _pick(rng, (4, 9, 9, 25))
    pe = _pick(rng, [d for d in divisors(channels) if 1 <= d <= 16 and channels // d <= 32])
    op = DepthwiseDot(_weights(rng, w, (channels, taps)), w)
    return _placed(op, Fold(pe), Edge.of((channels * taps,), x))


def _window(rng: Generator) -> Any:
    size, channels = _pick(rng, (6, 8, 12, 16, 28, 32)), _pick(rng, (1, 3, 8, 16, 32, 64))
    kernel = _pick(rng, (1, 2, 3, 3, 3, 5))
    stride = _pick(rng, (1, 1, 2)) if kernel != 2 else 2
    pad = _pick(rng, (0, kernel // 2))
    grid = _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(8)))
    op = Window((kernel, kernel), (stride, stride), (pad,) * 4)
    simd = _pick(rng, [d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _point_window(rng: Generator) -> Any:
    size, channels = _pick(rng, (6, 8, 16, 32)), _pick(rng, (3, 8, 16, 32, 64))
    grid = _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(8)))
    stride = _pick(rng, (1, 2, 2))
    op = Window((1, 1), (stride, stride))
    simd = _pick(rng, [d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _padded_window(least: int, most: int) -> Callable[[Generator], Any]:
    """A window with padding, of about `least` to `most` bits a cycle."""

    def make(rng: Generator) -> Any:
        size, channels = _pick(rng, (6, 8, 10, 16)), _pick(rng, (8, 16, 32))
        grid = _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(8)))
        op = Window((3, 3), padding=(1, 1, 1, 1))
        bits = 2 ** rng.uniform(np.log2(max(least, grid.bits)), np.log2(most))
        simd = _nearest(divisors(channels), bits / grid.bits)
        edge = Edge.of((size, size, channels), grid)
        return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))

    return make


def _cropped_window(rng: Generator) -> Any:
    """A window of which some rows and columns are cut off."""
    size, channels = _pick(rng, (8, 12, 16, 28)), _pick(rng, (1, 3, 8, 16, 32))
    kernel, stride = _pick(rng, (1, 1, 2, 3)), _pick(rng, (1, 1, 2))
    grid = _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(8)))
    top, left, bottom, right = (-rng.integers(0, size // 3, 4)).tolist()
    op = Window((kernel, kernel), (stride, stride), (top, left, bottom, right))
    simd = _pick(rng, [d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _repeated_window(rng: Generator) -> Any:
    """A window that shows pixels several times."""
    size, channels = _pick(rng, (4, 6, 8, 12, 16, 28)), _pick(rng, (1, 3, 8, 16, 32))
    grid = _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(8)))
    op = Window((1, 1), repeat=_pick(rng, ((2, 2), (2, 2), (4, 4), (3, 3), (2, 1), (1, 2))))
    simd = _pick(rng, [d for d in divisors(channels) if d * grid.bits <= 128])
    edge = Edge.of((size, size, channels), grid)
    return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))


def _select(rng: Generator) -> Any:
    """A group of channels of every tap, as grouped convolutions take it, or any channels."""
    taps, groups = _pick(rng, (1, 1, 4, 9)), _pick(rng, (2, 3, 4, 8))
    size = _pick(rng, (3, 4, 8, 16, 32))
    mask = np.zeros((taps, groups, size), bool)
    mask[:, int(rng.integers(groups))] = True
    if rng.random() < 0.3:
        mask = rng.random(mask.shape) < 0.4
    op = Select(np.flatnonzero(mask))
    grid = _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(8)))
    edge = Edge.of((4, mask.size), grid)
    folds = foldings(op, Place((edge,), op.infer(edge), Fold()))
    return _placed(op, _pick(rng, [fold for fold in folds if fold.pe * grid.bits <= 256]), edge)


def _thresholds(rng: Generator) -> Any:
    bits = int(rng.integers(5, 19))
    channels, count = _pick(rng, (10, 16, 32, 64, 128)), _pick(rng, (1, 1, 3, 7, 15, 15))
    grid = _pick(rng, (signed(bits), unsigned(bits)))
    pe = _pick(rng, [d for d in divisors(channels) if d * count * bits <= 1200 and d <= 32])
    spread = (grid.hi - grid.lo) / 4
    cuts = np.sort(rng.normal((grid.lo + grid.hi) / 2, spread, (channels, count)).astype(int), 1)
    rising = rng.random(channels) < (1.0 if rng.random() < 0.5 else 0.8)
    if count == 1:
        op = Thresholds(cuts, np.where(rising, -1, 1), np.where(rising, 2, -2))
    else:
        op = Thresholds(cuts, np.where(rising, 0, count), np.where(rising, 1, -1))
    return _placed(op, Fold(pe), Edge.of((4, channels), grid))


def _requantise(least: int, most: int) -> Callable[[Generator], Any]:
    """A unit whose input has so many bits."""

    def make(rng: Generator) -> Any:
        bits, channels = int(rng.integers(least, most + 1)), _pick(rng, (1, 10, 16, 32, 64, 64))
        output = _pick(rng, (signed(8), unsigned(8), unsigned(4), signed(4)))
        pe = _pick(rng, [d for d in divisors(channels) if d <= 16])
        m_bits = int(rng.integers(6, 17))
        multiplier = rng.integers(1 << (m_bits - 1), 1 << m_bits, channels)
        shift = max(1, bits + m_bits - output.bits - 1)
        reach = 1 << (bits + m_bits - 3)
        bias = rng.integers(-reach, reach, channels)
        op = Requantise(multiplier, bias, shift, output.lo, output.hi)
        return _placed(op, Fold(pe), Edge.of((4, channels), signed(bits)))

    return make


def _requantise_even(rng: Generator) -> Any:
    """A unit that rounds halves to even."""
    op, place = _requantise(8, 18)(rng)
    return replace(op, even=1), place


def _requantise_fixed(multiplies: bool) -> Callable[[Generator], Any]:
    """One multiplier for all channels, or one of each lane's own, and biases of all kinds."""

    def make(rng: Generator) -> Any:
        bits, channels = int(rng.integers(6, 21)), _pick(rng, (1, 10, 16, 32, 64, 64))
        grid = _pick(rng, (signed(bits), signed(bits), unsigned(bits)))
        narrow = (Grid(-127, 127), Grid(-7, 7), Grid(0, 200))
        output = _pick(rng, (signed(8), unsigned(8), unsigned(4), signed(4), *narrow))
        pe = _pick(rng, [d for d in divisors(channels) if d <= 16])
        own = rng.random() < 0.25
        if multiplies:
            m_bits = int(rng.integers(3, 17))
            multiplier = rng.integers(1 << (m_bits - 1), 1 << m_bits, channels)
        else:
            m_bits = _pick(rng, (1, 1, 1, 3, 7))
            multiplier = 1 << rng.integers(0 if own else m_bits - 1, m_bits, channels)
        multiplier = np.tile(multiplier[: pe if own else 1], channels // (pe if own else 1))
        multiplier *= _pick(rng, (1, 1, -1)) if grid.signed else 1
        shift = max(m_bits, bits + m_bits - output.bits - int(rng.integers(0, 3)))
        reach = _pick(rng, (0, 0, 1 << (bits + m_bits - 3), 1 << (bits + m_bits - 3)))
        bias = rng.integers(-reach, reach, channels, endpoint=True)
        if rng.random() < 0.3:
            bias[:] = bias[0]
        even = int(rng.integers(2))
        op = Requantise(multiplier, bias, shift, output.lo, output.hi, even)
        drawn = _placed(op, Fold(pe), Edge.of((4, channels), grid))
        y = drawn[1].output
        # A channel that is always clamped is a constant, which no network asks for.
        return make(rng) if (y.lo == y.hi).any() else drawn

    return make


def _scale(multiplies: bool) -> Callable[[Generator], Any]:
    """Channels with a multiplier or with powers of two, signs and biases of all kinds."""

    def make(rng: Generator) -> Any:
        bits = int(rng.integers(4, 21 if multiplies else 17))
        channels, grid = (
            _pick(rng, (1, 10, 16, 32, 64, 64)),
            _pick(rng, (signed(bits), unsigned(bits))),
        )
        pe = _pick(rng, [d for d in divisors(channels) if d <= 16])
        if multiplies:
            m_bits = int(rng.integers(3, 13))
            multiplier = rng.integers(1 << (m_bits - 1), 1 << m_bits, channels)
        else:
            multiplier = 1 << rng.integers(0, _pick(rng, (1, 1, 2, 4)), channels)
        sign = _pick(rng, (1, 1, -1, 0))
        multiplier = multiplier * (sign or rng.choice([-1, 1], channels))
        reach = _pick(rng, (0, 1 << (bits - 2), 1 << (bits - 2), 1 << bits))
        bias = rng.integers(-reach, reach, channels, endpoint=True)
        if rng.random() < 0.4:
            multiplier[:] = multiplier[0]
        if rng.random() < 0.3:
            bias[:] = bias[0]
        return _placed(Scale(multiplier, bias), Fold(pe), Edge.of((4, channels), grid))

    return make


def _table(least: int, most: int) -> Callable[[Generator], Any]:
    """A table of any values or of a smooth step, whose input has so many bits."""

    def make(rng: Generator) -> Any:
        bits, channels = int(rng.integers(least, most + 1)), _pick(rng, (1, 8, 10, 16, 32, 64))
        grid = _pick(rng, (signed(bits), unsigned(bits)))
        output = _pick(rng, (BINARY, unsigned(2), unsigned(4), signed(4), unsigned(8), signed(8)))
        pe = _pick(rng, [d for d in divisors(channels) if d <= 16])
        rows = channels if rng.random() < 0.35 and channels << bits <= 1 << 14 else 1
        if rng.random() < 0.5 and not output.bipolar:
            slope = np.linspace(-4, 4, 1 << bits) * rng.uniform(0.5, 2, (rows, 1))
            step = (output.hi - output.lo) / (1 + np.exp(-slope))
            values = output.lo + np.rint(step).astype(np.int64)
        else:
            values = _weights(rng, output, (rows, 1 << bits))
        return _placed(Table(values, grid.lo), Fold(pe), Edge.of((4, channels), grid))

    return make


def _pool(
    kind: type[MaxPool] | type[SumPool],
    grids: tuple[Grid, ...] = (BINARY, unsigned(4), unsigned(8), signed(8), signed(6)),
) -> Callable[[Generator], Any]:
    def make(rng: Generator) -> Any:
        grid = _pick(rng, grids)
        channels, taps = _pick(rng, (8, 16, 32, 64)), _pick(rng, (4, 4, 9, 16, 49))
        pe = _pick(rng, [d for d in divisors(channels) if channels // d <= 32])
        return _placed(kind(taps), Fold(pe), Edge.of((4, channels * taps), grid))

    return make


def _add(rng: Generator) -> Any:
    channels = _pick(rng, (8, 16, 24, 64))
    edges = [
        Edge.of((4, channels), _pick(rng, (signed(8), unsigned(8), signed(12), signed(4))))
        for _ in "ab"
    ]
    return _placed(Add(), Fold(_pick(rng, divisors(channels))), *edges)


def _concatenate(rng: Generator) -> Any:
    count, base = int(rng.integers(2, 5)), _pick(rng, (4, 8, 16))
    edges = [
        Edge.of(
            (4, base * int(rng.integers(1, 4))), _pick(rng, (unsigned(4), unsigned(8), signed(8)))
        )
        for _ in range(count)
    ]
    return _placed(Concatenate(), Fold(_pick(rng, divisors(base))), *edges)


def _top_k(rng: Generator) -> Any:
    channels, k = _pick(rng, (8, 10, 16, 64, 100)), _pick(rng, (1, 1, 1, 2, 3, 5))
    simd = _pick(rng, [d for d in divisors(channels) if d <= 10])
    grid = _pick(rng, (signed(8), signed(12), signed(16), signed(20), unsigned(10)))
    return _placed(TopK(k), Fold(k, simd), Edge.of((channels,), grid))


def _link_edge(rng: Generator, lanes: int) -> Edge:
    return Edge.of(
        (lanes * 4,), _pick(rng, (BINARY, unsigned(4), unsigned(8), signed(12), signed(8)))
    )


def _fifo(depths: tuple[int, ...]) -> Callable[[Generator], Any]:
    def make(rng: Generator) -> Any:
        lanes = _pick(rng, (1, 2, 3, 4, 8, 16))
        edge = _link_edge(rng, lanes)
        return Fifo(_pick(rng, depths)), Place((edge,), edge, Fold(lanes))

    return make


def _convert(rng: Generator) -> Any:
    few, times = _pick(rng, (1, 2, 3, 4, 8)), _pick(rng, (2, 3, 4, 8, 16))
    edge = _link_edge(rng, few * times)
    if rng.random() < 0.5:
        return Widen(), Place((edge,), edge, Fold(few * times, few))
    return Narrow(), Place((edge,), edge, Fold(few, few * times))


def _fork(rng: Generator) -> Any:
    lanes = _pick(rng, (1, 2, 4, 8, 16))
    edge = _link_edge(rng, lanes)
    return Fork(int(rng.integers(2, 5))), Place((edge,), edge, Fold(lanes))


UNITS: dict[str, tuple[int, Callable[[Generator], Any]]] = {
    "xnor": (18, _dot(BINARY, BINARY, 512)),
    "masked": (12, _dot(TERNARY, BINARY, 160)),
    "signs": (14, _dot(None, BINARY, 64)),
    "ternary": (12, _dot(None, TERNARY, 64)),
    "multiply": (18, _dot(None, None, 48)),
    "depthwise": (14, _depthwise),
    "window": (20, _window),
    "thresholds": (20, _thresholds),
    "requantise": (14, _requantise(8, 20)),
    "max": (16, _pool(MaxPool)),
    "sum": (16, _pool(SumPool)),
    "add": (8, _add),
    "concatenate": (16, _concatenate),
    "topk": (18, _top_k),
    "fifo": (9, _fifo((2, 2, 2, 3, 4, 8, 16, 20, 32))),
    "deep": (9, _fifo((33, 48, 64, 100, 200, 300, 512, 1000, 2000))),
    "convert": (22, _convert),
    "fork": (10, _fork),
    "xnor-wide": (7, _wide(BINARY, BINARY, (48, 72, 144, 288, 576))),
    "xnor-large": (3, _dot(BINARY, BINARY, 1400, 900)),
    "masked-wide": (5, _wide(TERNARY, BINARY, (48, 72, 144, 288))),
    "signs-wide": (3, _wide(None, BINARY, (48, 72, 144, 288))),
    "signs-wider": (4, _wide(None, BINARY, (48, 72, 108))),
    "ternary-wide": (4, _wide(None, TERNARY, (48, 72, 144))),
    "multiply-wide": (5, _wide(None, None, (48, 72, 144, 288))),
    "multiply-full": (1, _wide(unsigned(8), signed(8), (288,), (1,), (1,))),
    "window-padded": (10, _padded_window(1, 128)),
    "max-signs": (5, _pool(MaxPool, (BINARY,))),
    "requantise-wide": (7, _requantise(19, 24)),
    "window-wide": (4, _padded_window(128, 256)),
    "signs-full": (2, _wide(unsigned(8), BINARY, (288,), (1,), (1,))),
    "signs-rows": (3, _wide(unsigned(8), BINARY, (96, 144), (1,), (2, 4))),
    "multiply-rows": (1, _wide(unsigned(8), signed(8), (144,), (1,), (2,))),
    "window-point": (10, _point_window),
    "window-cropped": (10, _cropped_window),
    "window-repeat": (14, _repeated_window),
    "select": (16, _select),
    "scale-shifts": (20, _scale(False)),
    "scale-multiply": (20, _scale(True)),
    "table": (22, _table(2, 8)),
    "table-large": (12, _table(8, 12)),
    "requantise-even": (14, _requantise_even),
    "requantise-shifts": (48, _requantise_fixed(False)),
    "requantise-fixed": (36, _requantise_fixed(True)),
}
"""How many units of each kind, and how one is drawn."""


def samples(seed: int = SEED) -> list[Sample]:
    """All units, the same in every run."""
    made = []
    for number, (kind, (count, make)) in enumerate(UNITS.items()):
        rng = np.random.default_rng((seed, number))
        made += [Sample(f"{kind}{k}", *make(rng)) for k in range(count)]
    return made


# --- synthesis ----------------------------------------------------------------------------------


def cached(rtl: Rtl, family: str, delay: int | None = None) -> Area:
    """Synthesise, or read the result of the same text, rules and tool."""
    rules = replace(FAMILIES[family], free=frozenset())
    text = json.dumps(
        [rtl.top, rtl.verilog, rtl.memories, repr(rules), yosys_version(), delay], sort_keys=True
    )
    file = CACHE / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    if file.is_file():
        return Area(**json.loads(file.read_text()))
    area = synthesise(rtl, family, delay=delay)
    CACHE.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.{id(rtl)}.part")
    part.write_text(json.dumps(asdict(area)))
    part.replace(file)
    return area


def measure(units: list[Sample], family: str, jobs: int) -> list[Area]:
    """Areas of all units, in their order; progress goes to standard error."""

    def one(sample: Sample) -> Area:
        rtl = write_component(component(sample.op, sample.place), "unit")
        area = cached(rtl, family, RELAXED)
        print(f"{sample.name}: {area}", file=sys.stderr, flush=True)
        return area

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, units))


# --- fit ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Unit:
    """A synthesised unit beside its features."""

    sample: Sample
    features: cost.Features
    area: Area

    @property
    def terms(self) -> dict[str, float]:
        """Features under the names of their coefficients."""
        return cost.terms(self.features)


def fit(units: list[Unit]) -> dict[str, float]:
    """Coefficients that minimise the squared relative error of LUTs; none is negative."""
    names = sorted({name for unit in units for name in unit.terms})
    matrix = np.array([[unit.terms.get(name, 0.0) for name in names] for unit in units])
    wanted = np.array([unit.area.lut - unit.features.parts.exact for unit in units], float)
    weight = 1 / np.array([max(unit.area.lut, FLOORS["lut"]) for unit in units], float)
    solution, _ = nnls(matrix * weight[:, None], wanted * weight, maxiter=10_000)
    return {name: round(float(value), 4) for name, value in zip(names, solution, strict=True)}


def ranges(units: list[Unit]) -> dict[str, float]:
    """The largest value of each feature among units that share its coefficient."""
    most: dict[str, float] = {}
    for unit in units:
        for name, value in unit.terms.items():
            most[name] = max(most.get(name, 0.0), float(value))
    return dict(sorted(most.items()))


def relative(estimate: int, measured: int, resource: str) -> float:
    """Relative error; below the floor of a resource, relative to that."""
    return abs(estimate - measured) / max(measured, FLOORS[resource])


def summary(errors: list[float]) -> dict[str, float]:
    """Median and worst."""
    return {"median": round(float(np.median(errors)), 4), "worst": round(max(errors), 4)}


def split(units: list[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Units to fit, and a third of all held back, by the seed.

    For each feature the first unit with its largest value is always fitted: beyond the fitted
    range there are no estimates, and so no error to measure.
    """
    largest = {
        max(range(len(units)), key=lambda k: units[k].terms.get(name, 0.0))
        for name in ranges(units)
    }
    others = [k for k in range(len(units)) if k not in largest]
    order = np.random.default_rng(SEED).permutation(len(others))
    held = {others[k] for k in order[: len(units) // 3]}
    return (
        [unit for k, unit in enumerate(units) if k not in held],
        [unit for k, unit in enumerate(units) if k in held],
    )


def judged(model: cost.Model, held: list[Unit]) -> dict[str, Any]:
    """Errors on units that were not fitted, those beyond the fitted range left out and counted."""
    pairs = [(unit, model.estimate(unit.features)) for unit in held]
    within = [(unit, found) for unit, found in pairs if found is not None]
    errors = {
        r: [relative(getattr(found, r), getattr(unit.area, r), r) for unit, found in within]
        for r in cost.RESOURCES
    }
    by_kind: dict[str, list[float]] = {}
    for (unit, _), wrong in zip(within, errors["lut"], strict=True):
        by_kind.setdefault(unit.features.kind, []).append(wrong)
    return {
        "held_back": len(within),
        "out_of_range": len(held) - len(within),
        "error": {resource: summary(values) for resource, values in errors.items()},
        "lut_by_kind": {k: {"units": len(v), **summary(v)} for k, v in sorted(by_kind.items())},
    }


# --- whole designs ------------------------------------------------------------------------------


def _chain(name: str, edge: Edge, *ops: Op) -> Program:
    nodes, source = [], INPUT
    for number, op in enumerate(ops):
        nodes.append(Node(f"{type(op).__name__.lower()}{number}", op, (source,)))
        source = nodes[-1].name
    return Program(name, edge, tuple(nodes))


def programs() -> list[tuple[Program, int | None]]:
    """Networks and the cycles per frame they are folded to; None is the default."""
    rng = np.random.default_rng(SEED)

    def signs(*shape: int) -> Dot:
        return Dot(rng.choice([-1, 1], shape), BINARY)

    def sign(count: int, reach: int) -> Thresholds:
        cuts = rng.integers(-reach, reach, (count, 1))
        return Thresholds(cuts, np.full(count, -1), np.full(count, 2))

    def scale(count: int) -> Requantise:
        return Requantise(
            rng.integers(64, 256, count), rng.integers(-4000, 4000, count), 14, 0, 255
        )

    def integers(*shape: int) -> Dot:
        return Dot(rng.integers(-8, 8, shape), signed(4))

    binary = _chain(
        "binary", Edge.of((8, 8, 1), unsigned(4)),
        Window((3, 3)), signs(16, 9), sign(16, 20), Window((3, 3)), signs(32, 144), sign(32, 12),
        Window((2, 2), (2, 2)), MaxPool(4), Reshape((128,)), signs(10, 128), TopK(1),
    )  # fmt: skip
    quantised = _chain(
        "quantised", Edge.of((8, 8, 3), unsigned(8)),
        Window((3, 3), padding=(1, 1, 1, 1)), integers(8, 27), scale(8),
        Window((3, 3), padding=(1, 1, 1, 1)),
        DepthwiseDot(rng.integers(-8, 8, (8, 9)), signed(4)), scale(8), integers(16, 8), scale(16),
        Reshape((1, 1, 1024)), SumPool(64), integers(10, 16),
    )  # fmt: skip
    dense = _chain(
        "dense", Edge.of((64,), unsigned(4)),
        signs(64, 64), scale(64), signs(32, 64), scale(32), signs(10, 32),
    )  # fmt: skip
    shipped = [(zoo.programs()[name].load(), None) for name in ("digits-binary", "digits-bwnh-a4")]
    return [(binary, 600), (quantised, 800), (dense, 128), *shipped]


def designs(model: cost.Model, family: str) -> list[dict[str, Any]]:
    """The sum of the units' estimates beside the synthesis of the whole, for each design."""
    result = []
    for program, target in programs():
        design = build(program, target)
        print(f"design {program.name}", file=sys.stderr, flush=True)
        area = cached(write_rtl(design), family)
        each = [model.estimate(cost.features(i.op, i.place)) for i in design.instances]
        known = [e for e in each if e is not None]
        total = {r: sum(getattr(e, r) for e in known) for r in cost.RESOURCES}
        result.append({
            "design": program.name,
            "units": len(each),
            "without_estimate": len(each) - len(known),
            "estimate": total,
            "measured": {r: getattr(area, r) for r in cost.RESOURCES},
            "error": {r: round(relative(total[r], getattr(area, r), r), 4) for r in cost.RESOURCES},
        })  # fmt: skip
    return result


# --- the command --------------------------------------------------------------------------------


def calibrate(family: str, jobs: int) -> dict[str, Any]:
    """The whole document of `hw/cost_FAMILY.json`, but for the date."""
    drawn = samples()
    areas = measure(drawn, family, jobs)
    units = [
        Unit(sample, cost.features(sample.op, sample.place), area)
        for sample, area in zip(drawn, areas, strict=True)
    ]
    fitted, held = split(units)
    document: dict[str, Any] = {
        "family": family,
        "yosys": yosys_version(),
        "seed": SEED,
        "units": len(fitted),
        "floors": FLOORS,
        "coefficients": fit(fitted),
        "most": ranges(fitted),
        "kinds": dict(sorted(Counter(unit.features.kind for unit in fitted).items())),
    }
    model = cost.Model.of(document)
    document |= judged(model, held)
    document["designs"] = found = designs(model, family)
    document["design_error"] = {r: summary([d["error"][r] for d in found]) for r in cost.RESOURCES}
    return document


def fresh(family: str, jobs: int, seed: int) -> dict[str, Any]:
    """The errors of the stored model on every sixth unit drawn from another seed."""
    document = json.loads(cost.data_file(family).read_text())
    drawn = samples(seed)[::6]
    units = [
        Unit(sample, cost.features(sample.op, sample.place), area)
        for sample, area in zip(drawn, measure(drawn, family, jobs), strict=True)
    ]
    return {
        "family": family,
        "yosys": yosys_version(),
        "units": document["units"],
        **judged(cost.Model.of(document), units),
        "designs": [],
    }


def write(document: dict[str, Any], file: Path) -> None:
    """Write the document with today's date, or with the old one if nothing else has changed."""
    old = json.loads(file.read_text()) if file.is_file() else {}
    same = {name: value for name, value in old.items() if name != "date"} == document
    today = datetime.now(UTC).date().isoformat()
    dated = {"date": old["date"] if same else today, **document}
    file.write_text(json.dumps(dated, indent=1) + "\n")


def table(document: dict[str, Any]) -> Iterator[str]:
    """What was found, line by line."""
    yield (
        f"{document['family']}, {document['yosys']}: {document['units']} units fitted, "
        f"{document['held_back']} held back, {document['out_of_range']} beyond the fitted range"
    )
    for resource, error in document["error"].items():
        yield f"{resource:<20} median {error['median']:>7.1%}   worst {error['worst']:>7.1%}"
    yield "LUT by kind, units not in the fit"
    for kind, error in document["lut_by_kind"].items():
        yield (
            f"  {kind:<20} median {error['median']:>7.1%}   worst {error['worst']:>7.1%}   "
            f"{error['units']:>3} units"
        )
    if document["designs"]:
        yield "whole designs, estimate / measured"
    for design in document["designs"]:
        pairs = (
            f"{r} {design['estimate'][r]}/{design['measured'][r]} ({design['error'][r]:.1%})"
            for r in cost.RESOURCES
        )
        yield f"  {design['design']:<18} {', '.join(pairs)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=["ecp5"], default="ecp5")
    parser.add_argument("--jobs", type=int, default=2, help="syntheses at a time")
    parser.add_argument("--check", action="store_true", help="print, write nothing")
    parser.add_argument(
        "--fresh", type=int, metavar="SEED", help="judge the stored fit on units of another seed"
    )
    arguments = parser.parse_args()
    if arguments.fresh is not None:
        print("\n".join(table(fresh(arguments.family, arguments.jobs, arguments.fresh))))
        return
    document = calibrate(arguments.family, arguments.jobs)
    print("\n".join(table(document)))
    if not arguments.check:
        write(document, cost.data_file(arguments.family))


if __name__ == "__main__":
    main()
