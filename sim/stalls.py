"""What each unit does in every cycle of a schedule: work, wait for input, or wait for room.

A unit works in a cycle in which one of its stages takes a step.  In the cycles between two such
steps it waits, and the arc that let the next step go says for what: an arc from a unit that it
reads is input that was not there, one from a unit that reads it is room that was not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..hw.design import Design
from ..hw.schedule import Graph
from ..hw.timing import NONE, Arc
from ..models.fixed import Ints


@dataclass(frozen=True, eq=False)
class Activity:
    """Half-open spans of cycles (n, 2), rising, counted from the first input transfer.

    work: one such array a frame; a cycle that has steps of two frames is the earlier one's.
    input, room: waits between the unit's first step and its last.
    """

    work: tuple[Ints, ...]
    input: Ints
    room: Ints

    def share(self, spans: Ints) -> float:
        """What part of the unit's time, from its first step to its last, these spans are."""
        ends = [piece for piece in (*self.work, self.input, self.room) if len(piece)]
        whole = max(int(e[-1, 1]) for e in ends) - min(int(e[0, 0]) for e in ends)
        return float((spans[:, 1] - spans[:, 0]).sum()) / whole


def activities(design: Design, frames: int = 2) -> dict[str, Activity]:
    """What each unit does while it is fed `frames` frames without stalls, by instance name."""
    graph = design.graph()
    times = graph.evaluate(frames)
    first = int(design.transfers(times, frames)[design.streams[0].name][0])
    stages: dict[str, list[str]] = {}
    for stage in graph.stages:
        stages.setdefault(_unit(stage), []).append(stage)
    arcs: dict[str, list[Arc]] = {}
    for arc in graph.arcs:
        arcs.setdefault(arc.dst, []).append(arc)
    reads: dict[str, set[str]] = {}
    for stream in design.streams:
        reads.setdefault(stream.consumer[0], set()).add(stream.producer[0])
    found: dict[str, Activity] = {}
    for unit in design.instances:
        listed = {
            stage.partition(".")[2]: _Steps.of(
                times[stage], _starved(graph, times, stage, arcs, reads[unit.name], frames), frames
            )
            for stage in stages[unit.name]
        }
        found[unit.name] = _activity(_whole(listed, unit.timing.gaps, frames), first)
    return found


def _unit(stage: str) -> str:
    return stage.partition(".")[0]


@dataclass(frozen=True, eq=False)
class _Steps:
    """The cycles of a stage's steps, which of them an arc from a unit before it let go, and whose.

    frame: the frame of each step.
    """

    cycles: Ints
    by_input: np.ndarray
    frame: Ints

    @classmethod
    def of(cls, cycles: Ints, by_input: np.ndarray, frames: int) -> _Steps:
        """Steps of `frames` frames."""
        return cls(cycles, by_input, np.repeat(np.arange(frames), len(cycles) // frames))


def _whole(listed: Mapping[str, _Steps], gaps: Mapping[str, Ints], frames: int) -> list[_Steps]:
    """All steps of a unit's stages, from those that its timing lists.

    Of a pipeline it lists the first and the last stage, and there the steps at which something
    waits (`timing.pipeline_timing`).  All others are as early as their neighbours allow.
    """
    if not gaps:
        return list(listed.values())
    # Stages beside the pipeline list every step.
    beside = [steps for name, steps in listed.items() if name not in gaps]
    names = sorted(gaps, key=lambda name: int(name[1:]))
    lag, steps = int(names[-1][1:]), int(gaps[names[0]].sum())
    at = {name: steps - 1 - np.cumsum(gaps[name][::-1])[::-1] + gaps[name] for name in names}
    at[names[0]] = np.cumsum(gaps[names[0]]) - gaps[names[0]][0]
    every = np.arange(frames * steps)

    def filled(name: str, least: Ints) -> _Steps:
        where = (np.arange(frames)[:, None] * steps + at[name]).ravel()
        times, by_input = least.copy(), np.zeros(len(every), bool)
        times[where], by_input[where] = listed[name].cycles, listed[name].by_input
        return _Steps.of(np.maximum.accumulate(times - every) + every, by_input, frames)

    first = filled(names[0], np.full(len(every), np.iinfo(np.int64).min // 2))
    if not lag:
        return [*beside, first]
    last = filled(names[-1], first.cycles + lag)
    between: list[_Steps] = []
    for k in range(1, lag):
        room = np.append(np.full(lag - k, np.iinfo(np.int64).min), last.cycles)[: len(every)]
        times = np.maximum(first.cycles + k, room)
        between.append(_Steps.of(times, np.zeros(len(every), bool), frames))
    return [*beside, first, *between, last]


def _starved(
    graph: Graph, times: Mapping[str, Ints], stage: str, arcs: Mapping[str, list[Arc]],
    before: set[str], frames: int,
) -> np.ndarray:  # fmt: skip
    """For each step of a stage, whether the input that it takes came no sooner than it is taken."""
    found = np.zeros(len(times[stage]), bool)
    for arc in arcs.get(stage, []):
        if _unit(arc.src) not in before:
            continue
        wanted = (np.arange(frames)[:, None] * graph.stages[arc.src] + arc.index).ravel()
        waits = np.tile(arc.index != NONE, frames) & (wanted >= 0)
        came = times[arc.src][np.where(waits, wanted, 0)] + arc.delay
        found |= waits & (came == times[stage])
    return found


def _activity(stages: list[_Steps], first: int) -> Activity:
    cycles = np.concatenate([stage.cycles for stage in stages])
    frame = np.concatenate([stage.frame for stage in stages])
    by_input = np.concatenate([stage.by_input for stage in stages])
    # Of the steps of one cycle the earliest frame's stands first, and says whose cycle it is.
    order = np.lexsort((frame, cycles))
    busy, at = np.unique(cycles[order], return_index=True)
    owner = frame[order][at]
    starved = np.logical_or.reduceat(by_input[order], at)
    gaps = np.flatnonzero(np.diff(busy) > 1) + 1
    waits = np.stack([busy[gaps - 1] + 1, busy[gaps]], 1) - first
    work = tuple(_spans(busy[owner == f] - first) for f in range(int(frame.max()) + 1))
    return Activity(work, waits[starved[gaps]], waits[~starved[gaps]])


def _spans(cycles: Ints) -> Ints:
    """Rising cycles as half-open spans without a gap."""
    if not len(cycles):
        return np.zeros((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(cycles) > 1)
    begins = np.concatenate([cycles[:1], cycles[breaks + 1]])
    ends = np.concatenate([cycles[breaks], cycles[-1:]]) + 1
    return np.stack([begins, ends], 1)


def shares(spans: Ints, end: int, slices: int) -> np.ndarray:
    """How much of each of so many equal slices of 0 .. end is covered, 0 to 1."""
    edges = np.linspace(0, end, slices + 1)
    covered = np.zeros(slices + 1)
    if len(spans):
        # Cycles covered before each edge: whole spans, and the begun part of the next.
        done = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
        k = np.searchsorted(spans[:, 0], edges, side="right")
        last = np.maximum(k - 1, 0)
        begun = np.clip(edges - spans[last, 0], 0, spans[last, 1] - spans[last, 0])
        covered = np.where(k > 0, done[last] + begun, 0)
    return np.diff(covered) / (end / slices)
