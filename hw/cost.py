"""Estimated area of every unit: features counted from its structure, coefficients fitted to Yosys.

`features(op, place)` says of what a unit is made: adder bits, comparator bits, gates of lanes,
counter bits, registers, memories.  Registers, block RAMs and multipliers are counts that stand by
themselves; LUTs are a sum of features with coefficients per kind of unit, which
`benchmarks/fit_area.py` fits and writes to `cost_FAMILY.json` together with the error that it
measured on units it did not fit.  Where a unit has a feature beyond those fitted, or a kind that
was never fitted, there is no estimate.

Memory goes where Yosys' `memory_libmap` puts it: to the cheapest of logic, LUT memory and block
RAM, with the costs of its library for Lattice devices (`lutrams_trellis.txt`, `brams_16kd.txt`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, singledispatch
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..models.fixed import Grid, Ints
from ..models.ops import (
    Add,
    Concatenate,
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Scale,
    Select,
    SumPool,
    Table,
    Thresholds,
    TopK,
    Window,
)
from .concatenate import turns
from .convert import Narrow, Widen
from .dot import folded, start_values, weight_rows
from .elementwise import by_beat
from .fifo import Fifo
from .fork import Fork
from .scale import Plan, plan_of
from .select import emitting
from .table import contents_of
from .unit import Place, ports
from .window import Buffered, Walk, padded_somewhere, walk_of

RESOURCES = ("lut", "ff", "bram", "dsp")


@dataclass(frozen=True)
class Estimate:
    """Estimated area of a unit."""

    lut: int
    ff: int
    bram: int
    dsp: int

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*(getattr(self, r) + getattr(other, r) for r in RESOURCES))


@dataclass(frozen=True)
class Parts:
    """Of what a unit is made.

    lut: features whose weighted sum are its LUTs; exact: LUTs that count as they are (LUT memory);
    ff, bram, dsp: registers, block RAMs and multipliers.
    """

    lut: Mapping[str, float] = field(default_factory=dict[str, float])
    exact: int = 0
    ff: int = 0
    bram: int = 0
    dsp: int = 0

    def __add__(self, other: Parts) -> Parts:
        names = [*self.lut, *(name for name in other.lut if name not in self.lut)]
        return Parts(
            {name: self.lut.get(name, 0) + other.lut.get(name, 0) for name in names},
            self.exact + other.exact,
            self.ff + other.ff,
            self.bram + other.bram,
            self.dsp + other.dsp,
        )


@dataclass(frozen=True)
class Features:
    """The kind of a unit, whose coefficients it takes, and its parts."""

    kind: str
    parts: Parts


@singledispatch
def features(op: Any, place: Place) -> Features:
    """Of what the unit is made, on an ECP5: what `place` and the constants of `op` decide."""
    raise NotImplementedError(
        f"{type(op).__name__} has no area features; register them with @features.register"
    )


SHARED = frozenset({"count", "mux", "table", "select", "bypass", "accumulate", "input"})
"""Features that cost the same in every kind of unit: one coefficient for all."""


def terms(of: Features) -> dict[str, float]:
    """The features under the names of their coefficients."""
    named = of.parts.lut.items()
    return {name if name in SHARED else f"{of.kind}.{name}": value for name, value in named}


@dataclass(frozen=True, eq=False)
class Model:
    """Fitted coefficients and the largest features that they were fitted on; `about` is the rest.

    kinds: how many units of each kind were fitted.
    """

    coefficients: Mapping[str, float]
    most: Mapping[str, float]
    kinds: Mapping[str, int]
    about: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Model:
        """From the document that the fit writes."""
        return cls(document["coefficients"], document["most"], document["kinds"], document)

    def estimate(self, of: Features) -> Estimate | None:
        """The area, or None beyond what was fitted."""
        known = terms(of)
        if of.kind not in self.kinds or any(v > self.most.get(n, 0) for n, v in known.items()):
            return None
        lut = of.parts.exact + sum(self.coefficients[n] * v for n, v in known.items() if v)
        return Estimate(round(lut), of.parts.ff, of.parts.bram, of.parts.dsp)


def data_file(family: str) -> Path:
    """Where the fit for a family lies."""
    return Path(__file__).with_name(f"cost_{family}.json")


@cache
def model(family: str = "ecp5") -> Model | None:
    """The fitted model of a family; None where there is none."""
    file = data_file(family)
    return Model.of(json.loads(file.read_text())) if file.is_file() else None


def estimate(op: Any, place: Place, family: str = "ecp5") -> Estimate | None:
    """The estimated area of a unit; None for what was not calibrated, with `error` beside it.

    None stands for a family or a kind of unit without a fit, and for a unit with more of some
    feature than any that was fitted.
    """
    fitted = model(family)
    known = features.dispatch(type(op)) is not features.dispatch(object)
    return fitted.estimate(features(op, place)) if fitted and known else None


def error(family: str = "ecp5") -> dict[str, Any]:
    """How far estimates are off, measured on units not in the fit, to be printed beside them.

    {"lut": {"median", "worst"}, "ff": ..., "bram": ..., "dsp": ..., "designs": the same for sums
    over whole designs, "units", "held_back", "date", "yosys"}: relative errors; empty for a family
    without a fit.
    """
    fitted = model(family)
    if fitted is None:
        return {}
    about = fitted.about
    said = {name: about[name] for name in ("units", "held_back", "date", "yosys")}
    return {**about["error"], "designs": about["design_error"], **said}


# --- parts --------------------------------------------------------------------------------------


def gates(ff: int = 0, **lut: float) -> Parts:
    """Features by name, and registers; `constant` stands for what every unit of a kind has."""
    return Parts(lut, ff=ff)


def together(*parts: Parts) -> Parts:
    """Sum of parts."""
    return sum(parts, Parts())


def count_bits(limit: int) -> int:
    """Bits of a counter 0 .. limit - 1."""
    return (limit - 1).bit_length()


def counting(*limits: int) -> Parts:
    """Counters: their registers; an increment, a comparison and a return to zero for each bit."""
    bits = sum(map(count_bits, limits))
    return Parts({"count": bits}, ff=bits)


BLOCKS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Shapes of a DP16KD (width, depth)."""
BLOCK_COST, CELL_COST, MUX_COST, EMULATION_COST, ROM_BIT_COST = 128, 4, 0.5, 2, 1 / 16
"""Costs in `memory_libmap`: of a DP16KD, a DPR16X4, a mux input, a point of emulation, a bit."""
CELL_LUTS = 6


