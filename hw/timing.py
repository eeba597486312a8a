"""The exact cycle behaviour of a unit, stated as data: a timed event graph.

A *stage* takes a fixed sequence of steps, at most one a cycle.  An *arc* lets a step wait for a
step of another stage.  Every transfer of a stream is a step of the stage that takes it, so the
producer's promise ("beat k is there") and its patience ("wait until beat k has left") are arcs to
and from the consumer's stage; `schedule.py` joins them.  With t[s][j] the cycle of step j,

    t[s][j] = max(t[s][j-1] + 1, t[arc.src][arc.index[j]] + arc.delay for every arc into s)

Steps that wait for nothing, and for which nothing waits, need not be listed: the next step that is
comes as many cycles later as were left out (`gaps`, instead of the 1 above).

No step's order or kind depends on data, valid or ready: that makes the graph exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    gaps: for a stage, the least cycles from the step before (the last of the frame before) to each
    of its steps; of stages that are absent, 1 each.
    """

    stages: Mapping[str, int]
    takes: Mapping[str, tuple[str, Ints]]
    arcs: tuple[Arc, ...]
    gaps: Mapping[str, Ints] = field(default_factory=dict[str, Ints])


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

    Step j waits in stage k for stage k - 1, a cycle before, and for step j - 1 to leave for stage
    k + 1.  By induction along the stages that makes, with L = stages - 1,

        last[j] >= first[j] + L,   first[j] >= last[j-L]

    and nothing else.  By induction along the steps the former holds by itself where step j takes
    no beat, the latter where step j - L emits none: only these steps are listed.
    """
    lag = stages - 1
    emits = np.arange(steps) if emit is None else np.flatnonzero(emit)
    reads = np.unique(np.concatenate([[0], *takes.values()]))
    if not lag:
        first = last = np.union1d(reads, emits)
    else:
        first = np.union1d(reads, (emits + lag) % steps)
        last = np.union1d(reads, emits)
    names = ("s0", f"s{lag}")
    emitting, beat = np.isin(last, emits), np.searchsorted(emits, last)
    arcs = [
        Arc(names[1], "o", 1, np.searchsorted(last, emits)),
        Arc("o", names[1], 0, chosen(emitting, beat - 1)),
    ]
    if lag:
        frame, step = np.divmod(first - lag, steps)
        leaves = np.searchsorted(last, step) + frame * len(last)
        arcs += [
            Arc(
                names[0], names[1], lag, chosen(np.isin(last, reads), np.searchsorted(first, last))
            ),
            Arc(names[1], names[0], 0, chosen(np.isin(step, emits), leaves)),
        ]
    listed = dict(zip(names, (first, last), strict=True))
    return Timing(
        {name: len(at) for name, at in listed.items()},
        {port: (names[0], np.searchsorted(first, at)) for port, at in takes.items()},
        tuple(arcs),
        {name: np.diff(at, prepend=at[-1] - steps) for name, at in listed.items()},
    )
