"""Thresholds, `pe` channels a cycle: comparators side by side, or a search in memories.

Only how many thresholds are reached counts, so each channel's are sorted.  Comparators then give
ones up to the count and zeros beyond, and bit j of the count is the parity of every 2**j-th one.
The search compares once a stage, with the threshold in the middle of those that are left; what it
is comes from a memory of the level, addressed by the comparisons before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from ..models.fixed import Grid, Ints
from ..models.ops import Scale, Thresholds
from . import scale
from .elastic import counter, lane, number, numbers, pipeline, rom, rom_words, stored
from .elementwise import Field, by_beat, channel_foldings, constants, held, read_fields, same_lanes
from .timing import Timing, after, pipeline_timing
from .unit import Fold, Place, Ports, Unit, component, fill, foldings, ports, timing

MANY = 15
"""Beyond so many comparators their results are counted in a stage of their own."""
FEW = 3
"""Up to so many thresholds a search would save one comparator at most, for a stage more."""
LUT_BITS = 16
"""Bits of a constant memory in one LUT."""


@foldings.register
def _(op: Thresholds, place: Place) -> tuple[Fold, ...]:
    return channel_foldings(place)


@ports.register
def _(op: Thresholds, place: Place) -> Ports:
    return same_lanes(place)


@timing.register
def _(op: Thresholds, place: Place) -> Timing:
    beats = place.output.elements // place.fold.pe
    return pipeline_timing(plan_of(op, place).stages, beats, {"i": after(beats)})


@fill.register
def _(op: Thresholds, place: Place) -> int:
    return plan_of(op, place).stages


@dataclass(frozen=True, eq=False)
class Plan:
    """How a `Thresholds` is computed.

    limits: (C, T), rising in each channel, inside `grid`, whose greatest value is never reached.
    steps: comparisons of a search; 0 where all thresholds are compared at once.
    ends: where there is one threshold, the offset and what is added if it is reached.
    scaled: else how the count becomes the result.
    """

    limits: Ints
    grid: Grid
    steps: int
    ends: tuple[Field, Field]
    scaled: scale.Plan

    @property
    def count(self) -> int:
        """Thresholds per channel."""
        return self.limits.shape[1]

    @property
    def stages(self) -> int:
        """A stage to read the first limits, one per comparison, and one to count many."""
        return self.steps + 1 if self.steps else 2 + (self.count > MANY)

    @property
    def fields(self) -> tuple[Field, ...]:
        """What the last stage needs."""
        return self.ends if self.count == 1 else self.scaled.fields

    def level(self, level: int) -> Ints:
        """The thresholds (C, 2**level) that comparison `level` of a search may need.

        Column p is compared where the comparisons before gave the bits of p, the first the highest.
        """
        rest = self.steps - level
        padded = np.full((len(self.limits), (1 << self.steps) - 1), self.grid.hi)
        padded[:, : self.count] = self.limits
        return padded[:, (1 << rest - 1) - 1 :: 1 << rest]


def plan_of(op: Thresholds, place: Place) -> Plan:
    """The plan of an operator at its place: a search where it is smaller."""
    x = place.inputs[0].grid
    # A threshold of hi + 1 is never reached, one of lo or less always.
    grid = Grid(x.lo, x.hi + 1)
    limits = np.sort(np.clip(op.thresholds, grid.lo, grid.hi), axis=1)
    steps, (compared, searched) = limits.shape[1].bit_length(), luts(op, place)
    # A search holds the input in a register per step, and takes longer: it must save a quarter.
    if limits.shape[1] <= FEW or searched > 0.75 * compared:
        steps = 0
    lanes = place.fold.pe
    ends = Field(by_beat(op.offset, lanes)), Field(by_beat(op.step, lanes))
    return Plan(limits, grid, steps, ends, scale.plan_of(Scale(op.step, op.offset), place).at_once)


def luts(op: Thresholds, place: Place) -> tuple[float, float]:
    """About how many LUTs the count takes by comparators, and by a search.

    A comparator is a carry chain of the input's width; counting sorted thresholds is 2 T inputs of
    parities.  Comparators of one beat a frame have constant limits, every other limit is memory.
    """
    width, count, lanes = place.inputs[0].grid.bits, op.thresholds.shape[1], place.fold.pe
    steps, beats = count.bit_length(), len(op.thresholds) // lanes
    read = width * beats / LUT_BITS
    compared = count * width + 2 * count / 3 + (count * read if beats > 1 else 0)
    searched = steps * width + ((1 << steps) - 1) * read
    return lanes * compared, lanes * searched


class Thresholding(Unit):
    """The component of `Thresholds`."""

    op: Thresholds

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, grid = self.place.fold.pe, self.place.inputs[0].grid
        plan = plan_of(self.op, self.place)
        take = pipeline(m, plan.stages, self.i.valid, self.o)
        m.d.comb += self.i.ready.eq(take[0])
        beat, _ = counter(m, self.place.output.channels // lanes, take[0], "beat")
        x = held(m, self.i.payload, take[0], "x")
        if plan.steps:
            counts = self._search(m, plan, x, beat, take)
        else:
            counts = self._compare(m, plan, numbers(m, x, lanes, grid, "x"), beat, take)
        memory = read_fields(m, plan.fields, take[-2])
        result = _choice if plan.count == 1 else _scaled
        outputs = [stored(y, self.place.output.grid) for y in result(m, plan, memory, counts)]
        with m.If(take[-1]):
            m.d.sync += self.o.payload.eq(Cat(*outputs))
        return m

    def _compare(
        self, m: Module, plan: Plan, x: list[Value], beat: Value, take: list[Signal]
    ) -> list[Value]:
        """The count of each lane in the last stage, from all thresholds at once."""
        rows, grid = by_beat(plan.limits, len(x)), plan.grid
        words = rom_words(rows, grid)
        limits = rom(m, "limits", words, rows.shape[1] * grid.bits, beat, take[0])
        counts: list[Value] = []
        for k, value in enumerate(x):
            above: Value = Signal(plan.count, name=f"above{k}")
            for t in range(plan.count):
                limit = number(lane(limits, k * plan.count + t, grid), grid)
                m.d.comb += above[t].eq(value >= limit)
            if plan.stages == 3:
                above = held(m, above, take[1], f"reached{k}")
            total = Signal(range(plan.count + 1), name=f"count{k}")
            for bit in range(len(total)):
                m.d.comb += total[bit].eq(Cat(*above[(1 << bit) - 1 :: 1 << bit]).xor())
            counts.append(total)
        return counts

    def _search(
        self, m: Module, plan: Plan, x: Value, beat: Value, take: list[Signal]
    ) -> list[Value]:
        """The count of each lane in the last stage, a bit a stage, the highest first."""
        lanes, inputs = self.place.fold.pe, self.place.inputs[0].grid
        found: list[Value] = [C(0, 0)] * lanes
        for level in range(plan.steps):
            limits = plan.level(level).reshape(-1, lanes, 1 << level)
            values = [
                number(
                    rom(
                        m,
                        f"limits{level}_{k}",
                        rom_words(limits[:, k].reshape(-1, 1), plan.grid),
                        plan.grid.bits,
                        Cat(found[k], beat),
                        take[level],
                    ),
                    plan.grid,
                )
                for k in range(lanes)
            ]
            if level:
                found = [held(m, f, take[level], f"found{level}_{k}") for k, f in enumerate(found)]
                x = held(m, x, take[level], f"x_{level}")
            beat = held(m, beat, take[level], f"beat{level}")
            for k, value in enumerate(numbers(m, x, lanes, inputs, f"x_{level}_")):
                reached = Signal(name=f"reached{level}_{k}")
                m.d.comb += reached.eq(value >= values[k])
                found[k] = Cat(reached, found[k])
        return found


Memory = dict[Field, Value]


def _choice(m: Module, plan: Plan, memory: Memory, counts: list[Value]) -> list[Value]:
    """Either of two results in each lane."""
    offset, step = (constants(field, memory) for field in plan.ends)
    return [Mux(count[0], o + s, o) for count, o, s in zip(counts, offset, step, strict=True)]


def _scaled(m: Module, plan: Plan, memory: Memory, counts: list[Value]) -> list[Value]:
    """Offset + step * count in each lane, without a multiplier where steps are powers of two."""
    return [scale.scaled(m, plan.scaled, memory, k, count, ()) for k, count in enumerate(counts)]


@component.register
def _(op: Thresholds, place: Place) -> Unit:
    return Thresholding(op, place)
