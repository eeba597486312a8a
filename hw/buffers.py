"""Buffer depths with which a design keeps its full throughput.

The design is scheduled once with unbounded buffers and a source that offers one frame per interval,
evenly spread, for more frames than are inside the design at once.  What each buffer then holds at
most is enough: those very times satisfy every constraint of the design with buffers of that depth,
and elastic hardware, which takes each step as early as it can, is never later than a schedule that
satisfies its constraints (the recurrences are monotone).
"""

from __future__ import annotations

import numpy as np

from ..models.fixed import Ints
from .design import LEAST_BUFFER, SINK, SOURCE, Design, Instance, with_depths
from .fifo import SHALLOW, Fifo
from .window import Buffered, walk_of

_UNBOUNDED = 1 << 40
_SETTLING = 4
"""Frames beyond those that are inside the design at once, for the schedule to repeat itself."""


def buffered(design: Design) -> Design:
    """Return `design` with buffers deep enough for its closed-formula interval."""
    names = [i.name for i in design.instances if isinstance(i.op, Fifo | Buffered)]
    free = with_depths(design, dict.fromkeys(names, _UNBOUNDED))
    latency = int(_paced(free, 1)[SINK][-1])
    frames = latency // design.interval + 1 + _SETTLING
    times = _paced(free, frames)
    transfers = free.transfers(times, frames)
    leaving = {stream.producer: transfers[stream.name] for stream in free.streams}
    depths = {}
    for name in names:
        instance = design.by_name[name]
        if isinstance(instance.op, Fifo):
            write, read = times[f"{name}.write"], times[f"{name}.read"]
            depths[name] = _fifo_depth(write, read, leaving[name, "o"])
        else:
            depths[name] = _ring_depth(instance, times[f"{name}.write"], times[f"{name}.read"])
    return with_depths(design, depths)


def _paced(design: Design, frames: int) -> dict[str, Ints]:
    """Every step's cycle when a frame is offered per interval, evenly spread."""
    beats, interval = design.input.beats, design.interval
    spread = np.arange(beats) * interval // beats
    gate = np.zeros(frames * interval, bool)
    gate[(np.arange(frames)[:, None] * interval + spread).ravel()] = True
    return design.graph({SOURCE: gate}).evaluate(frames)


def occupancy(arrive: Ints, leave: Ints) -> int:
    """Most entries held at once, where an entry leaves its place the cycle after its departure."""
    gone = np.searchsorted(leave, arrive, side="left")
    return int((np.arange(len(arrive)) + 1 - gone).max())


def _fifo_depth(write: Ints, read: Ints, leave: Ints) -> int:
    shallow = max(LEAST_BUFFER, occupancy(write, leave))
    if shallow <= SHALLOW:
        return shallow
    return max(SHALLOW + 1, occupancy(write, read) + 1)


def _ring_depth(instance: Instance, write: Ints, read: Ints) -> int:
    walk, _ = walk_of(instance.op, instance.place)
    positions = len(walk.low) - 1
    position_done = read[walk.steps_per_position - 1 :: walk.steps_per_position]
    done = np.searchsorted(position_done, write, side="left")
    freed = walk.low[done % positions] + done // positions * walk.words
    return max(walk.least_depth, int((np.arange(len(write)) + 1 - freed).max()))
