"""The exact cycle of every transfer of a whole design, from the timed event graph of its units.

The graph is a set of stages; each takes its steps in order, at most one a cycle, and waits for
steps of other stages (`timing.py`).  It is evaluated to its least solution, which is what elastic
hardware does: every step as early as its arcs allow.  Steps are evaluated as they are wanted: a
stage that waits for a step which has no time yet has that one evaluated first.  A stage that is
wanted while it waits itself closes a circle, and the graph deadlocks.

All waits reach into the same frame or an earlier one, and a circle of waits cannot reach back, so
a design deadlocks in its first frame or never, whatever the stalls at its ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numba import njit

from ..models.fixed import Ints, ProgramError
from .timing import Arc


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a graph comes: the cycles of the steps that are taken, all if it does not deadlock.

    circle: arcs of a deadlock, each from a stage to the one that waits for it, round to the first;
    empty where there is none.
    """

    times: Mapping[str, Ints]
    circle: tuple[Arc, ...]

    @property
    def last(self) -> int:
        """The last cycle in which a step that is listed is taken, -1 if none is."""
        return max((int(cycles[-1]) for cycles in self.times.values() if len(cycles)), default=-1)


@dataclass(frozen=True, eq=False)
class Graph:
    """Stages by name with their steps per frame, arcs between them, gates, and gaps.

    gates: for a stage, a boolean per cycle; a step is taken only in a cycle where it holds (a
    pattern of stalls).  Beyond its end every cycle is open.
    gaps: as those of a `Timing`.
    """

    stages: Mapping[str, int]
    arcs: Sequence[Arc]
    gates: Mapping[str, np.ndarray]
    gaps: Mapping[str, Ints] = field(default_factory=dict[str, Ints])

    def evaluate(self, frames: int) -> Mapping[str, Ints]:
        """Return for each stage the cycle of every step of `frames` frames; cycle 0 is reset's end.

        Raises ProgramError where the graph deadlocks, with the stages that wait for one another.
        """
        progress = self.run(frames)
        if progress.circle:
            waiting = ", ".join(arc.dst for arc in progress.circle)
            raise ProgramError(
                f"the graph deadlocks after cycle {progress.last}: {waiting} wait for one another"
            )
        return progress.times

    def run(self, frames: int) -> Progress:
        """Evaluate `frames` frames, or as much of them as is ever taken."""
        packed = self.packed
        begins = np.concatenate([[0], np.cumsum(packed.steps * frames)]).astype(np.int64)
        opens = [np.flatnonzero(self.gates.get(name, ())) for name in self.stages]
        gate_at = np.concatenate([[0], np.cumsum([len(cycles) for cycles in opens])])
        spans = np.array([len(self.gates.get(name, ())) for name in self.stages], np.int64)
        times = np.empty(begins[-1], np.int64)
        done, circle = _evaluate(
            frames, packed.steps, packed.listed, packed.gap, begins, packed.first_arc,
            packed.source, packed.delay, packed.at, packed.index, gate_at.astype(np.int64),
            np.concatenate(opens).astype(np.int64), spans, times,
        )  # fmt: skip
        taken = {name: times[begins[k] :][: done[k]] for k, name in enumerate(self.stages)}
        return Progress(taken, tuple(packed.arcs[k] for k in circle[::-1]))

    @cached_property
    def packed(self) -> Packed:
        """The same as arrays."""
        return pack(self.stages, self.arcs, self.gaps)


@dataclass(frozen=True, eq=False)
class Packed:
    """Stages and arcs as arrays, arcs sorted by the stage that waits.

    Stage s waits for the arcs first_arc[s] .. first_arc[s + 1]; step j of a frame waits by arc a
    for step index[at[a] + j] of stage source[a].  The steps of a frame of stage s have the gaps
    gap[listed[s]] .. gap[listed[s + 1]].
    """

    arcs: Sequence[Arc]
    steps: Ints
    listed: Ints
    gap: Ints
    first_arc: Ints
    source: Ints
    delay: Ints
    at: Ints
    index: Ints


