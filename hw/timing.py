"""The exact cycle behaviour of a unit, stated as data: a timed event graph.

A *stage* takes a fixed sequence of steps, at most one a cycle.  An *arc* lets a step wait for a
step of another stage.  Every transfer of a stream is a step of the stage that takes it, so the
producer's promise ("beat k is there") and its patience ("wait until beat k has left") are arcs to
and from the consumer's stage; `schedule.py` joins them.  With t[s][j] the cycle of step j,

    t[s][j] = max(t[s][j-1] + 1, t[arc.src][arc.index[j]] + arc.delay for every arc into s)

No step's order or kind depends on data, valid or ready: that makes the graph exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..models.fixed import Ints

NONE = np.int64(-(1 << 62))
"""Index of a step that does not wait."""


@dataclass(frozen=True, eq=False)
class Arc:
    """Step j of `dst` waits for step `index[j]` of `src` and `delay` cycles more.

    `index` covers one frame of dst; frame f adds f times the steps of src in a frame.  A negative
    index means an earlier frame, `NONE` no wait at all.  `src` and `dst` name a stage, or an output
    port, whose steps are the beats that leave through it.  In the graph of a whole design, `owner`
    is the unit that makes dst wait.
    """

    src: str
    dst: str
    delay: int
    index: Ints
    owner: str = ""


@dataclass(frozen=True, eq=False)
class Timing:
    """Stages and arcs of one unit.

    stages: steps per frame of each stage.
    takes: for each input port the stage that takes its beats, and the step that takes beat k.
    """

    stages: Mapping[str, int]
    takes: Mapping[str, tuple[str, Ints]]
    arcs: tuple[Arc, ...]


def after(steps: int, lag: int = 0) -> Ints:
    """Return the index of an arc by which step j waits for step j - lag."""
    return np.arange(steps, dtype=np.int64) - lag


def chosen(mask: np.ndarray, index: Ints) -> Ints:
    """`index` where `mask` holds, no wait elsewhere."""
    return np.where(mask, index, NONE)


def pipeline_timing(
    stages: int, steps: int, takes: Mapping[str, Ints], emit: np.ndarray | None = None
) -> Timing:
    """Timing of `elastic.pipeline`: `stages` elastic stages, each of which does every step.

    takes: for each input port the step that takes beat k (one a step at most).
    emit: boolean per step, whether it emits a beat through "o"; None: each step does.
    Alone, with input always valid and output always ready, step j leaves stage k in cycle j + k.
    """
    emitting = np.ones(steps, bool) if emit is None else emit
    emit_steps = np.flatnonzero(emitting).astype(np.int64)
    names = [f"s{k}" for k in range(stages)]
    arcs = []
    for before, behind in pairwise(names):
        arcs.append(Arc(before, behind, 1, after(steps)))
        arcs.append(Arc(behind, before, 0, after(steps, 1)))
    arcs.append(Arc(names[-1], "o", 1, emit_steps))
    beat = np.cumsum(emitting) - 1
    arcs.append(Arc("o", names[-1], 0, chosen(emitting, beat - 1)))
    return Timing(
        dict.fromkeys(names, steps),
        {port: (names[0], at) for port, at in takes.items()},
        tuple(arcs),
    )
