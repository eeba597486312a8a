"""The exact cycle of every transfer of a whole design, from the timed event graph of its units.

The graph is a set of stages; each takes its steps in order, at most one a cycle, and waits for
steps of other stages (`timing.py`).  It is evaluated to its least solution, which is what elastic
hardware does: every step as early as its arcs allow.  A graph that cannot go on is a deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from ..models.fixed import Ints, ProgramError
from .timing import NONE, Arc


@dataclass(frozen=True, eq=False)
class Graph:
    """Stages by name with their steps per frame, arcs between them, and gates.

    gates: for a stage, a boolean per cycle; a step is taken only in a cycle where it holds (a
    pattern of stalls).  Beyond its end every cycle is open.
    """

    stages: Mapping[str, int]
    arcs: Sequence[Arc]
    gates: Mapping[str, np.ndarray]

    def evaluate(self, frames: int) -> dict[str, Ints]:
        """Return for each stage the cycle of every step of `frames` frames; cycle 0 is reset's end.

        Raises ProgramError where the graph deadlocks, with the stage that waits for ever.
        """
        names = list(self.stages)
        number = {name: k for k, name in enumerate(names)}
        steps = np.array([self.stages[name] for name in names], np.int64)
        begins = np.concatenate([[0], np.cumsum(steps * frames)]).astype(np.int64)
        arcs = sorted(self.arcs, key=lambda arc: number[arc.dst])
        first_arc = np.searchsorted(
            [number[arc.dst] for arc in arcs], np.arange(len(names) + 1)
        ).astype(np.int64)
        index = np.concatenate([arc.index for arc in arcs] or [np.zeros(0, np.int64)])
        at = np.concatenate([[0], np.cumsum([len(arc.index) for arc in arcs])]).astype(np.int64)
        gates = [np.flatnonzero(self.gates[n]) if n in self.gates else None for n in names]
        opens = np.concatenate([g for g in gates if g is not None] or [np.zeros(0, np.int64)])
        ends = np.cumsum([0 if g is None else len(g) for g in gates])
        spans = [0 if name not in self.gates else len(self.gates[name]) for name in names]
        times = np.full(begins[-1], -1, np.int64)
        done = _evaluate(
            frames, steps, begins, first_arc,
            np.array([number[arc.src] for arc in arcs], np.int64),
            np.array([arc.delay for arc in arcs], np.int64),
            at, index, np.concatenate([[0], ends]).astype(np.int64), opens.astype(np.int64),
            np.array(spans, np.int64), times,
        )  # fmt: skip
        stuck = np.flatnonzero(done < steps * frames)
        if len(stuck):
            names_stuck = ", ".join(f"{names[k]} at step {done[k]}" for k in stuck[:4])
            raise ProgramError(
                f"the design deadlocks after cycle {int(times.max())}: {names_stuck} wait for "
                "ever; deepen the buffers of the shorter branch"
            )
        return {name: times[begins[k] : begins[k + 1]] for name, k in number.items()}


@njit(cache=True, nogil=True)
def _evaluate(
    frames: int, steps: Ints, begins: Ints, first_arc: Ints, source: Ints, delay: Ints, at: Ints,
    index: Ints, gate_at: Ints, opens: Ints, spans: Ints, times: Ints,
) -> Ints:  # fmt: skip
    """Advance each stage as far as its arcs allow, round and round, until nothing moves."""
    stages = len(steps)
    done = np.zeros(stages, np.int64)
    phase = np.zeros(stages, np.int64)  # step within its frame
    frame = np.zeros(stages, np.int64)
    cursor = gate_at[:-1].copy()
    moved = True
    while moved:
        moved = False
        for s in range(stages):
            total = steps[s] * frames
            while done[s] < total:
                t = np.int64(0) if done[s] == 0 else times[begins[s] + done[s] - 1] + 1
                ready = True
                for a in range(first_arc[s], first_arc[s + 1]):
                    local = index[at[a] + phase[s]]
                    if local == NONE:
                        continue
                    wanted = local + frame[s] * steps[source[a]]
                    if wanted < 0:
                        continue
                    if wanted >= done[source[a]]:
                        ready = False
                        break
                    t = max(t, times[begins[source[a]] + wanted] + delay[a])
                if not ready:
                    break
                if spans[s] > 0:
                    while cursor[s] < gate_at[s + 1] and opens[cursor[s]] < t:
                        cursor[s] += 1
                    t = opens[cursor[s]] if cursor[s] < gate_at[s + 1] else max(t, spans[s])
                times[begins[s] + done[s]] = t
                done[s] += 1
                phase[s] += 1
                if phase[s] == steps[s]:
                    phase[s] = 0
                    frame[s] += 1
                moved = True
    return done