def pack(stages: Mapping[str, int], arcs: Sequence[Arc], gaps: Mapping[str, Ints]) -> Packed:
    """Number the stages in their order and lay the arcs out in arrays."""
    number = {name: k for k, name in enumerate(stages)}
    ordered = sorted(arcs, key=lambda arc: number[arc.dst])
    waits = [number[arc.dst] for arc in ordered]
    lengths = [len(arc.index) for arc in ordered]
    steps = np.array(list(stages.values()), np.int64)
    gap = [gaps[name] if name in gaps else np.ones(n, np.int64) for name, n in stages.items()]
    return Packed(
        ordered,
        steps,
        np.concatenate([[0], np.cumsum(steps)]).astype(np.int64),
        np.concatenate(gap).astype(np.int64),
        np.searchsorted(waits, np.arange(len(number) + 1)).astype(np.int64),
        np.array([number[arc.src] for arc in ordered], np.int64),
        np.array([arc.delay for arc in ordered], np.int64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([arc.index for arc in ordered] or [np.zeros(0, np.int64)]),
    )


@njit(cache=True, nogil=True)
def _evaluate(
    frames: int, steps: Ints, listed: Ints, gap: Ints, begins: Ints, first_arc: Ints, source: Ints,
    delay: Ints, at: Ints, index: Ints, gate_at: Ints, opens: Ints, spans: Ints, times: Ints,
) -> tuple[Ints, Ints]:  # fmt: skip
    """Fill `times`; return the number of steps of each stage, and the arcs of the first deadlock.

    `chain` holds stages each of which waits for the next, by the arcs `blocked`; a stage on it is
    wanted at least until it has taken step `goal`.
    """
    stages = len(steps)
    done = np.zeros(stages, np.int64)
    phase = np.zeros(stages, np.int64)  # step within its frame
    frame = np.zeros(stages, np.int64)
    cursor = gate_at[:-1].copy()
    goal = np.zeros(stages, np.int64)
    chain = np.empty(stages, np.int64)
    blocked = np.empty(stages, np.int64)
    place = np.full(stages, -1, np.int64)  # on the chain
    dead = np.zeros(stages, np.bool_)
    circle = np.empty(0, np.int64)
    for root in range(stages):
        if dead[root] or done[root] == steps[root] * frames:
            continue
        chain[0], place[root], length = root, 0, 1
        goal[root] = steps[root] * frames - 1
        while length:
            s = chain[length - 1]
            total, begin = steps[s] * frames, begins[s]
            j, k, f = done[s], phase[s], frame[s]
            t = times[begin + j - 1] + gap[listed[s] + k] if j else np.int64(0)
            wanted, missing = np.int64(0), np.int64(-1)
            while j < total:
                for a in range(first_arc[s], first_arc[s + 1]):
                    wanted = index[at[a] + k]
                    src = source[a]
                    if f:
                        wanted += f * steps[src]
                    if wanted < 0:
                        continue
                    if wanted >= (j if src == s else done[src]):
                        missing = a
                        break
                    t = max(t, times[begins[src] + wanted] + delay[a])
                if missing >= 0:
                    break
                if spans[s] > 0:
                    while cursor[s] < gate_at[s + 1] and opens[cursor[s]] < t:
                        cursor[s] += 1
                    t = opens[cursor[s]] if cursor[s] < gate_at[s + 1] else max(t, spans[s])
                times[begin + j] = t
                j += 1
                k += 1
                if k == steps[s]:
                    k = 0
                    f += 1
                t += gap[listed[s] + k]
            done[s], phase[s], frame[s] = j, k, f
            if j > goal[s]:
                length -= 1
                place[s] = -1
                continue
            src = source[missing]
            blocked[length - 1] = missing
            if place[src] >= 0 and not len(circle):
                circle = blocked[place[src] : length].copy()
            if place[src] >= 0 or dead[src]:
                for stage in chain[:length]:
                    dead[stage] = True
                    place[stage] = -1
                length = 0
            else:
                goal[src] = wanted
                place[src] = length
                chain[length] = src
                length += 1
    return done, circle
