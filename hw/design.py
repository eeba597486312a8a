"""A program as hardware: a unit per operator, wired by streams, folded and buffered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm
from typing import Any

import numpy as np

from ..models.fixed import Ints, ProgramError
from ..models.ops import Reshape, Window
from ..models.program import INPUT, Program
from .compose import LEAST_BUFFER, SINK, SOURCE, Composer, Instance, Stream
from .convert import Narrow, Widen
from .deadlock import Deadlock, diagnose
from .fifo import Fifo
from .fork import Fork
from .naming import identifiers
from .schedule import Graph
from .unit import (
    DEFAULT_LEVELS,
    Fold,
    Place,
    Port,
    check_fold,
    foldings,
    input_names,
    output_names,
    ports,
)
from .window import Buffered


@dataclass(frozen=True, eq=False)
class Design:
    """Units and streams of one accelerator.

    folds: the folding of each node of the program (by its own name).
    depths: entries of each buffer and words of each window's ring, by instance name; what is
    absent gets the least that works.
    levels: levels of logic that a stage of any unit may hold (see `levels.levels_for`).
    """

    program: Program
    folds: Mapping[str, Fold]
    depths: Mapping[str, int]
    levels: int = DEFAULT_LEVELS

    @cached_property
    def _built(self) -> tuple[tuple[Instance, ...], tuple[Stream, ...]]:
        return _Builder(self).build()

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All units, in the order of the data."""
        return self._built[0]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams, the input first and the output last."""
        return self._built[1]

    @property
    def input(self) -> Port:
        """The port at the design's entrance."""
        return self.streams[0].port

    @property
    def output(self) -> Port:
        """The port at the design's exit."""
        return self.streams[-1].port

    @cached_property
    def interval(self) -> int:
        """Closed formula: cycles between frames, those of the slowest unit or border."""
        borders = (self.input.beats, self.output.beats)
        return max(*borders, *(instance.cycles for instance in self.instances))

    @cached_property
    def first(self) -> int:
        """Closed formula, an estimate of the cycle of frame 0's last beat (schedules are exact).

        Each stream is taken to flow evenly from its first to its last beat: a unit begins when the
        beats that fill it have come, and ends when its own cycles, and what follows its last input
        beat, are over.
        """
        span = {SOURCE: (0.0, self.input.beats - 1.0)}
        for instance in self.instances:
            into = [s for s in self.streams if s.consumer[0] == instance.name]
            begin = max(span[s.producer[0]][0] for s in into)
            end = max(span[s.producer[0]][1] for s in into)
            share = min(1.0, instance.fill / max(s.port.beats for s in into))
            first = begin + max(instance.fill, (end - begin) * share)
            span[instance.name] = (first, max(first + instance.cycles - 1, end + instance.tail))
        return round(span[self.streams[-1].producer[0]][1])

    @cached_property
    def limiting(self) -> str:
        """The name of the unit (or border) that sets the interval."""
        layers_first = sorted(self.instances, key=lambda instance: instance.layer is None)
        for instance in layers_first:
            if instance.cycles == self.interval:
                return instance.layer or instance.name
        return SOURCE if self.input.beats == self.interval else SINK

    @cached_property
    def by_name(self) -> dict[str, Instance]:
        """Instances by name."""
        return {instance.name: instance for instance in self.instances}

    @cached_property
    def composer(self) -> Composer:
        """What joins the timings of the units."""
        return Composer(self.by_name, self.streams)

    def graph(self, gates: Mapping[str, np.ndarray] | None = None) -> Graph:
        """Return the timed event graph; gates: stall patterns of "source" and "sink"."""
        return self.composer.graph(gates or {})

    def schedule(
        self, frames: int, gates: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, Ints]:
        """Return the cycle of every transfer, by stream; cycle 0 is the first input transfer.

        gates: for "source" and "sink" a boolean per cycle, counted from reset's end.  Raises
        ProgramError where the design deadlocks: which buffers are at fault, and what helps.
        """
        progress = self.graph(gates).run(frames)
        if progress.circle:
            raise ProgramError(str(diagnose(self.composer, progress, frames)))
        transfers = self.transfers(progress.times, frames)
        first = transfers[self.streams[0].name][0]
        return {name: cycles - first for name, cycles in transfers.items()}

    def deadlock(
        self, frames: int = 1, gates: Mapping[str, np.ndarray] | None = None
    ) -> Deadlock | None:
        """What the design does if it deadlocks when it is fed `frames` frames; else None."""
        progress = self.graph(gates).run(frames)
        if not progress.circle:
            return None
        return diagnose(self.composer, progress, frames)

    def transfers(self, times: Mapping[str, Ints], frames: int) -> dict[str, Ints]:
        """Return the cycle of every transfer, by stream, from an evaluated graph."""
        return self.composer.transfers(times, frames)


def figures(arrivals: Ints, beats: int) -> dict[str, int | None]:
    """The three figures from the cycles in which output beats left: first, interval, total."""
    last = arrivals[beats - 1 :: beats]
    return {
        "first": int(last[0]),
        "interval": int(last[-1] - last[-2]) if len(last) > 1 else None,
        "total": int(last[-1]) + 1,
    }


