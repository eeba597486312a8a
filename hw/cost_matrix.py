"""Features of the matrix-vector units: rows of lanes, their sums, and the memory of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..models.fixed import Grid
from ..models.ops import DepthwiseDot, Dot
from .cost_parts import (
    Features,
    Parts,
    as_bits,
    counting,
    distinct,
    features,
    gates,
    ram,
    rom,
    together,
)
from .cost_sums import multipliers, product_bits, sum_bits, sum_of
from .depthwise_dot import plan as depthwise_plan
from .dot import Plan, folded, plan, weight_rows
from .unit import Place


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
    return Row("multiply", sum_of((simd,) * width), width, simd * multipliers(x, w))


def _popcount(count: int, width: int) -> Mapping[str, float]:
    return sum_of((count, *[0] * (width - 1)))


def _accumulator_bits(grid: Grid) -> int:
    return grid.bits + (0 if grid.signed else 1)


@features.register
def _(op: Dot, place: Place) -> Features:
    fold, grid, x = place.fold, place.output.grid, place.inputs[0].grid
    rows, columns = folded(op, fold)
    acc = _accumulator_bits(grid)
    one = row(x, op.grid, fold.simd, acc)
    beat = x.bits * fold.simd
    made = plan(op, place)
    buffer = ram(beat, columns, one_address=True) + gates(1, input=beat) if rows > 1 else Parts()
    parts = together(
        gates(2 * made.stages + beat, constant=1),
        counting(columns, rows, rows * columns),
        rom(as_bits(weight_rows(op, fold), op.grid)),
        buffer,
        one.times(fold.pe),
        gates(reused=fold.pe * one.reused if rows > 1 else 0),
        _starts(op, place, made),
        Parts(
            {"accumulate": fold.pe * acc}, ff=sum(made.held(fold.pe)) + fold.pe * (acc + grid.bits)
        ),
    )
    # Without folding the weights are constants, into which Yosys looks deeply: a kind of its own.
    unrolled = ".unrolled" if rows * columns == 1 else ""
    return Features(f"Dot.{one.kind}{unrolled}", parts)


def _starts(op: Dot | DepthwiseDot, place: Place, made: Plan) -> Parts:
    """The memory of what accumulators start from, its counter, and the register behind it."""
    values = made.lanes.starts(op.weights)
    if (values == values[0]).all():
        return Parts()
    values = values.reshape(-1, place.fold.pe)
    bits = as_bits(values, Grid(0, int(values.max())))
    held = gates(distinct(bits)) if made.stages > 2 else Parts()
    return rom(bits) + counting(len(values)) + held


@features.register
def _(op: DepthwiseDot, place: Place) -> Features:
    pe, grid, x = place.fold.pe, place.output.grid, place.inputs[0].grid
    channels, taps = op.weights.shape
    groups, acc = channels // pe, _accumulator_bits(grid)
    one = row(x, op.grid, 1, acc)
    beat = x.bits * pe
    made = depthwise_plan(op, place)
    parts = together(
        gates(3 * made.stages - 2 + beat, constant=1),
        counting(groups, taps, groups * taps),
        rom(as_bits(op.weights.T.reshape(taps * groups, pe), op.grid)),
        one.times(pe),
        _starts(op, place, made),
        Parts({"accumulate": pe * acc}, ff=pe * (sum(made.held) + acc * groups + grid.bits)),
    )
    return Features("DepthwiseDot", parts)