def _blocks(width: int, depth: int, packed: bool) -> tuple[float, int, int]:
    """The cheapest block RAM: cost, number, banks (depths beyond one block take muxes).

    packed: banks stand side by side in one block, as those of a constant memory may.
    """
    options = []
    for wide, deep in BLOCKS:
        banks = ceil(depth / deep)
        number = ceil(banks * width / wide) if packed else banks * ceil(width / wide)
        options.append((BLOCK_COST * number + MUX_COST * width * (banks - 1), number, banks))
    return min(options)


def rom(bits: np.ndarray) -> Parts:
    """A constant memory of (depth, width) bits, read by the clock.

    In block RAM, or in LUTs with a register per bit: every column takes a LUT4 per 16 words that
    are neither constant nor a copy.
    """
    depth = len(bits)
    if depth == 1:
        return Parts()
    columns = bits[:, (bits != bits[0]).any(0)]
    width = columns.shape[1]
    cost, number, banks = _blocks(width, depth, True)
    if cost + EMULATION_COST <= width * depth * ROM_BIT_COST:
        # Muxes between banks are steered by the high address bits, in registers.
        return Parts({"mux": width * (banks - 1)}, ff=count_bits(banks), bram=number)
    tables, kept = _tables(columns), _distinct(columns)
    # Two LUT4s join into one LUT5 by a mux beside them; more take LUTs to choose.
    return Parts({"table": tables, "select": max(0, tables - 2 * kept)}, ff=kept)


def _tables(columns: np.ndarray) -> int:
    """Different LUT4s that hold columns of bits, 16 words each."""
    count = 0
    for at in range(0, len(columns), 16):
        count += _distinct(columns[at : at + 16])
    return count


