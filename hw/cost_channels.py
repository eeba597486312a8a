"""Features of the units that map channel by channel; of `Requantise` in `cost_requantise`."""

from __future__ import annotations

import numpy as np

from ..models.fixed import Grid, Ints
from ..models.ops import Add, Scale, Table
from .cost_families import Family, cuts, multipliers, signed_width
from .cost_memory import as_bits, distinct, registered, rom
from .cost_parts import (
    Features,
    Parts,
    count_bits,
    counting,
    features,
    gates,
    together,
    trailing_zeros,
)
from .cost_sums import product_bits, soft_product
from .scale import Plan, plan_of
from .table import contents_of
from .unit import Place


@features.register
def _(op: Scale, place: Place, family: Family) -> Features:
    pe, x, plan = place.fold.pe, place.inputs[0].grid, plan_of(op, place)
    outputs = _scaled_bits(op, place, plan)
    # A carry chain may take cells of two bits.
    chains = sum(-(-bits // family.chain) * family.chain for bits in outputs)
    sums = gates(sum(outputs), sum=chains if plan.adds else 0)
    reads = gates(pe * x.bits if plan.stages > 1 else 0)
    parts = together(
        gates(plan.stages, constant=1),
        counting(len(plan.factor.rows) if plan.stored else 1),
        _stored(plan, family),
    )
    if plan.sizes:
        return Features("Scale.shifts", parts + sums + reads + shifting(x, plan))
    made = _multiplying(x, plan, place.output.grid, family)
    if family.packs and made.dsp:
        # Multipliers take the registers around them, and add.
        ends = gates(sum(outputs)) if plan.adds else Parts()
        return Features("Scale.multiply", parts + ends + Parts(made.lut, dsp=made.dsp))
    return Features("Scale.multiply", parts + sums + reads + made)


def _stored(plan: Plan, family: Family) -> Parts:
    """The memory of what differs by channel."""
    if not plan.stored:
        return Parts()
    fields = [as_bits(field.rows, field.grid) for field in plan.stored]
    return rom(np.concatenate(fields, axis=1), family)


def _scaled_bits(op: Scale, place: Place, plan: Plan) -> list[int]:
    """Bits of each lane's result; those that constants alone decide are left out."""
    y, pe = place.output, place.fold.pe
    if not (plan.factor.fixed and plan.addend.fixed):
        low = min((n.bit_length() - 1 for n in plan.sizes if n), default=0)
        return [y.grid.bits - (low if plan.addend.fixed else 0)] * pe
    grids = [Grid(int(y.lo[k::pe].min()), int(y.hi[k::pe].max())) for k in range(pe)]
    zeros = [trailing_zeros(m, y.grid.bits) for m in op.multiplier[:pe].tolist()]
    return [max(0, grid.bits - low) for grid, low in zip(grids, zeros, strict=True)]


def shifting(x: Grid, plan: Plan) -> Parts:
    """Inverters of lanes whose sign comes from memory, and muxes between shifts."""
    bits, lanes = signed_width(x), plan.factor.rows.shape[1]
    choices = 0 if plan.factor.fixed else len(plan.sizes) - 1
    wide = bits + plan.sizes[-1].bit_length() - 1
    # A sign fits the LUT that chooses between two shifts.
    flipped = 0 if plan.negative.fixed or choices == 1 else lanes * bits
    return gates(flip=flipped, choice=choices * wide * lanes)


def _multiplying(x: Grid, plan: Plan, y: Grid, family: Family) -> Parts:
    """The lanes' products, and what holds them and the memory's addends before they are added."""
    products = together(*(_product_with(x, values, y, family) for values in plan.factor.rows.T))
    if not plan.adds:
        return Parts(products.lut, dsp=products.dsp)
    if plan.addend.fixed:
        return products
    return products + Parts(ff=registered(as_bits(plan.addend.rows, plan.addend.grid)))


def _product_with(x: Grid, factors: Ints, y: Grid, family: Family) -> Parts:
    """One lane's product: multipliers, the sum of partial products, a register behind."""
    m = Grid(int(factors.min()), int(factors.max()))
    bits = min(product_bits(x, m), y.bits)
    if m.lo == m.hi:
        size = abs(m.lo)
        if size & (size - 1) == 0:
            return Parts(ff=bits if size else 0)
        bits -= trailing_zeros(size, bits)
    dsp = multipliers(x, m, family)
    lut = {"partial": bits * cuts(x, m, family)} if dsp else soft_product(x, m)
    return Parts(lut, ff=bits, dsp=dsp)


@features.register
def _(op: Table, place: Place, family: Family) -> Features:
    contents, grid = contents_of(op, place), place.output.grid
    lanes = [as_bits(values[:, None], grid) for values in contents.words]
    memories = [rom(bits, family) for bits in lanes]
    # What steers muxes between blocks is the same in all lanes where it is the group's number.
    steering = memories[0].ff if memories[0].bram else 0
    again = steering * (len(lanes) - 1) if steering <= count_bits(contents.groups) else 0
    # Bits that are 1 in every entry start at 0, as one register.
    ones = any(bool(bits.all(0).any()) for bits in lanes)
    kept = sum(distinct(bits) for bits in lanes)
    parts = together(
        gates(2 + ones + kept - again, constant=1), counting(contents.groups), *memories
    )
    return Features("Table", parts)


@features.register
def _(op: Add, place: Place, family: Family) -> Features:
    bits = place.fold.pe * place.output.grid.bits
    return Features("Add", gates(1 + bits, constant=1, sum=bits))
