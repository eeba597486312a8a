"""Features of `Thresholds`: comparators or a search, and what makes the result of a count."""

from __future__ import annotations

import numpy as np

from ..models.fixed import Grid
from ..models.ops import Thresholds
from .cost_channels import shifting
from .cost_families import Family
from .cost_memory import as_bits, rom
from .cost_parts import Features, Parts, counting, features, gates, together, trailing_zeros
from .cost_sums import soft_product
from .elementwise import by_beat
from .thresholds import Plan, plan_of
from .unit import Place


@features.register
def _(op: Thresholds, place: Place, family: Family) -> Features:
    plan, pe, y = plan_of(op, place), place.fold.pe, place.output.grid
    found = _search(plan, place, family) if plan.steps else _comparators(plan, place, family)
    parts = together(
        gates(plan.stages + pe * y.bits, constant=1, stages=plan.stages),
        counting(place.output.channels // pe),
        found,
        _result(plan, place, family),
    )
    return Features("Thresholds.search" if plan.steps else "Thresholds", parts)


def _comparators(plan: Plan, place: Place, family: Family) -> Parts:
    """All thresholds at once, and the parities that count those that are reached."""
    pe, x, count = place.fold.pe, place.inputs[0].grid, plan.count
    compared, read = pe * count * plan.grid.bits, pe * x.bits
    if len(plan.limits) == pe:
        # Constants: the bits below the lowest 1 of a limit decide nothing, and few fit a LUT.
        below = np.array([[trailing_zeros(v, x.bits) for v in row] for row in plan.limits.tolist()])
        read -= int(below.min(1).sum())
        bits = x.bits - below
        compared = int(np.where(bits <= family.inputs, bits > 0, bits).sum())
    reached = pe * count if plan.stages > 2 else 0
    parity = pe * 2 * count / (family.inputs - 1) if count > 1 else 0
    limits = rom(as_bits(by_beat(plan.limits, pe), plan.grid), family)
    return limits + gates(read + reached, compare=compared, parity=parity)


def _search(plan: Plan, place: Place, family: Family) -> Parts:
    """A comparison a stage, with a limit from the memory of its level."""
    pe, x = place.fold.pe, place.inputs[0].grid
    beats = (len(plan.limits) // pe - 1).bit_length()
    made = gates(
        plan.steps * pe * x.bits + pe * plan.steps * (plan.steps - 1) // 2
        + (plan.steps - 1) * beats,
        compare=plan.steps * pe * plan.grid.bits,
    )  # fmt: skip
    for level in range(plan.steps):
        limits = plan.level(level).reshape(-1, pe, 1 << level)
        lanes = (limits[:, k].reshape(-1, 1) for k in range(pe))
        made += together(*(rom(as_bits(words, plan.grid), family) for words in lanes))
    return made


def _result(plan: Plan, place: Place, family: Family) -> Parts:
    """The memory of offsets and steps, and their sums with the count."""
    pe, y = place.fold.pe, place.output.grid
    stored = [field for field in plan.fields if not field.fixed]
    made = Parts()
    if stored:
        bits = [as_bits(field.rows, field.grid) for field in stored]
        made = rom(np.concatenate(bits, axis=1), family)
        # Beside comparators in two stages, the counter of the limits serves.
        made += counting(len(stored[0].rows)) if plan.stages > 2 else Parts()
    if plan.count == 1:
        return made + gates(apply=pe * y.bits if stored else 0)
    scaled, count = plan.scaled, Grid(0, plan.count)
    if scaled.sizes:
        products = shifting(count, scaled)
    else:
        factors = scaled.factor.grid
        products = Parts(soft_product(count, factors)) * pe
    return made + products + gates(apply=pe * y.bits if scaled.adds else 0)
