"""Buffer depths with which a design keeps its full throughput: enough, and the least.

*Enough* (`buffered`): the design is scheduled once with unbounded buffers and an input that offers
a frame per interval, evenly spread.  What each buffer then holds at most is enough: those very
times satisfy every wait of the design with buffers of that depth, and elastic hardware, which takes
each step as early as it can, is never later than a schedule that satisfies its waits.

*The least* (`least`): depths of which none can be one entry less.  Whether depths keep the interval
is decided by `steady.py`, by a schedule that repeats for ever or by a circle of waits that takes
longer.  More room never harms, so that each buffer is searched by halves; only where a FIFO would
change its form (`fifo.py`: a deep one takes a cycle more) both forms are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from time import perf_counter

import numpy as np

from ..models.fixed import Ints
from .compose import Composer, Instance
from .deadlock import least as least_number
from .design import Design, with_depths
from .fifo import SHALLOW, Fifo
from .steady import Settled, Steady
from .walk import walk_of

Depths = dict[str, int]
Tell = Callable[[str], None]
_UNBOUNDED = SHALLOW + 1
"""A depth of the deep form, for buffers whose room is unbounded while they are scheduled."""
_TOLD = 1.0
"""Seconds between reports of progress."""


@dataclass(frozen=True, eq=False)
class Sizing:
    """The least depths, their bits, and what is known of them.

    interval: cycles per frame, kept for ever.  bits: of all entries.  bound: bits that no depths
    for this interval fall below: each buffer's own least while all others are unbounded, added
    up.  enough: bits of `buffered`.  less: for each buffer that could be built with an entry less,
    the cycles per frame of a circle of waits which that would close, infinite for a deadlock.
    """

    depths: Mapping[str, int]
    interval: int
    bits: int
    bound: int
    enough: int
    less: Mapping[str, Fraction | float]
    seconds: float


def buffered(design: Design) -> Design:
    """Return `design` with buffers deep enough for its steady interval."""
    return with_depths(design, _enough(_Search(design)))


def least(design: Design, tell: Tell = lambda _: None) -> Sizing:
    """Return least depths that keep the steady interval; see `Sizing` and `prove`."""
    start = perf_counter()
    search = _Search(design)
    enough = _enough(search)
    own = search.own(enough, tell)
    depths = search.sweep(enough, own, tell)
    less, smaller = search.proof(depths), dict[str, int]()
    while smaller := {n: depths[n] for n, ratio in less.items() if ratio <= search.interval}:
        # A FIFO that came out of its deep form made room for others.
        depths = search.sweep(
            depths, {name: own[name] for name in smaller} | _same(depths, smaller), tell
        )
        less = search.proof(depths)
    return Sizing(
        depths, search.interval, search.bits(depths), search.bits(own), search.bits(enough), less,
        perf_counter() - start,
    )  # fmt: skip


def prove(design: Design) -> Mapping[str, Fraction | float]:
    """For each buffer that may be less deep: cycles per frame with an entry less, at the least.

    Infinite for a deadlock, the design's own interval where nothing is lost.
    """
    search = _Search(design)
    depths = {name: instance.depth for name, instance in search.buffers.items()}
    return search.proof(depths)


def interval_of(design: Design) -> int:
    """Cycles per frame that the design reaches with unbounded buffers."""
    return _Search(design).interval


def occupancy(arrive: Ints, leave: Ints, interval: int) -> int:
    """Most entries held at once, where an entry leaves its place the cycle after its departure.

    Both are the cycles of one frame's entries, and every frame's, an interval later each.
    """
    return int((np.arange(len(arrive)) + 1 - _before(leave, arrive, interval)).max())


def _before(cycles: Ints, ends: Ints, interval: int) -> Ints:
    """How many steps, of this frame and all earlier ones, come before each end, less those."""
    frames, rest = np.divmod(ends - cycles[0], interval)
    return frames * len(cycles) + np.searchsorted(cycles - cycles[0], rest, side="left")


class _Search:
    """Steady states of one design under all depths that are tried."""

    def __init__(self, design: Design) -> None:
        self.buffers: dict[str, Instance] = {
            instance.name: instance for instance in design.instances if instance.is_buffer
        }
        # In their shallow form FIFOs are quickest, so that these waits hold in every design.
        least = {name: instance.least_depth for name, instance in self.buffers.items()}
        self.composer = design.composer.deepened(least)
        self.interval = design.interval
        self.free, settled = self.unbounded(self.composer)
        while settled.ratio is not None:
            self.interval = ceil(settled.ratio)
            self.free, settled = self.unbounded(self.composer)
        self.freely = settled.times

    def unbounded(self, composer: Composer) -> tuple[Steady, Settled]:
        """The steady state without bounds, of FIFOs in the forms that they have."""
        steady = Steady(composer, self.interval)
        return steady, steady.settle(steady.early())

    def bits(self, depths: Mapping[str, int]) -> int:
        """Bits of all entries."""
        return sum(depth * self.buffers[name].entry_bits for name, depth in depths.items())

    def own(self, enough: Depths, tell: Tell) -> Depths:
        """The least depth of each buffer while all others are unbounded."""
        steady, found, told = self.free, dict[str, int](), perf_counter()
        for name, instance in self.buffers.items():

            def keeps(depth: int, name: str = name) -> bool:
                steady.bound(name, depth)
                return steady.settle(self.freely, [f"{name}.write"]).ratio is None

            low = instance.least_depth
            found[name] = low if keeps(low) else least_number(keeps, low + 1, enough[name])
            steady.bound(name, None)
            if perf_counter() - told > _TOLD:
                told = perf_counter()
                tell(f"buffers, bounds: {len(found)} of {len(self.buffers)}")
        return found

    def steady(self, depths: Mapping[str, int]) -> Steady:
        """The design with these depths, each FIFO in the form that it will have."""
        deep = {name: _UNBOUNDED for name, depth in depths.items() if self.is_deep(name, depth)}
        steady = (
            Steady(self.composer.deepened(deep), self.interval)
            if deep
            else Steady(self.composer, self.interval)
        )
        for name, depth in depths.items():
            steady.bound(name, depth)
        return steady

    def is_deep(self, name: str, depth: int) -> bool:
        """Whether a buffer of this depth is a FIFO of the deep form."""
        return isinstance(self.buffers[name].op, Fifo) and depth > SHALLOW

    def sweep(self, depths: Depths, own: Depths, tell: Tell) -> Depths:
        """Make one buffer after another as shallow as it may be, those of most bits first."""
        depths, told = dict(depths), perf_counter()
        steady = self.steady(depths)
        times = steady.settle(steady.early()).times
        order = sorted(depths, key=lambda n: (own[n] - depths[n]) * self.buffers[n].entry_bits)
        for at, name in enumerate(order):
            if perf_counter() - told > _TOLD:
                told = perf_counter()
                tell(f"buffers: {at} of {len(order)}, {self.bits(depths)} bits")
            if depths[name] == own[name]:
                continue
            if self.is_deep(name, depths[name]) and own[name] <= SHALLOW:
                trial = self.steady({**depths, name: SHALLOW})
                settled = trial.settle(trial.early())
                if settled.ratio is None:
                    steady, times, depths[name] = trial, settled.times, SHALLOW
            low = max(own[name], SHALLOW + 1 if self.is_deep(name, depths[name]) else 0)
            kept = times

            def keeps(
                depth: int, name: str = name, steady: Steady = steady, start: Ints = times
            ) -> bool:
                nonlocal kept
                steady.bound(name, depth)
                settled = steady.settle(start, [f"{name}.write"])
                if settled.ratio is None:
                    kept = settled.times
                return settled.ratio is None

            if low < depths[name]:
                high = depths[name]
                depths[name] = low if keeps(low) else least_number(keeps, low + 1, high)
                steady.bound(name, depths[name])
                times = kept
        return depths

    def proof(self, depths: Depths) -> dict[str, Fraction | float]:
        """What one entry less costs each buffer, everything from the start."""
        steady = self.steady(depths)
        settled = steady.settle(steady.early())
        found: dict[str, Fraction | float] = {}
        for name, instance in self.buffers.items():
            depth = depths[name] - 1
            if depth < instance.least_depth:
                continue
            if self.is_deep(name, depths[name]) != self.is_deep(name, depth):
                trial = self.steady({**depths, name: depth})
                ratio = trial.settle(trial.early()).ratio
            else:
                steady.bound(name, depth)
                ratio = steady.settle(settled.times, [f"{name}.write"]).ratio
                steady.bound(name, depths[name])
            found[name] = Fraction(self.interval) if ratio is None else ratio
        return found


def _same(depths: Depths, but: Mapping[str, int]) -> Depths:
    return {name: depth for name, depth in depths.items() if name not in but}


def _enough(search: _Search) -> Depths:
    """What each buffer holds at most; FIFOs that want the deep form are scheduled in it."""
    deep: Depths = {}
    composer, steady, times = search.composer, search.free, search.freely
    while True:
        parts = {
            stage: times[steady.begins[k] : steady.begins[k + 1]]
            for stage, k in steady.number.items()
        }
        depths = {name: _depth(composer, name, parts, search.interval) for name in search.buffers}
        wanted = {
            name: _UNBOUNDED
            for name, depth in depths.items()
            if search.is_deep(name, depth) and name not in deep
        }
        if not wanted:
            return depths
        deep |= wanted
        composer = search.composer.deepened(deep)
        steady, settled = search.unbounded(composer)
        times = settled.times


def _depth(composer: Composer, name: str, times: Mapping[str, Ints], interval: int) -> int:
    instance = composer.instances[name]
    write = times[f"{name}.write"]
    if isinstance(instance.op, Fifo):
        if instance.op.deep:
            return max(SHALLOW + 1, occupancy(write, times[f"{name}.read"], interval) + 1)
        stage, at = composer.leaving(name)
        return max(instance.least_depth, occupancy(write, times[stage][at], interval))
    walk, _ = walk_of(instance.op, instance.place)
    positions = len(walk.low) - 1
    read = times[f"{name}.read"]
    done = _before(read[walk.steps_per_position - 1 :: walk.steps_per_position], write, interval)
    frame, position = np.divmod(done, positions)
    freed = walk.low[position] + frame * walk.words
    return max(instance.least_depth, int((np.arange(len(write)) + 1 - freed).max()))
