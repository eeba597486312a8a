"""Features of `Requantise`: what constants that do not vary save is counted lane by lane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..models.fixed import Grid, Ints
from ..models.ops import Requantise
from .cost_families import Family, cuts, has_sign, multipliers
from .cost_memory import as_bits, registered, rom
from .cost_parts import Features, Parts, counting, features, gates, together, trailing_zeros
from .cost_product import staged
from .cost_sums import product_bits, soft_product
from .requantise import Plan, plan_of
from .unit import Place

WORD = 64
"""No constant has more bits."""


@features.register
def _(op: Requantise, place: Place, family: Family) -> Features:
    plan = plan_of(op, place)
    lanes = [_Lane(op, place, family, plan, k) for k in range(place.fold.pe)]
    factors = [] if plan.factor.fixed else [lane.factor_bits for lane in lanes]
    addends = [] if plan.addend.fixed else [lane.addend_bits for lane in lanes]
    stored = [*factors, *addends]
    inside = any(lane.inside for lane in lanes)
    parts = together(
        gates(plan.stages, constant=1),
        counting(len(plan.factor.rows) if stored else 1),
        rom(np.concatenate(stored, axis=1), family) if stored else Parts(),
        gates(_carried(factors) * (plan.products.first - 1)),
        gates(_carried(addends) * (plan.add - 1) * (plan.products.cut or not inside)),
        # Low bits of sums that are those of what is added.
        gates(_carried([lane.passed_on for lane in lanes]) * (plan.round - plan.add)),
        *(lane.parts() for lane in lanes),
    )
    wires = all(lane.wires for lane in lanes)
    return Features("Requantise.shifts" if wires else "Requantise.multiply", parts)


def _carried(fields: list[np.ndarray]) -> int:
    """Registers that take on what was read of a memory, for a stage."""
    return registered(np.concatenate(fields, axis=1)) if fields else 0


@dataclass(frozen=True, eq=False)
class _Lane:
    """The arithmetic of one lane."""

    op: Requantise
    place: Place
    family: Family
    plan: Plan
    index: int

    def parts(self) -> Parts:
        """The registers and gates of this lane alone: not those of the memory."""
        product = max(0, self.product - max(self.unread, self.zeros))
        high, low = self.clamps
        lut = {
            "sum": max(0, self.sums.bits - self.passed) * (not self.inside) if self.product else 0,
            "even": self.even,
            "high": high,
            "low": low,
            "output": self.output if high or low else 0,
        }
        plan, behind = self.plan, self.behind + self.output
        if self.wires:
            return Parts(lut, ff=plan.add * product + behind)
        ff = plan.products.first * self.x.bits + product + behind
        if not plan.products.cut:
            return Parts(lut, ff=behind if self.inside else ff) + self.whole
        made = staged(plan.products, self.index, (self.unread, self.product), self.family)
        return Parts(lut, ff=ff - self.inside * self.x.bits) + made

    @property
    def whole(self) -> Parts:
        """The product in one stage."""
        dsp = multipliers(self.x, self.factor, self.family)
        if not dsp:
            return Parts(soft_product(self.x, self.factor))
        return Parts({"partial": self.partial}, dsp=dsp)

    @property
    def inside(self) -> bool:
        """Whether a multiplier takes the registers around it and adds, as those of Xilinx do."""
        packs = self.family.packs and not self.wires
        return packs and multipliers(self.x, self.factor, self.family) > 0

    # What is multiplied.

    @property
    def x(self) -> Grid:
        return self.place.inputs[0].grid

    @property
    def known(self) -> int | None:
        """The multiplier, where there is only one."""
        return int(self.plan.factor.rows[0, self.index]) if self.plan.factor.fixed else None

    @property
    def factor(self) -> Grid:
        """What holds the multipliers, or the absolute value of the only one."""
        return self.plan.factor.grid if self.known is None else Grid(*[abs(self.known)] * 2)

    @property
    def wires(self) -> bool:
        """Whether the product is the input's bits, or nothing."""
        size = abs(self.known) if self.known is not None else 3
        return size & (size - 1) == 0

    @property
    def zeros(self) -> int:
        """Low bits of the product that are always 0."""
        return 0 if self.known is None else trailing_zeros(self.known, WORD)

    @property
    def product(self) -> int:
        """Bits of the product."""
        if self.wires:
            return self.x.bits + self.zeros if self.known else 0
        return product_bits(self.x, self.factor)

    @property
    def partial(self) -> int:
        """Bits of partial products that are added: of an operand too wide for one multiplier."""
        return cuts(self.x, self.factor, self.family) * self.product

    @property
    def factor_bits(self) -> np.ndarray:
        return as_bits(self.plan.factor.rows[:, self.index, None], self.plan.factor.grid)

    # What is added.

    @property
    def addends(self) -> Ints:
        return self.plan.addend.rows[:, self.index]

    @property
    def subtracts(self) -> bool:
        return self.known is not None and self.known < 0

    @property
    def sums(self) -> Grid:
        """What a product and an addend of these widths can sum up to."""
        signed = has_sign(self.x) or has_sign(self.factor)
        low = -(1 << (self.product - 1)) if signed and self.product else 0
        high = low + (1 << self.product) - 1
        if self.subtracts:
            low, high = -high, -low
        if self.plan.addend.fixed:
            return Grid(low + int(self.addends[0]), high + int(self.addends[0]))
        grid = self.plan.addend.grid
        least = -(1 << (grid.bits - 1)) if grid.signed else 0
        return Grid(low + least, high + least + (1 << grid.bits) - 1)

    @property
    def passed(self) -> int:
        """Low bits of the sum that need no adder."""
        if self.subtracts and not self.plan.addend.fixed:
            return self.zeros
        # Nothing carries out of a sum with zeros, or of a difference from ones.
        added = int(np.bitwise_or.reduce(self.addends)) >> self.zeros
        return self.zeros + trailing_zeros(~added if self.subtracts else added, WORD)

    @property
    def unread(self) -> int:
        """Low bits of the product that decide nothing."""
        return 0 if self.even else min(self.op.shift, self.passed)

    @property
    def addend_bits(self) -> np.ndarray:
        """What is stored of what is added: what meets 0 only and is shifted out is left out."""
        bits = as_bits(self.addends[:, None], self.plan.addend.grid)
        return bits[:, 0 if self.even else min(self.zeros, self.op.shift) :]

    @property
    def passed_on(self) -> np.ndarray:
        """What is stored of what is added, where it meets 0."""
        return self.addend_bits[:, : 0 if self.plan.addend.fixed else self.zeros]

    # What becomes of the sum.

    @property
    def constant(self) -> bool:
        """Whether nothing comes from the memory."""
        return self.plan.factor.fixed and self.plan.addend.fixed

    @property
    def even(self) -> int:
        """Bits that tell whether a result lies in the middle between two numbers."""
        shift, zeros = self.op.shift, self.zeros if self.plan.addend.fixed else 0
        always = int(self.addends[0]) & ((1 << min(zeros, shift)) - 1)
        return max(0, shift - zeros) if self.op.even and not always else 0

    @property
    def wide(self) -> int:
        """Bits of the sum that are not shifted out."""
        return max(0, self.sums.bits - self.op.shift)

    @property
    def clamps(self) -> tuple[int, int]:
        """Bits compared with the ends of the range, where a shifted sum may lie beyond them.

        Low bits of an end that are 0 decide nothing; for 0 itself the sign decides.
        """
        op, wide, signed = self.op, self.wide, self.sums.signed
        size = 1 << max(0, wide - signed)
        high = wide - trailing_zeros(op.hi, wide) if op.hi < size - 1 else 0
        low = wide - trailing_zeros(op.lo, wide - 1) if signed and op.lo > -size else 0
        return high, low

    @property
    def behind(self) -> int:
        """Bits in registers between the stages behind the product's."""
        plan, (high, low) = self.plan, self.clamps
        zeros = self.zeros if plan.addend.fixed else 0
        total = self.sums.bits - self.zeros
        rounded = self.wide - max(0, zeros - self.op.shift)
        if not high and not low:
            rounded = min(rounded, self.output)
        ends = min(rounded, self.output) + (high > 0) + (low > 0)
        return (
            (plan.round - plan.add) * total
            + (plan.compare - plan.round) * rounded
            + (plan.select - plan.compare) * ends
        )

    @property
    def output(self) -> int:
        """Bits of the result that constants alone do not decide."""
        bits = self.place.output.grid.bits
        if not self.constant:
            return bits
        bits = min(bits, self.wide)
        return bits - min(bits, max(0, self.zeros - self.op.shift))
