"""Features of the matrix-vector units: rows of lanes, their sums, and the memory of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ..models.fixed import Grid, Ints
from ..models.ops import DepthwiseDot, Dot
from .cost_families import Family, multipliers
from .cost_memory import as_bits, distinct, large_rom, ram, rom
from .cost_parts import Features, Parts, counting, features, gates, together
from .cost_sums import product_bits, sum_bits, sum_of
from .dot import folded, start_values, weight_rows
from .unit import Fold, Place


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


def row(x: Grid, w: Grid, simd: int, acc: int, family: Family) -> Row:
    """What one row of `simd` lanes takes; the datapaths are those of `dot.lanes`."""
    if w.bipolar and x.bipolar:
        width = sum_bits([(1, False)] * simd)
        return Row("xnor", {"lanes": simd, **_popcount(simd, width)}, width)
    if w.bipolar and (x.lo, x.hi) == (-1, 1):
        width = sum_bits([(1, False)] * simd)
        # Valid inputs are counted once; each row subtracts that from its own count.
        count = _popcount(simd, width)
        return Row("masked", {"lanes": simd, "both": width + 2, **count}, width + 2, once=count)
    if w.bipolar or (w.lo, w.hi) == (-1, 1):
        wide = x.bits + (0 if x.signed else 1)
        width = sum_bits([(wide, True)] * simd, acc)
        lut = {"lanes": simd * wide, **sum_of((simd,) * width)}
        kind = "signs" if w.bipolar else "ternary"
        return Row(kind, lut, width, reused=simd * x.bits)
    product = product_bits(x, w)
    width = sum_bits([(product, x.signed or x.bipolar or w.signed)] * simd, acc)
    return Row("multiply", sum_of((simd,) * width), width, simd * multipliers(x, w, family))


def _popcount(count: int, width: int) -> Mapping[str, float]:
    return sum_of((count, *[0] * (width - 1)))


def _accumulator_bits(grid: Grid) -> int:
    return grid.bits + (0 if grid.signed else 1)


@features.register
def _(op: Dot, place: Place, family: Family) -> Features:
    fold, grid, x = place.fold, place.output.grid, place.inputs[0].grid
    rows, columns = folded(op, fold)
    acc = _accumulator_bits(grid)
    one = row(x, op.grid, fold.simd, acc, family)
    beat = x.bits * fold.simd
    buffer = ram(beat, columns, family, one_address=True) + gates(1, input=beat) if rows > 1 else Parts()
    parts = together(
        gates(7 + beat, constant=1),
        counting(columns, rows, rows * columns),
        _weights(op, fold, family),
        buffer,
        one.times(fold.pe),
        gates(reused=fold.pe * one.reused if rows > 1 else 0),
        _starts(op, place, columns * fold.simd, family),
        Parts({"accumulate": fold.pe * acc}, ff=fold.pe * (one.width + acc + grid.bits)),
    )
    # Without folding the weights are constants, into which Yosys looks deeply: a kind of its own.
    unrolled = ".unrolled" if rows * columns == 1 else ""
    return Features(f"Dot.{one.kind}{unrolled}", parts)


def _weights(op: Dot, fold: Fold, family: Family) -> Parts:
    """The memory of weights, whose bits are only made where they matter."""
    rows, columns = folded(op, fold)
    width = fold.pe * fold.simd * op.grid.bits
    return large_rom(
        rows * columns, width, lambda: as_bits(weight_rows(op, fold), op.grid), family
    )


@lru_cache(maxsize=64)
def _first(op: Dot | DepthwiseDot, inputs: Grid) -> Ints:
    """What accumulators start from: the same in every folding, of which many are tried."""
    return start_values(op.weights, inputs, op.grid)


def _starts(op: Dot | DepthwiseDot, place: Place, most: int, family: Family) -> Parts:
    """The memory of what accumulators start from, and the register behind it."""
    values = _first(op, place.inputs[0].grid)
    if (values == values[0]).all():
        return Parts()
    bits = as_bits(values.reshape(-1, place.fold.pe), Grid(0, most))
    return rom(bits, family) + gates(distinct(bits))


@features.register
def _(op: DepthwiseDot, place: Place, family: Family) -> Features:
    pe, grid, x = place.fold.pe, place.output.grid, place.inputs[0].grid
    channels, taps = op.weights.shape
    groups, acc = channels // pe, _accumulator_bits(grid)
    one = row(x, op.grid, 1, acc, family)
    beat = x.bits * pe
    parts = together(
        gates(7 + beat, constant=1),
        counting(groups, taps, groups * taps),
        rom(as_bits(op.weights.T.reshape(taps * groups, pe), op.grid), family),
        one.times(pe),
        _starts(op, place, taps, family),
        Parts({"accumulate": pe * acc}, ff=pe * (one.width + acc * groups + grid.bits)),
    )
    return Features("DepthwiseDot", parts)
