"""The sliding window: a ring of lines, one sequencer that fills it and one that reads it.

Input words (a pixel's channels, `simd` at a time) enter in order while the ring has room; reads go
through the levels of `walk.py`.  A read waits for its own word only; a word is released when the
last position that needs it is done.  Addresses advance by constants, without multipliers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory

from ..models.ops import Window
from .elastic import around, by_wrap, counters, numbers, stored
from .timing import Arc, Timing, after
from .unit import (
    Fold,
    Place,
    Port,
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
from .walk import Buffered, Walk, walk_of

Counters = dict[str, tuple[Signal, Value]]


@foldings.register
def _(op: Window, place: Place) -> tuple[Fold, ...]:
    return tuple(Fold(1, simd) for simd in divisors(place.inputs[0].channels))


@ports.register
def _(op: Window, place: Place) -> Ports:
    lanes = place.fold.simd
    return Ports((Port.of(place.inputs[0], lanes),), (Port.of(place.output, lanes),))


@ports.register
def _(op: Buffered, place: Place) -> Ports:
    return ports(op.op, place)


@timing.register
def _(op: Window, place: Place) -> Timing:
    return timing(Buffered(op), place)


@timing.register
def _(op: Buffered, place: Place) -> Timing:
    walk, depth = walk_of(op, place)
    steps = len(walk.reads)
    return Timing(
        {"write": walk.words, "read": steps},
        {"i": ("write", after(walk.words))},
        (
            Arc("read", "write", 1, walk.release(depth)),
            Arc("write", "read", 1, walk.waits),
            Arc("read", "o", 1, after(steps)),
            Arc("o", "read", 0, after(steps, 1)),
        ),
    )


@fill.register
def _(op: Window, place: Place) -> int:
    return fill(Buffered(op), place)


@fill.register
def _(op: Buffered, place: Place) -> int:
    # The first step waits for its word; padding there, for the frame's first.
    return int(walk_of(op, place)[0].waits[0]) + 2


@tail.register
def _(op: Window, place: Place) -> int:
    return tail(Buffered(op), place)


@tail.register
def _(op: Buffered, place: Place) -> int:
    walk = walk_of(op, place)[0]
    # Words behind the last one that is read come while reads go on.
    unread = walk.words - 1 - int(walk.waits.max())
    return len(walk.waits) - int(walk.waits.argmax()) + 1 - unread


class SlidingWindow(Unit):
    """The component of `Window`."""

    op: Buffered

    def elaborate(self, platform: object) -> Module:
        m = Module()
        walk, depth = walk_of(self.op, self.place)
        width = self.ports.inputs[0].width
        m.submodules.ring = ring = memory.Memory(shape=width, depth=depth, init=[])
        write, read = ring.write_port(), ring.read_port()

        put, take = Signal(name="put"), Signal(name="take")
        padded, begun = Signal(name="padded"), Signal(name="begun")
        count = counters(m, take, **walk.levels)
        wraps = [last for _, last in count.values()]

        # Read and write addresses go round the ring.
        read_at = Signal(range(depth), init=int(walk.reads[0]) % depth)
        write_at = Signal(range(depth))
        with m.If(take):
            m.d.sync += read_at.eq(around(read_at, by_wrap(walk.strides, wraps, depth), depth))
        with m.If(put):
            m.d.sync += write_at.eq(Mux(write_at == depth - 1, 0, write_at + 1))

        # Ahead: words written less the raw index of the next read; held: those not yet released.
        ahead_shape, held_shape = self._bounds(walk, depth)
        ahead = Signal(ahead_shape, init=-int(walk.reads[0]))
        first = int(walk.low[0])
        held = Signal(held_shape, init=-first)
        released = self._released(m, walk, count)
        m.d.sync += [
            ahead.eq(ahead + put - Mux(take, by_wrap(walk.strides, wraps), 0)),
            held.eq(held + put - Mux(take & wraps[0] & wraps[1] & wraps[2], released, 0)),
        ]
        m.d.comb += [
            self.i.ready.eq(held < depth),
            put.eq(self.i.valid & self.i.ready),
            padded.eq(self._padding(m, take, count, wraps)),
            begun.eq((count["ox"][0] != 0) | (count["oy"][0] != 0) | (held > -first)),
            take.eq(Mux(padded, begun, ahead > 0) & (~self.o.valid | self.o.ready)),
            write.addr.eq(write_at),
            write.data.eq(self.i.payload),
            write.en.eq(put),
            read.addr.eq(read_at),
            read.en.eq(take),
        ]
        m.d.sync += self.o.valid.eq(take | (self.o.valid & ~self.o.ready))
        self._output(m, take, padded, read.data)
        return m

    def _bounds(self, walk: Walk, depth: int) -> tuple[object, object]:
        """Shapes that hold `ahead` and `held` at any time, from the sequence of reads."""
        frames = np.concatenate([walk.reads, walk.reads + walk.words])
        valid = np.concatenate([walk.valid, walk.valid])
        # A read that was taken proves that its word, and all before it, had been written.
        written = np.maximum.accumulate(np.where(valid, frames + 1, 0))
        before = np.concatenate([[0], written[:-1]])
        low = np.concatenate([walk.low[:-1], walk.low[:-1] + walk.words])
        position = np.arange(len(frames)) // walk.steps_per_position
        ahead = (int((before - frames).min()), int((low[position] + depth - frames).max()))
        least = int((before - low[position]).min())
        return (
            signed(max((~ahead[0]).bit_length(), ahead[1].bit_length()) + 2),
            signed(max((~min(least, -1)).bit_length(), depth.bit_length()) + 2),
        )

    def _released(self, m: Module, walk: Walk, count: Counters) -> Value:
        """Words released at the end of the current position, as a function of (oy, ox)."""
        amounts = walk.released
        released = Signal(range(int(amounts.max()) + 1))
        chosen = _by_runs(
            count["oy"][0],
            [_Row(tuple(row)) for row in amounts.tolist()],
            lambda row: _by_runs(count["ox"][0], list(row.amounts), C),
        )
        m.d.comb += released.eq(
            Mux(count["again"][1], chosen, 0) if walk.levels["again"] > 1 else chosen
        )
        return released

    def _padding(self, m: Module, take: Value, count: Counters, wraps: list[Value]) -> Value:
        """Whether the next read is of padding: its row or column lies outside the input."""
        window, (height, width, _) = self.op.op, self.place.inputs[0].shape
        outside: list[Value] = []
        axes = (
            ("row", height, window.rows(height), 0, (2, 1), "oy", wraps[:2], wraps[:4]),
            ("column", width, window.columns(width), 1, (1, 0), "ox", wraps[:1], wraps[:3]),
        )
        for name, size, reads, axis, _, outer, tap_wraps, position_wraps in axes:
            if reads.min() >= 0 and reads.max() < size:
                continue
            shape = signed(max(int(reads.max()).bit_length(), (~int(reads.min())).bit_length()) + 1)
            at = Signal(shape, name=name, init=int(reads[0, 0]))
            first = Signal(shape, name=f"{name}_first", init=int(reads[0, 0]))
            tap_last = count["ky" if axis == 0 else "kx"][1]
            following = Signal(shape, name=f"{name}_following")
            m.d.comb += following.eq(
                Mux(count[outer][1], int(reads[0, 0]), first + window.stride[axis])
            )
            with m.If(take & _all(tap_wraps)):
                with m.If(~tap_last):
                    m.d.sync += at.eq(at + window.dilation[axis])
                with m.Elif(_all(position_wraps)):
                    m.d.sync += [at.eq(following), first.eq(following)]
                with m.Else():
                    m.d.sync += at.eq(first)
            if reads.min() < 0:
                outside.append(at < 0)
            if reads.max() >= size:
                outside.append(at >= size)
        result: Value = C(0, 1)
        for term in outside:
            result = result | term
        return result

    def _output(self, m: Module, take: Value, padded: Value, data: Value) -> None:
        source, target = self.place.inputs[0].grid, self.place.output.grid
        lanes = self.place.fold.simd
        is_pad = Signal()
        with m.If(take):
            m.d.sync += is_pad.eq(padded)
        words = []
        for value in numbers(m, data, lanes, source, "x"):
            pad = C(int(target.encode(np.array(self.op.op.pad))), target.bits)
            read = stored(value, target)
            words.append(
                Mux(is_pad, pad, read) if padded_somewhere(self.op.op, self.place) else read
            )
        m.d.comb += self.o.payload.eq(Cat(*words))


def padded_somewhere(op: Window, place: Place) -> bool:
    """True if some position reads padding."""
    height, width, _ = place.inputs[0].shape
    return bool(op.padded_taps(height, width).any())


@dataclass(frozen=True)
class _Row:
    amounts: tuple[int, ...]


def _all(flags: list[Value]) -> Value:
    result: Value = C(1, 1)
    for flag in flags:
        result = result & flag
    return result


def _by_runs(counter: Value, values: Sequence[Any], render: Callable[[Any], Value]):
    """`values[counter]` for a list of few runs of equal values: comparisons, no table."""
    result = render(values[0])
    for at in range(1, len(values)):
        if values[at] != values[at - 1]:
            result = Mux(counter >= at, render(values[at]), result)
    return result


@component.register
def _(op: Window, place: Place) -> Unit:
    return SlidingWindow(Buffered(op), place)


@component.register
def _(op: Buffered, place: Place) -> Unit:
    return SlidingWindow(op, place)
