"""Depth to space, `simd` channels a cycle: a ring of blocks, written and read in two orders.

Words arrive block by block and leave line by line.  One sequencer fills the ring, the other goes
through the lines of a row of blocks, word by word; each step waits for its own word, and steps
beyond the image give none.  While the last line of a row is read, each block of it is released.

With B = by*bx*(C/SIMD) words in a block, W' blocks in a row:

    H' * W' * B cycles a frame,  no bubbles between frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth.hdl import C, Module, Mux, Signal, Value, signed
from amaranth.lib import memory

from ..models.fixed import Ints
from ..models.ops import DepthToSpace
from .elastic import around, by_wrap, counters
from .timing import Arc, Timing, after, chosen
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


@foldings.register
def _(op: DepthToSpace, place: Place) -> tuple[Fold, ...]:
    return tuple(Fold(1, simd) for simd in divisors(place.output.channels))


@ports.register
def _(op: DepthToSpace, place: Place) -> Ports:
    lanes = place.fold.simd
    return Ports((Port.of(place.inputs[0], lanes),), (Port.of(place.output, lanes),))


@dataclass(frozen=True, eq=False)
class Lines:
    """The reads of a frame: of `rows` of `columns` blocks each, `groups` words a pixel."""

    op: DepthToSpace
    rows: int
    columns: int
    groups: int

    @classmethod
    def of(cls, op: DepthToSpace, place: Place) -> Lines:
        """Those of a unit."""
        rows, columns, _ = place.inputs[0].shape
        return cls(op, rows, columns, place.output.channels // place.fold.simd)

    @property
    def levels(self) -> dict[str, int]:
        """The counters that the steps go through, with their sizes, the innermost first."""
        by, bx = self.op.block
        return {"group": self.groups, "x": bx, "column": self.columns, "y": by, "row": self.rows}

    @property
    def line(self) -> int:
        """Words of a block in one line."""
        return self.op.block[1] * self.groups

    @property
    def block(self) -> int:
        """Words of a block."""
        return self.op.block[0] * self.line

    @property
    def words(self) -> int:
        """Words, and steps, of a frame."""
        return self.rows * self.columns * self.block

    @cached_property
    def reads(self) -> Ints:
        """The word of each step."""
        by, _ = self.op.block
        words = np.arange(self.words).reshape(self.rows, self.columns, by, self.line)
        return words.swapaxes(1, 2).ravel()

    @cached_property
    def emits(self) -> np.ndarray:
        """Whether each step gives a word: its pixel lies in the image."""
        (by, bx), (height, width) = self.op.block, self.op.size
        lines = np.arange(self.rows * by) < height
        pixels = np.repeat(np.arange(self.columns * bx) < width, self.groups)
        return np.logical_and.outer(lines, pixels).ravel()

    @property
    def lead(self) -> int:
        """Cycles before the first step of a row that can be followed by all others at once."""
        return (self.columns - 1) * (self.op.block[0] - 1) * self.line + 1

    @property
    def depth(self) -> int:
        """The least ring in which a word comes and one goes in every cycle.

        Step k of a row is then taken `lead` + k cycles after its first word has come, and block b
        is released at the end of step (by - 1) * columns * line + (b + 1) * line - 1: when the word
        `depth` behind its first one comes, also for the first block, which is held longest.
        """
        return self.lead + ((self.op.block[0] - 1) * self.columns + 1) * self.line

    @property
    def strides(self) -> list[int]:
        """How far the word moves when 0, 1, 2, ... of the counters wrap."""
        if self.op.block[0] == 1:
            return [1] * 6
        beside, below = 1 + self.block - self.line, 1 - (self.columns - 1) * self.block
        return [1, 1, beside, below, 1, 1]

    @property
    def ahead_bits(self) -> int:
        """Bits that hold words written less the next one to be read, which may be to come."""
        return max(self.depth, self.block).bit_length() + 1

    def release(self) -> Ints:
        """For each word the step whose end makes room for it."""
        frame, word = np.divmod(after(self.words, self.depth), self.words)
        row, column = np.divmod(word // self.block, self.columns)
        by, _ = self.op.block
        line = row * by + by - 1
        return frame * self.words + (line * self.columns + column + 1) * self.line - 1


@timing.register
def _(op: DepthToSpace, place: Place) -> Timing:
    lines = Lines.of(op, place)
    gives = np.flatnonzero(lines.emits)
    before = np.searchsorted(gives, after(lines.words)) - 1
    return Timing(
        {"write": lines.words, "read": lines.words},
        {"i": ("write", after(lines.words))},
        (
            Arc("read", "write", 1, lines.release()),
            Arc("write", "read", 1, lines.reads),
            Arc("read", "o", 1, gives),
            Arc("o", "read", 0, chosen(lines.emits, before)),
        ),
    )


@fill.register
def _(op: DepthToSpace, place: Place) -> int:
    return 2


@tail.register
def _(op: DepthToSpace, place: Place) -> int:
    lines = Lines.of(op, place)
    last = int(np.flatnonzero(lines.emits)[-1])
    return lines.lead + last + 1 - (lines.words - 1)


class SpaceFiller(Unit):
    """The component of `DepthToSpace`."""

    op: DepthToSpace

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lines = Lines.of(self.op, self.place)
        depth = lines.depth
        width = self.ports.inputs[0].width
        m.submodules.ring = ring = memory.Memory(shape=width, depth=depth, init=[])
        write, read = ring.write_port(), ring.read_port()
        put, take, gives = Signal(name="put"), Signal(name="take"), Signal(name="gives")
        count = counters(m, take, **lines.levels)
        read_at, write_at = Signal(range(depth)), Signal(range(depth))
        # Ahead: words written less the next one to be read; held: those not yet released.
        ahead = Signal(signed(lines.ahead_bits), name="ahead")
        held = Signal(range(depth + 1), name="held")
        wraps = [last for _, last in count.values()]
        stride = by_wrap(lines.strides, wraps)
        with m.If(take):
            m.d.sync += read_at.eq(around(read_at, by_wrap(lines.strides, wraps, depth), depth))
        with m.If(put):
            m.d.sync += write_at.eq(Mux(write_at == depth - 1, 0, write_at + 1))
        done = count["group"][1] & count["x"][1] & count["y"][1]
        m.d.sync += [
            ahead.eq(ahead + put - Mux(take, stride, 0)),
            held.eq(held + put - Mux(take & done, lines.block, 0)),
        ]
        m.d.comb += [
            gives.eq(self._inside(count)),
            self.i.ready.eq(held != depth),
            put.eq(self.i.valid & self.i.ready),
            take.eq((ahead > 0) & (~gives | ~self.o.valid | self.o.ready)),
            write.addr.eq(write_at),
            write.data.eq(self.i.payload),
            write.en.eq(put),
            read.addr.eq(read_at),
            # A step that gives nothing leaves the word that waits to be taken.
            read.en.eq(take & gives),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += self.o.valid.eq((take & gives) | (self.o.valid & ~self.o.ready))
        return m

    def _inside(self, count: dict[str, tuple[Signal, Value]]) -> Value:
        """Whether the pixel of the next step lies in the image."""
        result: Value = C(1, 1)
        for size, block, outer, inner in zip(
            self.op.size, self.op.block, ("row", "column"), ("y", "x"), strict=True
        ):
            if size % block:
                result = result & (~count[outer][1] | (count[inner][0] < size % block))
        return result


@component.register
def _(op: DepthToSpace, place: Place) -> Unit:
    return SpaceFiller(op, place)