def _distinct(bits: np.ndarray) -> int:
    """Columns that are neither constant nor copies: registers that Yosys keeps."""
    return np.unique(bits[:, (bits != bits[0]).any(0)], axis=1).shape[1]


def as_bits(values: Ints, grid: Grid) -> np.ndarray:
    """Rows (D, lanes) of values as bits (D, lanes * grid.bits)."""
    codes = grid.encode(values)
    return ((codes[:, :, None] >> np.arange(grid.bits)) & 1).astype(bool).reshape(len(codes), -1)


def ram(width: int, depth: int, clocked: bool = True, one_address: bool = False) -> Parts:
    """A memory that is written; `clocked`: read by the clock, which LUT memory does by registers.

    A read gives what was there before a write of the same cycle.  A block RAM does that only where
    both ports share `one_address` and 18 bits suffice; otherwise registers for the
    address and two words, and muxes, stand around it.
    """
    rows, cells = ceil(depth / 16), ceil(depth / 16) * ceil(width / 4)
    cell_cost = CELL_COST * cells + MUX_COST * (width + 1) * (rows - 1) + EMULATION_COST
    block_cost, number, banks = _blocks(width, depth, False)
    if clocked and block_cost + 7 * EMULATION_COST < min(cell_cost, width * depth):
        bypass = 0 if one_address and width <= 18 else 2 * width + count_bits(depth) + 2
        muxes = width * (banks - 1)
        return Parts({"mux": muxes, "bypass": bypass}, ff=count_bits(banks) + bypass, bram=number)
    read = width if clocked else 0
    if width * depth < cell_cost:
        return Parts({"mux": width * (depth - 1)}, ff=width * depth + read)
    return Parts({"mux": width * (rows - 1)}, exact=CELL_LUTS * cells, ff=read)


# --- sums ---------------------------------------------------------------------------------------


