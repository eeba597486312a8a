"""Features of the units that map channel by channel; of `Requantise` in `cost_requantise`."""

from __future__ import annotations

import numpy as np

from ..models.fixed import Grid
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
from .cost_product import staged
from .cost_sums import product_bits, soft_product
from .elementwise import Field
from .pack import number_shape
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
    reads = gates(pe * x.bits * plan.first)
    parts = together(
        gates(plan.stages, constant=1),
        counting(len(plan.factor.rows) if plan.stored else 1),
        _stored(plan, family),
        gates(_carried(plan, plan.factor, plan.negative) * max(0, plan.first - 1)),
    )
    if plan.sizes:
        held = (plan.add - plan.first) * (_chosen_bits(x, plan) + _carried(plan, plan.addend))
        early = max(0, plan.first - 1) * _carried(plan, plan.addend)
        made = shifting(x, plan) + gates(held + early)
        return Features("Scale.shifts", parts + sums + reads + made)
    made = _multiplying(x, plan, place.output.grid, family)
    if family.packs and made.dsp and plan.products and plan.products.cut:
        return Features(
            "Scale.multiply", parts + sums + gates(pe * x.bits * (plan.first - 1)) + made
        )
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


def _carried(plan: Plan, *fields: Field) -> int:
    """Registers that take on what was read of some fields, for a stage."""
    stored = [field for field in plan.stored if field in fields]
    bits = [as_bits(field.rows, field.grid) for field in stored]
    return registered(np.concatenate(bits, axis=1)) if bits else 0


def _chosen_bits(x: Grid, plan: Plan) -> int:
    """Bits of the terms of lanes that shift: where it is chosen, as wide as the widest."""
    lanes = plan.factor.rows.shape[1]
    bits = signed_width(x) if not plan.negative.fixed else number_shape(x).width
    if plan.factor.fixed:
        return lanes * bits
    low = next(size for size in plan.sizes if size) if any(plan.sizes) else 1
    return lanes * (bits + plan.sizes[-1].bit_length() - low.bit_length())


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
    lanes = range(plan.factor.rows.shape[1])
    products = together(*(_product_with(x, plan, k, y, family) for k in lanes))
    if not plan.adds:
        return products
    return products + Parts(ff=_carried(plan, plan.addend) * (plan.add - 1))


def _product_with(x: Grid, plan: Plan, k: int, y: Grid, family: Family) -> Parts:
    """One lane's product: multipliers, the sum of partial products, a register behind."""
    assert plan.products
    factors = plan.factor.rows[:, k]
    m = Grid(int(factors.min()), int(factors.max()))
    bits, size = min(product_bits(x, m), y.bits), abs(m.lo) if m.lo == m.hi else 3
    zeros = trailing_zeros(size, bits) if m.lo == m.hi else 0
    behind = bits - zeros if plan.adds and size else 0
    if plan.products.cut:
        return staged(plan.products, k, (0, y.bits), family) + Parts(ff=behind)
    if size & (size - 1) == 0:
        return Parts(ff=behind)
    dsp = multipliers(x, m, family)
    bits -= zeros
    lut = {"partial": bits * cuts(x, m, family)} if dsp else soft_product(x, m)
    return Parts(lut, ff=behind, dsp=dsp)


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
