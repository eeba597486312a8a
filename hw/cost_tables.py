"""Features of the units that choose entries of tables, and of decision trees."""

from __future__ import annotations

from typing import Any

from ..models.ops import Lookup, TableSum, Tree
from . import lookup, table_sum, tree
from .cost_families import Family
from .cost_matrix import around, sums
from .cost_memory import as_bits, large_rom, rom
from .cost_parts import Features, Parts, counting, features, gates, together
from .cost_sums import sum_of
from .matrix import Plan
from .unit import Place


@features.register
def _(op: Lookup, place: Place, family: Family) -> Features:
    made, steps = lookup.plan(op, place), lookup.passes(op, place)
    choosers, words = made.lanes, steps.rows * steps.columns
    chosen = choosers.rows * choosers.tables
    indices = large_rom(
        words,
        chosen * choosers.stored.bits,
        lambda: as_bits(lookup.index_rows(op, place), choosers.stored),
        family,
    )
    parts = together(
        around(place, steps, made.stages, words, family),
        indices,
        gates(choose=chosen * (op.words - 1) * place.inputs[0].grid.bits),
        _adding_up(made, choosers.rows, choosers.width),
    )
    return Features("Lookup", parts)


@features.register
def _(op: TableSum, place: Place, family: Family) -> Features:
    made, steps = table_sum.plan(op, place), table_sum.passes(op, place)
    fold, bits = place.fold, place.inputs[0].grid.bits
    words = steps.rows * steps.columns
    memories = [
        large_rom(
            words << bits, fold.pe * op.grid.bits, lambda own=own: as_bits(own, op.grid), family
        )
        for own in table_sum.contents(op, place)
    ]
    parts = together(
        around(place, steps, made.stages, words, family),
        # An input that comes from a slow buffer is held once more.
        gates((made.first - 2) * fold.simd * bits),
        *memories,
        _adding_up(made, fold.pe, made.lanes.width),
    )
    return Features("TableSum", parts)


def _adding_up(made: Plan[Any], rows: int, width: int) -> Parts:
    """Sums of each row, the registers between their stages, and accumulators."""
    added = (Parts(sum_of(columns)) * (times * rows) for times, columns, _ in sums(made, 0))
    return together(gates(sum(made.held) + rows * width, accumulate=rows * width), *added)


@features.register
def _(op: Tree, place: Place, family: Family) -> Features:
    pe, bits, grid = place.fold.pe, place.inputs[0].grid.bits, tree.limit_grid(place)
    trees, levels = op.order.shape
    field = tree.orders(op, place)
    groups = trees // pe
    beat = (groups - 1).bit_length()
    if field.fixed:
        rows = op.order[:pe].tolist()
        inputs = sum(len(set(row[level:])) for row in rows for level in range(levels))
        order = Parts()
    else:
        inputs = pe * (op.inputs_of(place.inputs[0]) + levels * (levels - 1) // 2)
        muxes = pe * levels * field.grid.hi * bits
        order = together(
            rom(as_bits(field.rows, field.grid), family), counting(groups), gates(choose=muxes)
        )
    found = pe * levels * (levels - 1) // 2
    memories = [
        rom(as_bits(words[:, None], grid), family)
        for level in range(levels)
        for words in tree.limits(op, place, level)
    ]
    parts = together(
        gates(levels + 1, constant=1, stages=levels + 1),
        counting(groups),
        gates(inputs * bits + found + (levels - 1) * beat, compare=levels * pe * grid.bits),
        gates(pe * place.output.grid.bits),
        order,
        *memories,
    )
    return Features("Tree", parts)