@cache
def sum_of(columns: tuple[int, ...]) -> Mapping[str, float]:
    """Features of a sum with so many bits to add in each column, lowest first.

    Counts what Yosys' `maccmap` makes of it: words of one bit a column, three of which become two
    by full adders until two are left, which are added in a carry chain, or in LUTs if narrow.
    """
    words, spare = _summands(list(columns))
    adders = 0
    while len(words) > 2:
        made: list[list[bool]] = []
        for at in range(0, len(words) - 2, 3):
            inputs = [sum(bits) for bits in zip(*words[at : at + 3], strict=True)]
            adders += inputs.count(3) + inputs.count(2)
            carries = [spare > 0, *(count >= 2 for count in inputs[:-1])]
            spare -= spare > 0
            made += [[count > 0 for count in inputs], carries]
        words = made + words[len(words) // 3 * 3 :]
    last = len(columns) if len(words) > 1 else 0
    chain = last if last > 4 else 0
    return {"adders": adders, "carry": chain, "short": last - chain}


def _summands(left: list[int]) -> tuple[list[list[bool]], int]:
    """Words that take a bit of each column, and how many bits go into free carry inputs instead."""
    words: list[list[bool]] = []
    spare = 0
    while any(left):
        words.append([count > 0 for count in left])
        left = [max(0, count - 1) for count in left]
        free = max(0, len(words) - 2 - spare)
        for place in range(len(left)):
            # A bit of weight 2**k stands for so many at the lowest place.
            packed = min(left[place], free >> place)
            left[place] -= packed
            free -= packed << place
            spare += packed << place
    return words, spare


def _scaled(lut: Mapping[str, float], times: int) -> Parts:
    return Parts({name: value * times for name, value in lut.items()})


def _sum_bits(widths: Sequence[tuple[int, bool]], most: int | None = None) -> int:
    """Width of `elastic.tree_sum` of terms (width, signed)."""
    level = list(widths)
    while len(level) > 1:
        pairs = [_pair(a, b, most) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0][0]


def _pair(a: tuple[int, bool], b: tuple[int, bool], most: int | None) -> tuple[int, bool]:
    sign = a[1] or b[1]
    width = 1 + max(w + (1 if sign and not s else 0) for w, s in (a, b))
    return (width if most is None else min(width, most)), sign


@dataclass(frozen=True)
class Row:
    """The arithmetic of one row's lanes: its kind, features, width of the sum and multipliers.

    once: features that all rows share.
    reused: bits of lanes whose LUTs have no room for the mux between new and buffered inputs.
    """

    kind: str
    lut: Mapping[str, float]
    width: int
    dsp: int = 0
    once: Mapping[str, float] = field(default_factory=dict[str, float])
    reused: int = 0

    def times(self, rows: int) -> Parts:
        """So many rows beside one another."""
        many = {name: value * rows for name, value in self.lut.items()}
        return Parts(many, dsp=self.dsp * rows) + Parts(self.once)


def row(x: Grid, w: Grid, simd: int, acc: int) -> Row:
    """What one row of `simd` lanes takes; the datapaths are those of `dot.lanes`."""
    if w.bipolar and x.bipolar:
        width = _sum_bits([(1, False)] * simd)
        return Row("xnor", {"lanes": simd, **_popcount(simd, width)}, width)
    if w.bipolar and (x.lo, x.hi) == (-1, 1):
        width = _sum_bits([(1, False)] * simd)
        # Valid inputs are counted once; each row subtracts that from its own count.
        count = _popcount(simd, width)
        return Row("masked", {"lanes": simd, "both": width + 2, **count}, width + 2, once=count)
    if w.bipolar or (w.lo, w.hi) == (-1, 1):
        wide = x.bits + (0 if x.signed else 1)
        width = _sum_bits([(wide, True)] * simd, acc)
        lut = {"lanes": simd * wide, **sum_of((simd,) * width)}
        kind = "signs" if w.bipolar else "ternary"
        return Row(kind, lut, width, reused=simd * x.bits)
    product = _product_bits(x, w)
    width = _sum_bits([(product, x.signed or x.bipolar or w.signed)] * simd, acc)
    return Row("multiply", sum_of((simd,) * width), width, simd * multipliers(x, w))


def _popcount(count: int, width: int) -> Mapping[str, float]:
    return sum_of((count, *[0] * (width - 1)))


def _product_bits(x: Grid, w: Grid) -> int:
    return (2 if x.bipolar else x.bits) + w.bits


def multipliers(x: Grid, w: Grid) -> int:
    """MULT18X18Ds of one product; wider operands are cut in parts of 17 bits (`mul2dsp`).

    Two operands that are never negative are cut in parts of 18.
    """
    most = 17 if _has_sign(x) or _has_sign(w) else 18

    def parts(grid: Grid) -> int:
        # What is left over in 2 bits or less is multiplied in LUTs.
        bits = grid.bits if most == 18 else _signed_width(grid)
        return max(1, ceil((bits - 2) / most))

    return parts(x) * parts(w)


def _has_sign(grid: Grid) -> bool:
    return grid.signed or grid.bipolar


def _signed_width(grid: Grid) -> int:
    return 2 if grid.bipolar else grid.bits + (0 if grid.signed else 1)


# --- units --------------------------------------------------------------------------------------


def _acc_bits(grid: Grid) -> int:
    return grid.bits + (0 if grid.signed else 1)


@features.register
def _(op: Dot, place: Place) -> Features:
    fold, grid, x = place.fold, place.output.grid, place.inputs[0].grid
    rows, columns = folded(op, fold)
    acc = _acc_bits(grid)
    one = row(x, op.grid, fold.simd, acc)
    beat = x.bits * fold.simd
    buffer = ram(beat, columns, one_address=True) + gates(1, input=beat) if rows > 1 else Parts()
    parts = together(
        gates(7 + beat, constant=1),
        counting(columns, rows, rows * columns),
        rom(as_bits(weight_rows(op, fold), op.grid)),
        buffer,
        one.times(fold.pe),
        gates(reused=fold.pe * one.reused if rows > 1 else 0),
        _starts(op, place, columns * fold.simd),
        Parts({"accumulate": fold.pe * acc}, ff=fold.pe * (one.width + acc + grid.bits)),
    )
    # Without folding the weights are constants, into which Yosys looks deeply: a kind of its own.
    unrolled = ".unrolled" if rows * columns == 1 else ""
    return Features(f"Dot.{one.kind}{unrolled}", parts)


def _starts(op: Dot | DepthwiseDot, place: Place, most: int) -> Parts:
    """The memory of what accumulators start from, and the register behind it."""
    values = start_values(op.weights, place.inputs[0].grid, op.grid)
    if (values == values[0]).all():
        return Parts()
    bits = as_bits(values.reshape(-1, place.fold.pe), Grid(0, most))
    return rom(bits) + gates(_distinct(bits))


@features.register
def _(op: DepthwiseDot, place: Place) -> Features:
    pe, grid, x = place.fold.pe, place.output.grid, place.inputs[0].grid
    channels, taps = op.weights.shape
    groups, acc = channels // pe, _acc_bits(grid)
    one = row(x, op.grid, 1, acc)
    beat = x.bits * pe
    parts = together(
        gates(7 + beat, constant=1),
        counting(groups, taps, groups * taps),
        rom(as_bits(op.weights.T.reshape(taps * groups, pe), op.grid)),
        one.times(pe),
        _starts(op, place, taps),
        Parts({"accumulate": pe * acc}, ff=pe * (one.width + acc * groups + grid.bits)),
    )
    return Features("DepthwiseDot", parts)


@features.register
def _(op: Window, place: Place) -> Features:
    return features(Buffered(op), place)


@features.register
def _(op: Buffered, place: Place) -> Features:
    walk, depth = walk_of(op, place)
    window, (height, width, _) = op.op, place.inputs[0].shape
    beat = ports(op, place).inputs[0].width
    address = count_bits(depth)
    ahead, held = _window_counters(walk, depth)
    padding = _padding_bits(window, height, width)
    padded = padded_somewhere(window, place)
    runs = sum(int(np.diff(walk.released, axis=axis).any(1 - axis).sum()) for axis in (0, 1))
    parts = together(
        gates(1 + (1 if padded else 0), constant=1),
        counting(*_live_counters(walk, padded)),
        ram(beat, depth),
        gates(2 * address, address=address),
        gates(ahead + held, balance=ahead + held),
        gates(2 * padding, padding=padding),
        gates(output=ports(op, place).outputs[0].width if padded else 0, runs=runs),
    )
    # A single tap goes through the ring by constant steps: much falls away.
    point = "Window.repeat" if window.repeats else "Window.point"
    return Features(point if window.kernel == (1, 1) else "Window", parts)


def _live_counters(walk: Walk, padded: bool) -> list[int]:
    """Sizes of the read counters, less the outer ones that decide nothing, which Yosys drops."""
    changes = {"oy": np.diff(walk.released, axis=0).any(), "ox": np.diff(walk.released).any()}
    sizes, strides = dict(walk.levels), walk.strides
    for number, (name, size) in reversed(list(enumerate(walk.levels.items()))):
        if size > 1 and (padded or changes.get(name, True) or strides[number] != strides[-1]):
            break
        del sizes[name]
    return list(sizes.values())


def _window_counters(walk: Walk, depth: int) -> tuple[int, int]:
    """Bits of the counts of words ahead of the reader and of words held, as `window` has them."""
    reads = np.concatenate([walk.reads, walk.reads + walk.words])
    valid = np.concatenate([walk.valid, walk.valid])
    written = np.maximum.accumulate(np.where(valid, reads + 1, 0))
    before = np.concatenate([[0], written[:-1]])
    low = np.concatenate([walk.low[:-1], walk.low[:-1] + walk.words])
    low = low[np.arange(len(reads)) // walk.steps_per_position]
    ahead = _signed_bits(int((before - reads).min()), int((low + depth - reads).max()))
    held = _signed_bits(min(int((before - low).min()), -1), depth)
    return ahead + 1, held + 1


def _signed_bits(lo: int, hi: int) -> int:
    return 1 + max((~lo).bit_length(), hi.bit_length())


def _padding_bits(window: Window, height: int, width: int) -> int:
    """Bits of a row and a column number, where padding is looked for."""
    return sum(
        _signed_bits(int(at.min()), int(at.max()))
        for size, at in ((height, window.rows(height)), (width, window.columns(width)))
        if at.min() < 0 or at.max() >= size
    )


@features.register
def _(op: Thresholds, place: Place) -> Features:
    pe, x, y = place.fold.pe, place.inputs[0].grid, place.output.grid
    channels, count = op.thresholds.shape
    wide = Grid(x.lo, x.hi + 1)
    limits = np.clip(op.thresholds, wide.lo, wide.hi)
    constants = [_channel_bits(values, pe) for values in (op.offset, op.step)]
    varies = count > 1 and len(np.unique(op.step)) > 1
    compared, read = pe * count * wide.bits, pe * x.bits
    if channels == pe:
        # Constants: the bits below the lowest 1 of a limit decide nothing.
        below = np.array([[_trailing_zeros(limit, x.bits) for limit in row] for row in limits])
        compared, read = compared - int(below.sum()), read - int(below.min(1).sum())
    parts = together(
        gates(2 + read + pe * y.bits, constant=1),
        counting(channels // pe),
        rom(as_bits(by_beat(limits, pe), wide)),
        rom(np.concatenate(constants, axis=1)),
        gates(compare=compared, apply=pe * y.bits if varies else 0),
        _scaled(sum_of((count, *[0] * (count.bit_length() - 1))), pe),
        Parts(dsp=pe if varies and channels > pe else 0),
    )
    return Features("Thresholds", parts)


def _trailing_zeros(value: int, most: int) -> int:
    low = int(value) & -int(value)
    return min(most, low.bit_length() - 1) if low else most


def _channel_bits(values: Ints, pe: int) -> np.ndarray:
    return as_bits(by_beat(values, pe), Grid(int(values.min()), int(values.max())))


@features.register
def _(op: Requantise, place: Place) -> Features:
    pe, x, y = place.fold.pe, place.inputs[0].grid, place.output.grid
    bias = np.array(op.rounded_bias())
    factor, addend = _channel_bits(op.multiplier, pe), _channel_bits(bias, pe)
    m_grid = Grid(int(op.multiplier.min()), int(op.multiplier.max()))
    product = _product_bits(x, m_grid)
    parts_of = ceil(max(_signed_width(x) - 1, 17) / 17)
    total = max(product, addend.shape[1] // pe) + 1
    parts = together(
        gates(4 + pe * (x.bits + product + y.bits) + _distinct(addend), constant=1),
        counting(len(op.multiplier) // pe),
        rom(np.concatenate([factor, addend], axis=1)),
        gates(total=pe * total, clamp=pe * (total - op.shift), output=pe * y.bits),
        # Partial products of an operand beyond 18 bits are added.
        Parts({"partial": pe * (parts_of - 1) * product}, dsp=pe * multipliers(x, m_grid)),
    )
    return Features("Requantise", parts)


@features.register
def _(op: Scale, place: Place) -> Features:
    pe, x, plan = place.fold.pe, place.inputs[0].grid, plan_of(op, place)
    outputs = _scaled_bits(op, place, plan)
    parts = together(
        gates(plan.stages + sum(outputs), constant=1),
        # A carry chain takes cells of two bits.
        gates(sum=sum(bits + bits % 2 for bits in outputs) if plan.adds else 0),
        gates(pe * x.bits if plan.stages > 1 else 0),
        counting(len(plan.factor.rows) if plan.stored else 1),
        rom(np.concatenate([as_bits(field.rows, field.grid) for field in plan.stored], axis=1))
        if plan.stored
        else Parts(),
    )
    if plan.sizes:
        return Features("Scale.shifts", parts + _shifting(x, plan))
    return Features("Scale.multiply", parts + _multiplying(x, plan, place.output.grid))


def _scaled_bits(op: Scale, place: Place, plan: Plan) -> list[int]:
    """Bits of each lane's result; those that constants alone decide are left out."""
    y, pe = place.output, place.fold.pe
    if not (plan.factor.fixed and plan.addend.fixed):
        low = min((n.bit_length() - 1 for n in plan.sizes if n), default=0)
        return [y.grid.bits - (low if plan.addend.fixed else 0)] * pe
    grids = [Grid(int(y.lo[k::pe].min()), int(y.hi[k::pe].max())) for k in range(pe)]
    zeros = [_trailing_zeros(m, y.grid.bits) for m in op.multiplier[:pe].tolist()]
    return [max(0, grid.bits - low) for grid, low in zip(grids, zeros, strict=True)]


def _shifting(x: Grid, plan: Plan) -> Parts:
    """Inverters of lanes whose sign comes from memory, and muxes between shifts."""
    bits, lanes = _signed_width(x), plan.factor.rows.shape[1]
    choices = 0 if plan.factor.fixed else len(plan.sizes) - 1
    wide = bits + plan.sizes[-1].bit_length() - 1
    # A sign fits the LUT that chooses between two shifts.
    flipped = 0 if plan.negative.fixed or choices == 1 else lanes * bits
    return gates(flip=flipped, choice=choices * wide * lanes)


def _multiplying(x: Grid, plan: Plan, y: Grid) -> Parts:
    """The lanes' products, and what holds them and the memory's addends before they are added."""
    products = together(*(_product_with(x, values, y) for values in plan.factor.rows.T))
    if not plan.adds:
        return Parts(products.lut, dsp=products.dsp)
    if plan.addend.fixed:
        return products
    return products + Parts(ff=_distinct(as_bits(plan.addend.rows, plan.addend.grid)))


def _product_with(x: Grid, factors: Ints, y: Grid) -> Parts:
    """One lane's product: multipliers, the sum of partial products, a register behind."""
    m = Grid(int(factors.min()), int(factors.max()))
    bits = min(_product_bits(x, m), y.bits)
    if m.lo == m.hi:
        size = abs(m.lo)
        if size & (size - 1) == 0:
            return Parts(ff=bits if size else 0)
        bits -= _trailing_zeros(size, bits)
    sign = _has_sign(x) or _has_sign(m)
    wide = max(_signed_width(grid) if sign else grid.bits for grid in (x, m))
    return Parts({"partial": bits if wide > 18 else 0}, ff=bits, dsp=multipliers(x, m))


@features.register
def _(op: Table, place: Place) -> Features:
    contents, grid = contents_of(op, place), place.output.grid
    lanes = [as_bits(values[:, None], grid) for values in contents.words]
    memories = [_lookup(bits) for bits in lanes]
    # What steers muxes between blocks is the same in all lanes where it is the group's number.
    steering = memories[0].ff if memories[0].bram else 0
    again = steering * (len(lanes) - 1) if steering <= count_bits(contents.groups) else 0
    # Bits that are 1 in every entry start at 0, as one register.
    ones = any(bool(bits.all(0).any()) for bits in lanes)
    kept = sum(_distinct(bits) for bits in lanes)
    parts = together(
        gates(2 + ones + kept - again, constant=1), counting(contents.groups), *memories
    )
    return Features("Table", parts)


def _lookup(bits: np.ndarray) -> Parts:
    """A lane's memory; in logic each column is a function of the input's bits.

    Up to seven bits, eight LUT4s are joined by the muxes beside them.
    """
    memory = rom(bits)
    if memory.bram:
        return memory
    whole = np.pad(bits, ((0, -len(bits) % 16), (0, 0)), mode="edge")
    blocks = whole.reshape(-1, 16, bits.shape[1]).swapaxes(1, 2)
    functions = np.unique(blocks.reshape(-1, 16), axis=0)
    entries, kept = int(functions.any(1).sum() - functions.all(1).sum()), _distinct(bits)
    return gates(kept, entries=entries, joins=kept * max(0, len(blocks) - 8))


@features.register
def _(op: MaxPool, place: Place) -> Features:
    pe, bits = place.fold.pe, place.output.grid.bits
    # One bit is an or; up to 4 bits are compared in LUTs, more in a carry chain.
    size = {"single": pe} if bits == 1 else {"narrow" if bits <= 4 else "wide": pe * bits}
    lanes = pe if bits > 1 else 0
    return Features("MaxPool", _pooling(op, place) + gates(constant=1, lanes=lanes, **size))


@features.register
def _(op: SumPool, place: Place) -> Features:
    pe, bits = place.fold.pe, place.output.grid.bits
    parts = gates(constant=1, lanes=pe, sum=pe * bits)
    return Features("SumPool", _pooling(op, place) + parts)


def _pooling(op: MaxPool | SumPool, place: Place) -> Parts:
    groups = place.output.channels // place.fold.pe
    running = place.fold.pe * place.output.grid.bits
    return gates(1 + running * (groups + 1)) + counting(groups, op.size)


@features.register
def _(op: Add, place: Place) -> Features:
    bits = place.fold.pe * place.output.grid.bits
    return Features("Add", gates(1 + bits, constant=1, sum=bits))


@features.register
def _(op: Concatenate, place: Place) -> Features:
    bits = place.fold.pe * place.output.grid.bits
    others = len(place.inputs) - 1
    choice = {"two" if others == 1 else "more": bits * others}
    parts = gates(1 + bits, constant=1, **choice) + counting(len(turns(place)))
    return Features("Concatenate", parts)


@features.register
def _(op: Select, place: Place) -> Features:
    beats = emitting(op, place)[:, None]
    tables = _tables(beats)
    parts = together(
        gates(1 + ports(op, place).outputs[0].width, constant=1),
        counting(len(beats)),
        Parts({"table": tables, "select": max(0, tables - 2)}),
    )
    return Features("Select", parts)


@features.register
def _(op: TopK, place: Place) -> Features:
    edge, simd = place.inputs[0], place.fold.simd
    value, index = edge.grid.bits, place.output.grid.bits
    beats = edge.channels // simd
    kept = op.k * (1 + value + index) if beats > 1 else 0
    entry = 1 + value + index
    power = simd & (simd - 1) == 0
    # Value k of a beat is compared with every place that can be filled by then.
    filled = [op.k if beats > 1 else min(k, op.k) for k in range(simd)]
    best = sum(places > 0 for places in filled[1:])
    parts = together(
        gates(1 + kept + op.k * index, constant=1),
        counting(beats),
        gates(first=filled[0] * entry, chain=best * entry),
        gates(places=(sum(filled[1:]) - best) * entry),
        # The index, beat * simd + lane, takes a multiplier where simd is no power of two.
        Parts(dsp=1 if not power and count_bits(beats) > 1 else 0),
    )
    return Features("TopK", parts)


# --- links --------------------------------------------------------------------------------------


def _link_bits(place: Place, lanes: int) -> int:
    return place.inputs[0].grid.bits * lanes


@features.register
def _(op: Fifo, place: Place) -> Features:
    width = _link_bits(place, place.fold.pe)
    depth = op.depth - 1 if op.deep else op.depth
    level = op.depth.bit_length()
    parts = together(
        gates(level + (1 if op.deep else 0), constant=1, level=level),
        counting(depth, depth),
        ram(width, depth, clocked=op.deep),
    )
    return Features("Fifo.deep" if op.deep else "Fifo.shallow", parts)


@features.register
def _(op: Fork, place: Place) -> Features:
    width = _link_bits(place, place.fold.pe)
    return Features("Fork", gates(width + op.branches, **{f"branches{op.branches}": 1}))


@features.register
def _(op: Widen, place: Place) -> Features:
    wide = _link_bits(place, place.fold.pe)
    narrow = _link_bits(place, place.fold.simd)
    parts = gates(1 + 2 * wide - narrow, constant=1)
    return Features("Widen", parts + counting(place.fold.pe // place.fold.simd))


@features.register
def _(op: Narrow, place: Place) -> Features:
    wide = _link_bits(place, place.fold.simd)
    times = place.fold.simd // place.fold.pe
    parts = gates(1 + wide, constant=1, word=wide)
    return Features("Narrow", parts + counting(times))
