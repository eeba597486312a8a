"""The steady state of a design: the schedule that repeats, frame for frame, or proof of none.

With u[s][j] the cycle of step j in its frame, and a frame every I cycles, a schedule that repeats
satisfies

    u[s][j] >= u[s][j-1] + gap,   u[s][j] >= u[src][i] + delay - k * I

for every wait for step i of the k-th frame before.  It exists exactly if no circle of waits takes
longer than I cycles for each frame that it reaches back; then the hardware, which is never later
than a schedule that satisfies its waits, keeps the interval for ever.  `Steady.settle` finds the
least such schedule, or a circle that takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf

import numpy as np
from numba import njit

from ..models.fixed import Ints
from .compose import SOURCE, Composer
from .fifo import Fifo, fifo_timing
from .schedule import Packed, pack
from .timing import NONE

_EARLY = -(1 << 60)
"""Before any cycle: no wait keeps a step from being taken then."""
_START, _CHAIN = -2, -1
"""What moved a step instead of an arc: nothing yet, or the step before it."""
_PATIENCE = 3
"""Passes before the first search for a circle."""


@dataclass(frozen=True, eq=False)
class Settled:
    """Either the schedule that repeats, or the cycles per frame of a circle that forbids it.

    times: the cycle of every step in its frame, all stages one behind another.  ratio: infinite
    where the circle lies within a frame, a deadlock.
    """

    times: Ints
    ratio: Fraction | float | None = None


class Steady:
    """Steady states of a design under various depths of its buffers.

    All buffers begin unbounded.  A FIFO's form (deep or not) is that of the composer's instance;
    its depth may be any here, also one that only the other form could have.
    """

    def __init__(self, composer: Composer, interval: int) -> None:
        self.composer, self.interval = composer, interval
        self.packed: Packed = pack(composer.stages, composer.arcs, composer.gaps)
        self.begins = self.packed.listed
        self.number = {name: k for k, name in enumerate(composer.stages)}
        arcs = self.packed.arcs
        self.room = {
            arc.owner: slice(self.packed.at[k], self.packed.at[k + 1])
            for k, arc in enumerate(arcs)
            if arc.dst == f"{arc.owner}.write" and composer.instances[arc.owner].is_buffer
        }
        waits = [self.number[arc.dst] for arc in arcs]
        order = np.argsort(self.packed.source, kind="stable")
        self.reader = np.array(waits, np.int64)[order]
        self.first_reader = np.searchsorted(
            self.packed.source[order], np.arange(len(self.number) + 1)
        ).astype(np.int64)
        for name in self.room:
            self.bound(name, None)

    def bound(self, name: str, depth: int | None) -> None:
        """Give a buffer `depth` entries, or as many as it may ever want."""
        if depth is None:
            self.packed.index[self.room[name]] = NONE
            return
        instance = self.composer.instances[name]
        if isinstance(instance.op, Fifo):
            steps = self.composer.stages[f"{name}.write"]
            made = fifo_timing(steps, depth, instance.op.deep)
        else:
            made = instance.deepened(depth).timing
        (arc,) = (arc for arc in made.arcs if arc.dst == "write")
        self.packed.index[self.room[name]] = self.composer.joined(name, arc).index

    def early(self) -> Ints:
        """A start from which every schedule can be found: input beats spread over the interval."""
        times = np.full(self.begins[-1], _EARLY)
        source = self.number[SOURCE]
        beats = int(self.packed.steps[source])
        spread = np.arange(beats) * self.interval // beats
        times[self.begins[source] : self.begins[source + 1]] = spread
        return times

    def settle(self, start: Ints, dirty: Sequence[str] | None = None) -> Settled:
        """Return the least schedule that is no earlier than `start`, which itself is early enough.

        dirty: stages whose waits `start` may break; None: any.
        """
        packed, times = self.packed, start.copy()
        active = np.ones(len(self.number), np.bool_)
        if dirty is not None:
            active[:] = False
            active[[self.number[name] for name in dirty]] = True
        circle, delays, lags = _settle(
            self.interval, packed.steps, packed.gap, self.begins, packed.first_arc, packed.source,
            packed.delay, packed.at, packed.index, self.first_reader, self.reader, active, times,
            _PATIENCE,
        )  # fmt: skip
        if not circle:
            return Settled(times)
        return Settled(times, Fraction(int(delays), int(lags)) if lags else inf)


@njit(cache=True, nogil=True)
def _settle(
    interval: int, steps: Ints, gap: Ints, begins: Ints, first_arc: Ints, source: Ints,
    delay: Ints, at: Ints, index: Ints, first_reader: Ints, reader: Ints, active: np.ndarray,
    times: Ints, patience: int,
) -> tuple[bool, int, int]:  # fmt: skip
    """Raise `times` until every wait holds; or whether a circle forbids it, its delays and lags.

    A pass visits each active stage; stages become active when what they wait for has moved.
    """
    stages = len(steps)
    seen = np.zeros(0, np.int64)
    way = np.zeros(0, np.int64)
    cause = np.full(begins[-1], _START, np.int64)
    passes = 0
    while True:
        passes += 1
        moved, most, where = _pass(
            interval, steps, gap, begins, first_arc, source, delay, at, index, active, times, cause
        )
        if most < 0:
            return True, 0, 0
        for s in range(stages):
            if moved[s]:
                active[s] = True
                for r in range(first_reader[s], first_reader[s + 1]):
                    active[reader[r]] = True
        if most == 0:
            return False, 0, 0
        if passes >= patience:
            if not len(seen):
                seen = np.full(begins[-1], -1, np.int64)
                way = np.empty(begins[-1] + 1, np.int64)
            delays, lags = _circle(
                interval, steps, gap, begins, first_arc, source, delay, at, index, cause, where,
                seen, way,
            )  # fmt: skip
            if delays:
                return True, delays, lags


@njit(cache=True, nogil=True)
def _pass(
    interval: int, steps: Ints, gap: Ints, begins: Ints, first_arc: Ints, source: Ints,
    delay: Ints, at: Ints, index: Ints, active: np.ndarray, times: Ints,
    cause: Ints,
) -> tuple[np.ndarray, int, int]:  # fmt: skip
    """Take every step of the active stages once, what they wait for in the frame before them.

    Returns the stages that moved, the most that a step moved, and which; -1 for a deadlock.  cause:
    of each step that moved the arc that did it, or `_CHAIN`, the step before it.
    """
    stages = len(steps)
    done = steps.copy()
    goal = np.zeros(stages, np.int64)
    chain = np.empty(stages, np.int64)
    on_chain = np.zeros(stages, np.bool_)
    moved = np.zeros(stages, np.bool_)
    most, where = np.int64(0), np.int64(-1)
    for s in range(stages):
        if active[s]:
            done[s] = 0
    for root in range(stages):
        if done[root] == steps[root]:
            continue
        chain[0] = root
        on_chain[root] = True
        length = 1
        goal[root] = steps[root] - 1
        while length:
            s = chain[length - 1]
            total, begin, j = steps[s], begins[s], done[s]
            t = times[begin + j - 1] if j else times[begin + total - 1] - interval
            t += gap[begin + j]
            wanted, missing = np.int64(0), np.int64(-1)
            while j < total:
                had, by = times[begin + j], np.int64(_CHAIN)
                for a in range(first_arc[s], first_arc[s + 1]):
                    wanted = index[at[a] + j]
                    src = source[a]
                    if wanted < 0:
                        if wanted > -(1 << 61):
                            n = steps[src]
                            back = (n - 1 - wanted) // n
                            due = times[begins[src] + wanted + back * n] - back * interval
                            if due + delay[a] > t:
                                t, by = due + delay[a], a
                    elif wanted < (j if src == s else done[src]):
                        due = times[begins[src] + wanted]
                        if due + delay[a] > t:
                            t, by = due + delay[a], a
                    else:
                        missing = a
                        break
                if missing >= 0:
                    break
                if t > had:
                    moved[s] = True
                    times[begin + j] = t
                    cause[begin + j] = by
                    if t - had > most:
                        most, where = t - had, begin + j
                t = times[begin + j]
                j += 1
                if j < total:
                    t += gap[begin + j]
            done[s] = j
            if j > goal[s]:
                length -= 1
                on_chain[s] = False
                continue
            src = source[missing]
            if on_chain[src]:
                return moved, np.int64(-1), where
            goal[src] = wanted
            chain[length] = src
            on_chain[src] = True
            length += 1
    return moved, most, where


@njit(cache=True, nogil=True)
def _circle(
    interval: int, steps: Ints, gap: Ints, begins: Ints, first_arc: Ints, source: Ints,
    delay: Ints, at: Ints, index: Ints, cause: Ints, where: int, seen: Ints, way: Ints,
) -> tuple[int, int]:  # fmt: skip
    """Go back from a step to the one that moved it last, and on, until the way closes.

    A way that closes is a circle that takes longer than the interval, since each of its steps was
    moved after the one before it had moved.  Returns its delays and its frames, (0, 0) where the
    way comes to a step that never moved.
    """
    delays = np.zeros(len(way), np.int64)
    lags = np.zeros(len(way), np.int64)
    length, here = 0, where
    found = (np.int64(0), np.int64(0))
    while cause[here] != _START:
        if seen[here] >= 0:
            first = seen[here]
            found = (delays[length] - delays[first], lags[length] - lags[first])
            break
        seen[here] = length
        way[length] = here
        s = np.searchsorted(begins, here, side="right") - 1
        a = cause[here]
        if a == _CHAIN:
            wait = gap[here]
            lag = np.int64(here == begins[s])
            here = begins[s + 1] - 1 if lag else here - 1
        else:
            wanted = index[at[a] + here - begins[s]]
            n = steps[source[a]]
            lag = (n - 1 - wanted) // n if wanted < 0 else np.int64(0)
            wait = delay[a]
            here = begins[source[a]] + wanted + lag * n
        length += 1
        delays[length] = delays[length - 1] + wait
        lags[length] = lags[length - 1] + lag
    for k in range(length):
        seen[way[k]] = -1
    return found
