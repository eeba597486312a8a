"""Tap transforms, `pe` channels a cycle: an adder graph between two rows of memories, one a tap.

Words of `pe` channels arrive and leave tap by tap, and the adder graph wants all taps of a channel:
each tap of the input, and each of the output, has a memory of C/PE words.  The words of one group
of channels are read from all memories at once, and what the graph makes of them is written to all
at once, so that a vector stands once in either row, no word is moved twice, and

    max(T, J) * (C/PE) cycles a vector,  no bubbles between vectors.

Three sequencers: one writes words as they come, each group's first one when the group of the vector
before has been read; the elastic stages of the graph take a step a group, when its last tap has
come, and leave when the group of the vector before has gone; one reads the results tap by tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import memory

from ..models.fixed import Ints
from ..models.ops import TapTransform
from .adder_graph import Graph, adder_graph, depth_of
from .constant_dot import Staged, adders_in_stage
from .elastic import choose, counters, lane, number, resize, stages_until
from .elementwise import same_lanes
from .timing import Arc, Timing, after, chosen
from .unit import (
    Fold,
    Place,
    Ports,
    Unit,
    component,
    divisors,
    fill,
    foldings,
    ports,
    tail,
    timing,
)


@foldings.register
def _(op: TapTransform, place: Place) -> tuple[Fold, ...]:
    channels = place.output.channels // len(op.matrix)
    return tuple(Fold(pe) for pe in divisors(channels))


@ports.register
def _(op: TapTransform, place: Place) -> Ports:
    return same_lanes(place)


@dataclass(frozen=True)
class Banks:
    """Sizes: `vectors` of a frame, each of `taps` words for every group, which become `results`.

    stages: elastic stages, the first of which reads the memories, and the last writes them.
    """

    vectors: int
    taps: int
    results: int
    groups: int
    stages: int

    @property
    def steps(self) -> int:
        """Groups of a frame: steps of the stages."""
        return self.vectors * self.groups


def banks(op: TapTransform, place: Place) -> Banks:
    """The sizes of a unit."""
    results, taps = op.matrix.shape
    groups = place.inputs[0].channels // taps // place.fold.pe
    vectors = place.inputs[0].elements // place.inputs[0].channels
    graph = max(1, -(-depth_of(op.matrix) // adders_in_stage(place)))
    return Banks(vectors, taps, results, groups, 1 + graph)


def graph_of(op: TapTransform, place: Place) -> Graph:
    """The adder graph of each lane, for the ranges of all channels."""
    edge, taps = place.inputs[0], op.matrix.shape[1]
    return adder_graph(
        op.matrix, edge.lo.reshape(taps, -1).min(1), edge.hi.reshape(taps, -1).max(1)
    )


@timing.register
def _(op: TapTransform, place: Place) -> Timing:
    of = banks(op, place)
    lag = of.stages - 1
    vector, group = np.divmod(after(of.steps), of.groups)
    words, beats = of.taps * of.groups, of.results * of.groups
    first = after(of.vectors * words) % words < of.groups
    begins = after(of.vectors * beats) % beats < of.groups
    arcs = (
        Arc("write", "read", 1, vector * words + words - of.groups + group),
        Arc("read", "write", 0, chosen(first, _steps(first) - of.groups)),
        Arc("read", "done", lag, after(of.steps)),
        Arc("done", "read", 0, after(of.steps, lag)),
        Arc("emit", "done", 0, vector * beats - of.groups + group),
        Arc("done", "emit", 1, chosen(begins, _steps(begins))),
        Arc("emit", "o", 1, after(of.vectors * beats)),
        Arc("o", "emit", 0, after(of.vectors * beats, 1)),
    )
    stages = {
        "write": of.vectors * words,
        "read": of.steps,
        "done": of.steps,
        "emit": of.vectors * beats,
    }
    return Timing(stages, {"i": ("write", after(of.vectors * words))}, arcs)


def _steps(mask: np.ndarray) -> Ints:
    """The number of each step among those where `mask` holds."""
    return np.cumsum(mask) - 1


@fill.register
def _(op: TapTransform, place: Place) -> int:
    of = banks(op, place)
    return (of.taps - 1) * of.groups + of.stages + 2


@tail.register
def _(op: TapTransform, place: Place) -> int:
    of = banks(op, place)
    begin = fill(op, place)
    last = begin + ((of.vectors - 1) * max(of.taps, of.results) + of.results) * of.groups - 1
    return last - _last_word(of, begin)


def _last_word(of: Banks, begin: int) -> int:
    """The cycle of the last input word, where the first results leave in cycle `begin`.

    Words come one a cycle until more results than taps hold them up: then results leave without a
    break, a group is done when that of the vector before has gone, and one is read when as many as
    there are stages behind it are done.
    """
    free = of.vectors * of.taps * of.groups - 1
    if of.results <= of.taps or of.vectors == 1:
        return free
    step = after(of.steps - of.groups, of.stages - 1)
    vector, group = np.divmod(step, of.groups)
    gone = begin - 1 + (vector * of.results - 1) * of.groups + group
    read = np.maximum.accumulate(np.where(vector > 0, gone, 0) - step) + step
    # Behind the word that takes the place of a group come those of all other groups and taps.
    behind = (of.taps - 1) * of.groups + of.groups - 1 - np.arange(of.groups)
    return max(free, int((read[-of.groups :] + behind).max()))


class TapTransformer(Unit):
    """The component of `TapTransform`."""

    op: TapTransform

    def elaborate(self, platform: object) -> Module:
        m = Module()
        of = banks(self.op, self.place)
        put, read, room = Signal(name="put"), Signal(name="read"), Signal(name="room")
        there = Signal(range(of.groups + 1), name="there")
        take = stages_until(m, of.stages, there != 0, room)
        m.d.comb += read.eq(take[0])
        x = self._collect(m, of, put, read, there)
        rows = self._transformed(m, take, x)
        self._hand_out(m, of, take[-1], room, rows)
        return m

    def _collect(self, m: Module, of: Banks, put: Value, read: Value, there: Signal) -> list[Value]:
        """Write words as they come; the words of the group that was read, one of each tap.

        begun: groups that are not read and whose first word has come; there: whose last has.
        """
        at = counters(m, put, group=of.groups, tap=of.taps)
        (group, _), (tap, last) = at["group"], at["tap"]
        begun, first = Signal(range(of.groups + 1), name="begun"), Signal(name="first_tap")
        m.d.comb += [
            first.eq(tap == 0),
            self.i.ready.eq(~first | (begun != of.groups) | read),
            put.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += [
            begun.eq(begun + (put & first) - read),
            there.eq(there + (put & last) - read),
        ]
        where, _ = counters(m, read, read_group=of.groups)["read_group"]
        found: list[Value] = []
        for k in range(of.taps):
            bank = Bank(m, f"tap{k}", len(self.i.payload), of.groups)
            bank.write(put & (tap == k), group, self.i.payload)
            found.append(bank.clocked(where, read))
        return found

    def _transformed(self, m: Module, take: list[Signal], x: Sequence[Value]) -> list[Value]:
        """The words of all results, in the last stage."""
        graph, source = graph_of(self.op, self.place), self.place.inputs[0].grid
        bits, lanes = self.place.output.grid.bits, list[list[Value]]()
        for k in range(self.place.fold.pe):
            inputs: list[Value] = []
            for tap, word in enumerate(x):
                value = number(lane(word, k, source), source)
                wire = Signal(value.shape(), name=f"x{tap}_{k}")
                m.d.comb += wire.eq(value)
                inputs.append(wire)
            # Behind the stage that reads stand those of the graph.
            made = Staged(m, graph, inputs, take[1:], adders_in_stage(self.place), f"_{k}")
            lanes.append([resize(row, bits) for row in made.rows()])
        return [Cat(*row) for row in zip(*lanes, strict=True)]

    def _hand_out(
        self, m: Module, of: Banks, done: Value, room: Signal, rows: Sequence[Value]
    ) -> None:
        """Write the results of a group at once, and let them leave word by word.

        waiting: groups that are done and whose first result has not been read; held: whose last has
        not.
        """
        emit = Signal(name="emit")
        at = counters(m, emit, out_group=of.groups, result=of.results)
        (group, _), (result, last) = at["out_group"], at["result"]
        waiting = Signal(range(of.groups + 1), name="waiting")
        held, first = Signal(range(of.groups + 1), name="held"), Signal(name="first_result")
        m.d.comb += [
            first.eq(result == 0),
            emit.eq((~first | (waiting != 0)) & (~self.o.valid | self.o.ready)),
            room.eq((held != of.groups) | (emit & last)),
        ]
        m.d.sync += [
            waiting.eq(waiting + done - (emit & first)),
            held.eq(held + done - (emit & last)),
            self.o.valid.eq(emit | (self.o.valid & ~self.o.ready)),
        ]
        to, _ = counters(m, done, done_group=of.groups)["done_group"]
        words: list[Value] = []
        for k, row in enumerate(rows):
            bank = Bank(m, f"result{k}", len(row), of.groups)
            bank.write(done, to, row)
            words.append(bank.at(group))
        with m.If(emit):
            m.d.sync += self.o.payload.eq(choose(words, result))


class Bank:
    """A memory of so many words, or a register; what is read was there before a write."""

    def __init__(self, m: Module, name: str, width: int, depth: int) -> None:
        self.m, self.name, self.width = m, name, width
        self.memory = memory.Memory(shape=width, depth=depth, init=[]) if depth > 1 else None
        self.word = Signal(width, name=name)
        if self.memory is not None:
            m.submodules[name] = self.memory

    def write(self, enable: Value, at: Value, word: Value) -> None:
        """Write a word where `enable` holds."""
        if self.memory is None:
            with self.m.If(enable):
                self.m.d.sync += self.word.eq(word)
            return
        port = self.memory.write_port()
        self.m.d.comb += [port.en.eq(enable), port.addr.eq(at), port.data.eq(word)]

    def at(self, where: Value) -> Value:
        """The word at a place."""
        if self.memory is None:
            return self.word
        port = self.memory.read_port(domain="comb")
        self.m.d.comb += port.addr.eq(where)
        return port.data

    def clocked(self, where: Value, enable: Value) -> Value:
        """The word at a place, there in the cycle after `enable`, to stay."""
        if self.memory is None:
            held = Signal(self.width, name=f"{self.name}_read")
            with self.m.If(enable):
                self.m.d.sync += held.eq(self.word)
            return held
        port = self.memory.read_port()
        self.m.d.comb += [port.addr.eq(where), port.en.eq(enable)]
        return port.data


@component.register
def _(op: TapTransform, place: Place) -> Unit:
    return TapTransformer(op, place)