class _Builder:
    """Walks the program and places a unit per node and the links between them."""

    def __init__(self, design: Design) -> None:
        self.design, self.program = design, design.program
        names = [node.name for node in self.program.nodes]
        self.safe = {**identifiers(names), INPUT: SOURCE}
        self.instances: list[Instance] = []
        self.streams: list[Stream] = []
        unknown = set(design.folds) - set(names)
        if unknown:
            raise ProgramError(
                f"the folding names layer {sorted(unknown)[0]!r}, which program "
                f"{self.program.name!r} has not; its layers are {', '.join(names)}"
            )

    def build(self) -> tuple[tuple[Instance, ...], tuple[Stream, ...]]:
        self.units = {node.name: self._unit(node) for node in self.program.nodes}
        self._wire(INPUT, (SOURCE, "o"), None)
        for node in self.program.nodes:
            unit = self.units[node.name]
            if unit is not None:
                self.instances.append(unit)
                outputs = ports(unit.op, unit.place)
                producer = (unit.name, output_names(outputs)[0])
                self._wire(node.name, producer, outputs.outputs[0].lanes)
        return tuple(self.instances), tuple(self.streams)

    def _unit(self, node: Any) -> Instance | None:
        if isinstance(node.op, Reshape):
            return None
        edges = self.program.edges
        inputs = tuple(edges[name] for name in node.inputs)
        fold = self.design.folds.get(node.name, Fold())
        place = Place(inputs, edges[node.name], fold, self.design.levels)
        check_fold(node.name, node.op, place)
        name = self.safe[node.name]
        op = node.op
        if isinstance(op, Window):
            op = Buffered(op, self.design.depths.get(name, 0))
        return Instance(name, op, place, node.name)

    def _readers(self, edge: str) -> list[tuple[Instance | None, int]]:
        """Who reads an edge, through reshapes; None stands for the design's output."""
        found: list[tuple[Instance | None, int]] = []
        for reader, number in self.program.consumers[edge]:
            unit = self.units[reader]
            found += [(unit, number)] if unit is not None else self._readers(reader)
        return found or [(None, 0)]

    def _wire(self, edge: str, producer: tuple[str, str], lanes: int | None) -> None:
        """Lead an edge from its producer to all its readers; the source takes any lanes."""
        readers = self._readers(edge)
        wanted = [self._lanes(unit, number, lanes) for unit, number in readers]
        lanes = lanes or (wanted[0] if len(readers) == 1 else max(wanted))
        producers = [producer]
        stem = self.safe[edge]
        if len(readers) > 1:
            producers = self._fork(edge, stem, producer, lanes, len(readers))
        for k, ((unit, number), want) in enumerate(zip(readers, wanted, strict=True)):
            name = stem if len(readers) == 1 else f"{stem}__{k}"
            self._link(edge, name, producers[k], lanes, want, unit, number)

    def _lanes(self, unit: Instance | None, number: int, lanes: int | None) -> int:
        if unit is None:
            return lanes or 1
        return ports(unit.op, unit.place).inputs[number].lanes

    def _fork(
        self, edge: str, stem: str, producer: tuple[str, str], lanes: int, branches: int
    ) -> list[tuple[str, str]]:
        fork = self._add(f"{stem}__fork", Fork(branches), edge, Fold(lanes))
        self._stream(edge, stem, producer, (fork.name, "i"), lanes)
        return [(fork.name, name) for name in output_names(ports(fork.op, fork.place))]

    def _link(
        self, edge: str, name: str, producer: tuple[str, str], have: int, want: int,
        unit: Instance | None, number: int,
    ) -> None:  # fmt: skip
        """Widen, buffer and narrow between one producer and one consumer.

        The buffer stands before the narrowing, which a burst of the producer would have to wait
        for, at the pace of single parts.
        """
        depth = self.design.depths.get(f"{name}__fifo", LEAST_BUFFER)
        meeting = lcm(have, want)
        links = [(Widen(), "widen", meeting), (Fifo(depth), "fifo", meeting)]
        links.append((Narrow(), "narrow", want))
        at, lanes = producer, have
        for op, suffix, target in links:
            if target != lanes or isinstance(op, Fifo):
                fold = Fold(target) if isinstance(op, Fifo) else Fold(target, lanes)
                link = self._add(f"{name}__{suffix}", op, edge, fold)
                self._stream(edge, f"{name}__to_{suffix}", at, (link.name, "i"), lanes)
                at, lanes = (link.name, "o"), target
        if unit is None:
            consumer, name = (SINK, "i"), "output"
        else:
            consumer = (unit.name, input_names(ports(unit.op, unit.place))[number])
            name = f"{unit.name}__{consumer[1]}"
        self._stream(edge, name, at, consumer, lanes)

    def _add(self, name: str, op: Any, edge: str, fold: Fold) -> Instance:
        carried = self.program.edges[edge]
        place = Place((carried,), carried, fold, self.design.levels)
        self.instances.append(Instance(name, op, place))
        return self.instances[-1]

    def _stream(
        self, edge: str, name: str, producer: tuple[str, str], consumer: tuple[str, str], lanes: int
    ) -> None:
        port = Port.of(self.program.edges[edge], lanes)
        self.streams.append(Stream(name, edge, port, producer, consumer))


def with_depths(design: Design, depths: Mapping[str, int]) -> Design:
    """The same design with other buffers."""
    return replace(design, depths=dict(depths))


def folding_choices(program: Program) -> dict[str, tuple[Fold, ...]]:
    """Every folding of every node that has hardware."""
    edges = program.edges
    return {
        node.name: foldings(
            node.op, Place(tuple(edges[name] for name in node.inputs), edges[node.name])
        )
        for node in program.nodes
        if not isinstance(node.op, Reshape)
    }
