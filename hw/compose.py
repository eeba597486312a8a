"""Units and streams, and the timed event graph that they make together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..models.fixed import Ints
from .fifo import Fifo
from .schedule import Graph
from .timing import NONE, Arc, Timing, after
from .unit import Place, Port, cycles, fill, ports, tail, timing
from .window import Buffered, walk_of

SOURCE = "source"
SINK = "sink"
LEAST_BUFFER = 2


@dataclass(frozen=True, eq=False)
class Instance:
    """A unit of the design: an operator (or link) at a place, under a name safe for Verilog."""

    name: str
    op: Any
    place: Place
    layer: str | None = None
    """The program's node, or None for a link between units."""

    @property
    def cycles(self) -> int:
        """Closed formula: cycles per frame."""
        return cycles(self.op, self.place)

    @property
    def fill(self) -> int:
        """Closed formula: cycles from the first input beat to the first output beat."""
        return fill(self.op, self.place)

    @property
    def tail(self) -> int:
        """Closed formula: cycles from the last input beat to the last output beat."""
        return tail(self.op, self.place)

    @cached_property
    def timing(self) -> Timing:
        """The unit's exact timing."""
        return timing(self.op, self.place)

    @property
    def is_buffer(self) -> bool:
        """Whether it has a depth: a FIFO, or a window with its ring."""
        return isinstance(self.op, Fifo | Buffered)

    @property
    def depth(self) -> int:
        """Entries of a buffer, the least that works where its operator leaves that open."""
        return self.op.depth or self.least_depth

    @cached_property
    def least_depth(self) -> int:
        """The smallest depth that a buffer can be built with."""
        if isinstance(self.op, Fifo):
            return LEAST_BUFFER
        return walk_of(replace(self.op, depth=0), self.place)[1]

    @cached_property
    def entry_bits(self) -> int:
        """Bits of one entry of a buffer."""
        return ports(self.op, self.place).inputs[0].width

    def deepened(self, depth: int) -> Instance:
        """The same buffer with another depth."""
        return replace(self, op=replace(self.op, depth=depth))


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream of the design, which carries `edge` of the program as beats of `port`."""

    name: str
    edge: str
    port: Port
    producer: tuple[str, str]
    consumer: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Composer:
    """Joins the timings of all units into one graph.

    A transfer of a stream is the step of the consumer's stage that takes it, so arcs to and from
    an output port become arcs to and from that stage.
    """

    instances: Mapping[str, Instance]
    streams: Sequence[Stream]

    @cached_property
    def stages(self) -> dict[str, int]:
        """The stages of all units, and of both ends, with their steps per frame."""
        stages = {
            SOURCE: self.streams[0].port.beats,
            SINK: self.streams[-1].port.beats,
        }
        for instance in self.instances.values():
            for stage, steps in instance.timing.stages.items():
                stages[f"{instance.name}.{stage}"] = steps
        return stages

    @cached_property
    def gaps(self) -> dict[str, Ints]:
        """The gaps of stages of which not every step is listed."""
        return {
            f"{instance.name}.{stage}": gaps
            for instance in self.instances.values()
            for stage, gaps in instance.timing.gaps.items()
        }

    @cached_property
    def arcs(self) -> list[Arc]:
        """Every wait of a stage for another."""
        beats = self.streams[0].port.beats
        arcs = [
            self.joined(SOURCE, Arc(SOURCE, "o", 0, after(beats))),
            self.joined(SOURCE, Arc("o", SOURCE, 1, after(beats, 1))),
        ]
        for name in self.instances:
            arcs += self.arcs_of(name)
        return arcs

    def arcs_of(self, name: str) -> list[Arc]:
        """The waits that one unit makes its own stages and its neighbours' observe."""
        return [self.joined(name, arc) for arc in self.instances[name].timing.arcs]

    def graph(self, gates: Mapping[str, np.ndarray]) -> Graph:
        """The timed event graph; gates: stall patterns of "source" and "sink"."""
        return Graph(self.stages, self.arcs, gates, self.gaps)

    def deepened(self, depths: Mapping[str, int]) -> Composer:
        """The same units with other depths of some buffers."""
        changed = {name: self.instances[name].deepened(depth) for name, depth in depths.items()}
        return Composer({**self.instances, **changed}, self.streams)

    @cached_property
    def _from_port(self) -> dict[tuple[str, str], Stream]:
        return {stream.producer: stream for stream in self.streams}

    def _taker(self, stream: Stream) -> tuple[str, Ints, int]:
        """The stage that takes a stream, the step that takes beat k, and its steps per frame."""
        name, port = stream.consumer
        if name == SINK:
            beats = stream.port.beats
            return SINK, after(beats), beats
        timing = self.instances[name].timing
        stage, at = timing.takes[port]
        return f"{name}.{stage}", at, timing.stages[stage]

    def joined(self, name: str, arc: Arc) -> Arc:
        """A wait of one unit's stages and ports as one of the graph's stages."""
        source, destination, index = f"{name}.{arc.src}", f"{name}.{arc.dst}", arc.index
        if name == SOURCE:
            source = destination = SOURCE
        out = self._from_port.get((name, arc.dst))
        if out is not None:
            destination, at, steps = self._taker(out)
            spread = np.full(steps, NONE)
            spread[at] = index
            index = spread
        into = self._from_port.get((name, arc.src))
        if into is not None:
            source, at, steps = self._taker(into)
            index = self._follow(index, at, steps)
        return Arc(source, destination, arc.delay, index, name)

    @staticmethod
    def _follow(index: Ints, at: Ints, steps: int) -> Ints:
        """Beat numbers to the steps that take them; negative beats are of earlier frames."""
        waits = index != NONE
        frame, beat = np.divmod(np.where(waits, index, 0), len(at))
        return np.where(waits, at[beat] + frame * steps, index)

    def leaving(self, name: str, port: str = "o") -> tuple[str, Ints]:
        """The stage that takes what leaves through a port, and the step that takes beat k."""
        return self._taker(self._from_port[name, port])[:2]

    def transfers(self, times: Mapping[str, Ints], frames: int) -> dict[str, Ints]:
        """The cycles of every transfer, by stream, as far as `times` of `frames` frames go."""
        found: dict[str, Ints] = {}
        for stream in self.streams:
            stage, at, steps = self._taker(stream)
            every = (np.arange(frames)[:, None] * steps + at).ravel()
            taken = times[stage]
            found[stream.name] = taken[every[: np.searchsorted(every, len(taken))]]
        return found
