"""The sliding window: a ring of lines, one sequencer that fills it and one that reads it.

Input words (a pixel's channels, `simd` at a time) enter in order while the ring has room; reads go
through (oy, ox, ky, kx, channel group).  A read waits for its own word only; a word is released
when the last position that needs it is done.  Addresses advance by constants, without multipliers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory

from ..models.fixed import Ints, ProgramError
from ..models.ops import Window
from .elastic import counters, numbers, stored
from .timing import NONE, Arc, Timing, after
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

Counters = dict[str, tuple[Signal, Value]]


@dataclass(frozen=True, eq=False)
class Buffered:
    """A window with a ring of `depth` words; depth 0 stands for the least that works."""

    op: Window
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Walk:
    """The reads of one frame: which word each step wants, and what each position still needs.

    Steps go through (position, tap, group); `words` is the number of input words in a frame.
    """

    op: Window
    place: Place

    @cached_property
    def groups(self) -> int:
        """Words in a pixel."""
        return self.place.inputs[0].channels // self.place.fold.simd

    @cached_property
    def words(self) -> int:
        """Input words in a frame."""
        return self.place.inputs[0].elements // self.place.fold.simd

    @cached_property
    def taps(self) -> tuple[Ints, np.ndarray]:
        """Raw pixel index and validity of each (oy, ox, ky, kx); padding has indices outside."""
        height, width, _ = self.place.inputs[0].shape
        iy = self.op.rows(height)[:, None, :, None]
        ix = self.op.columns(width)[None, :, None, :]
        valid = (iy >= 0) & (iy < height) & (ix >= 0) & (ix < width)
        return iy * width + ix, valid

    @cached_property
    def reads(self) -> Ints:
        """Raw word index of each step."""
        pixel = self.taps[0].reshape(-1, 1)
        return (pixel * self.groups + np.arange(self.groups)).ravel()

    @cached_property
    def valid(self) -> np.ndarray:
        """Whether each step reads a word, not padding."""
        return np.repeat(self.taps[1].ravel(), self.groups)

    @cached_property
    def waits(self) -> Ints:
        """For each step the word that it waits for, or `NONE`: its own, if it reads one.

        Padding at the first position waits for the frame's first word, so that nothing of a frame
        leaves before the frame has begun.
        """
        begins = np.arange(len(self.reads)) < self.steps_per_position
        return np.where(self.valid, self.reads, np.where(begins, 0, NONE))

    @cached_property
    def low(self) -> Ints:
        """For each position, and one past the last, the first word that is still needed."""
        pixel, valid = self.taps
        positions = valid.shape[0] * valid.shape[1]
        end = self.words // self.groups
        least = np.where(valid, pixel, end).reshape(positions, -1).min(1)
        still = np.minimum.accumulate(np.append(least, end)[::-1])[::-1]
        # The first position starts at word 0: words that no window needs are consumed all the same.
        still[0] = 0
        return still * self.groups

    @cached_property
    def steps_per_position(self) -> int:
        """Reads at one output position."""
        return len(self.reads) // (len(self.low) - 1)

    @cached_property
    def least_depth(self) -> int:
        """The smallest ring in which every position finds all its words."""
        position = np.arange(len(self.reads)) // self.steps_per_position
        span = np.where(self.valid, self.reads - self.low[position] + 1, 1)
        return max(1, int(span.max()))

    def release(self, depth: int) -> Ints:
        """For each input word the step whose end makes room for it in a ring of `depth`."""
        frame, rest = np.divmod(np.arange(self.words) - depth, self.words)
        position = np.searchsorted(self.low, rest, side="right")
        positions = len(self.low) - 1
        return (frame * positions + position) * self.steps_per_position - 1


def walk_of(op: Buffered, place: Place) -> tuple[Walk, int]:
    """The reads of a window, and the depth of its ring."""
    walk = Walk(op.op, place)
    depth = op.depth or walk.least_depth
    if depth < walk.least_depth:
        raise ProgramError(
            f"a window ring of {depth} words is too small; it needs {walk.least_depth} or more"
        )
    return walk, depth


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
    waits = walk_of(op, place)[0].waits
    return len(waits) - int(waits.argmax()) + 1


class SlidingWindow(Unit):
    """The component of `Window`."""

    op: Buffered

    def elaborate(self, platform: object) -> Module:
        m = Module()
        walk, depth = walk_of(self.op, self.place)
        window, (height, width, _) = self.op.op, self.place.inputs[0].shape
        rows, columns = window.output_size(height, width)
        width_in = self.ports.inputs[0].width
        m.submodules.ring = ring = memory.Memory(shape=width_in, depth=depth, init=[])
        write, read = ring.write_port(), ring.read_port()

        put, take = Signal(name="put"), Signal(name="take")
        padded, begun = Signal(name="padded"), Signal(name="begun")
        count = counters(
            m, take, group=walk.groups, kx=window.kernel[1], ky=window.kernel[0],
            ox=columns, oy=rows,
        )  # fmt: skip
        wraps = [last for _, last in count.values()]
        steps = self._strides(walk, rows, columns)

        # Read and write addresses go round the ring.
        read_at = Signal(range(depth), init=int(walk.reads[0]) % depth)
        write_at = Signal(range(depth))
        with m.If(take):
            m.d.sync += read_at.eq(_ahead(read_at, _by_wrap(steps, wraps, depth), depth))
        with m.If(put):
            m.d.sync += write_at.eq(Mux(write_at == depth - 1, 0, write_at + 1))

        # Ahead: words written less the raw index of the next read; held: those not yet released.
        ahead_shape, held_shape = self._bounds(walk, depth)
        ahead = Signal(ahead_shape, init=-int(walk.reads[0]))
        held = Signal(held_shape)
        released = self._released(m, walk, rows, columns, count, wraps)
        m.d.sync += [
            ahead.eq(ahead + put - Mux(take, _by_wrap(steps, wraps, None), 0)),
            held.eq(held + put - Mux(take & wraps[0] & wraps[1] & wraps[2], released, 0)),
        ]
        m.d.comb += [
            self.i.ready.eq(held < depth),
            put.eq(self.i.valid & self.i.ready),
            padded.eq(self._padding(m, take, count, wraps)),
            begun.eq((count["ox"][0] != 0) | (count["oy"][0] != 0) | (held > 0)),
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

    def _strides(self, walk: Walk, rows: int, columns: int) -> list[int]:
        """How far the raw index moves when 0, 1, 2, ... of the counters wrap."""
        window = self.op.op
        sizes = [walk.groups, window.kernel[1], window.kernel[0], columns, rows]
        step, strides = 1, []
        for size in sizes:
            # The first step at which exactly the inner counters are at their last value.
            strides.append(int(walk.reads[step] - walk.reads[step - 1]) if size > 1 else 0)
            step *= size
        strides.append(walk.words + int(walk.reads[0] - walk.reads[-1]))
        return strides

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

    def _released(
        self, m: Module, walk: Walk, rows: int, columns: int, count: Counters, wraps: list[Value]
    ) -> Value:
        """Words released at the end of the current position, as a function of (oy, ox)."""
        amounts = np.diff(walk.low).reshape(rows, columns)
        released = Signal(range(int(amounts.max()) + 1))
        m.d.comb += released.eq(
            _by_runs(
                count["oy"][0],
                [_Row(tuple(row)) for row in amounts.tolist()],
                lambda row: _by_runs(count["ox"][0], list(row.amounts), C),
            )
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


def _by_wrap(strides: list[int], wraps: list[Value], modulo: int | None) -> Value:
    """The stride that belongs to the number of counters that wrap, innermost first."""

    def constant(stride: int) -> Value:
        return C(stride if modulo is None else stride % modulo)

    result = constant(strides[-1])
    for level in reversed(range(len(wraps))):
        result = Mux(wraps[level], result, constant(strides[level]))
    return result


def _ahead(at: Value, step: Value, depth: int) -> Value:
    """(at + step) mod depth, for step < depth."""
    moved = at + step
    return Mux(moved >= depth, moved - depth, moved)


@component.register
def _(op: Window, place: Place) -> Unit:
    return SlidingWindow(Buffered(op), place)


@component.register
def _(op: Buffered, place: Place) -> Unit:
    return SlidingWindow(op, place)
