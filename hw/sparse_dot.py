"""The matrix-vector unit of mostly zero weights, folded PE x SIMD: zero tiles take no cycle.

A tile is PE x SIMD weights.  The tiles that are not all zero stand in a static list, row by row,
in memories: their weights, their columns, and the flag that ends a row.  A row of zero tiles keeps
one of them, since it has to emit.  A vector takes a cycle for each kept tile, or for each of its
beats where those are more.

Two sequencers: one writes the beats of the input into a ring of two vectors, so that the next
vector enters while this one is computed; the other takes a step a cycle, which waits for the beat
of its column, and releases the beats of a vector with its last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory

from ..models.fixed import Ints, unsigned
from ..models.ops import SparseDot
from .constant_dot import ConstantMatrixVector, constant_stages, constant_timing, is_constant
from .dot import folded, lanes_of, matrix_of, weight_rows
from .elastic import accumulator, counter, counters, in_block, pipeline, rom, rom_words
from .lanes import Lanes
from .matrix import Folded, Plan, delayed, start_words
from .sums import READ
from .timing import Arc, Timing, after, chosen, pipeline_timing
from .unit import Fold, Place, Unit, component, cycles, fill, tail, timing


@dataclass(frozen=True, eq=False)
class Tiles:
    """The K tiles of all (N/PE) * (S/SIMD) that are computed.

    kept: whether each tile is, row by row; columns, ends: of those that are, the column, and
    whether it ends a row; beats: S/SIMD, which is the beats of a vector.
    """

    kept: np.ndarray
    columns: Ints
    ends: np.ndarray
    beats: int

    @classmethod
    def of(cls, op: SparseDot, fold: Fold) -> Tiles:
        """Those with a weight that is not 0, and the first of each row that has none."""
        return _tiles(op, fold)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def cycles(self) -> int:
        """Cycles of a vector: a step for each tile, and a cycle for each beat."""
        return max(len(self), self.beats)

    @property
    def waiting(self) -> Ints:
        """Steps of a vector that want a beat which no step before them has waited for."""
        before = np.maximum.accumulate(np.append(-1, self.columns))[:-1]
        return np.flatnonzero(self.columns > before)

    @property
    def schedule(self) -> list[int]:
        """A word for each step: its column, and above it the flag that ends a row."""
        high = self.ends.astype(np.int64) << (self.beats - 1).bit_length()
        return (self.columns + high).tolist()

    @property
    def schedule_bits(self) -> int:
        """Bits of such a word."""
        return (self.beats - 1).bit_length() + 1

    @property
    def ring(self) -> int:
        """Words of the ring: the upper vector begins at a power of two."""
        return (1 << (self.beats - 1).bit_length()) + self.beats


@lru_cache(maxsize=1024)
def _tiles(op: SparseDot, fold: Fold) -> Tiles:
    rows, beats = folded(op, fold)
    kept = op.weights.reshape(rows, fold.pe, beats, fold.simd).any((1, 3))
    kept[:, 0] |= ~kept.any(1)
    row, columns = np.nonzero(kept)
    return Tiles(kept.ravel(), columns, np.append(row[1:] > row[:-1], True), beats)


def tile_rows(op: SparseDot, fold: Fold) -> Ints:
    """The weights of the kept tiles in order: (K, PE*SIMD), PE outermost in a word."""
    return weight_rows(op, fold)[Tiles.of(op, fold).kept]


def plan(op: SparseDot, place: Place) -> Plan[Lanes]:
    """The datapath of a unit and its stages."""
    tiles, (lanes, word) = Tiles.of(op, place.fold), lanes_of(op, place)
    beat = place.inputs[0].grid.bits * place.fold.simd
    block = in_block(word, len(tiles)) or in_block(beat, tiles.ring)
    return Plan.of(lanes, READ if block else 0, place.levels)


@timing.register
def _(op: SparseDot, place: Place) -> Timing:
    if is_constant(op, place):
        return constant_timing(op, place)
    tiles = Tiles.of(op, place.fold)
    steps, beats = len(tiles), tiles.beats
    vectors = _vectors(op, place)
    vector = np.arange(vectors)[:, None]
    begins = vector * steps
    waits = (begins + tiles.waiting).ravel()
    lasts = begins.ravel() + steps - 1
    made = pipeline_timing(
        plan(op, place).stages,
        vectors * steps,
        {"waits": waits, "lasts": lasts},
        np.tile(tiles.ends, vectors),
    )
    (read, waiting), (_, releasing) = made.takes["waits"], made.takes["lasts"]
    wants = np.zeros(made.stages[read], np.int64)
    wants[waiting] = (vector * beats + tiles.columns[tiles.waiting]).ravel()
    # The ring holds two vectors: the last step of the one before the last makes room.
    frame, before = np.divmod(np.arange(vectors) - 2, vectors)
    room = np.repeat(frame * made.stages[read] + releasing[before], beats)
    arcs = (
        *made.arcs,
        Arc("write", read, 1, chosen(np.isin(np.arange(len(wants)), waiting), wants)),
        Arc(read, "write", 1, room),
    )
    takes = {"i": ("write", after(vectors * beats))}
    return Timing({"write": vectors * beats, **made.stages}, takes, arcs, made.gaps)


@cycles.register
def _(op: SparseDot, place: Place) -> int:
    return _vectors(op, place) * Tiles.of(op, place.fold).cycles


def _vectors(op: SparseDot, place: Place) -> int:
    return place.inputs[0].elements // op.weights.shape[1]


@fill.register
def _(op: SparseDot, place: Place) -> int:
    if is_constant(op, place):
        return constant_stages(op, place)
    tiles = Tiles.of(op, place.fold)
    # Columns rise within a row: its last one is waited for longest.
    return int(tiles.columns[tiles.ends.argmax()]) + 1 + plan(op, place).stages


@tail.register
def _(op: SparseDot, place: Place) -> int:
    if is_constant(op, place):
        return constant_stages(op, place)
    tiles = Tiles.of(op, place.fold)
    steps, beats = len(tiles), tiles.beats
    # From the first beat of a vector to its last step, where nothing but its beats is waited for.
    alone = int((tiles.columns + 1 + np.arange(steps)[::-1]).max())
    written = ended = before = -1
    for _ in range(min(_vectors(op, place), 4)):
        begin = max(written, before) + 1
        written, before = begin + beats - 1, ended
        ended = max(ended + steps, begin + alone) if ended >= 0 else begin + alone
    return ended - written + plan(op, place).stages


class SparseMatrixVector(Folded):
    """The component of `SparseDot`."""

    op: SparseDot

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tiles, made = Tiles.of(self.op, self.place.fold), plan(self.op, self.place)
        take, leaves, ready = Signal(name="issue"), Signal(name="leaving"), Signal()
        takes = pipeline(m, made.stages, ready, self.o, emit=leaves)
        m.d.comb += take.eq(takes[0])
        step, last = counter(m, len(tiles), take, "step")
        column, end = self._schedule(m, tiles, take)
        x = self._ring(m, tiles, take, last, column, ready)
        lasts = delayed(m, takes, end, "last")
        m.d.comb += leaves.eq(lasts[-1])
        fold = self.place.fold
        matrix = matrix_of(self.op, made, tile_rows(self.op, fold), fold)
        addends = matrix.addends(m, takes, x, matrix.weights(m, step, take))
        width = accumulator(self.place.output.grid).width
        starts = start_words(m, matrix.starts, width, takes, lasts)
        self.accumulate(m, takes[-1], lasts[-1], addends, starts)
        return m

    def _schedule(self, m: Module, tiles: Tiles, take: Value) -> tuple[Value, Value]:
        """The column of the next step, and whether it ends a row, both in registers.

        The memory is read a step ahead; its first word is read in the first cycle, in which no
        step can be taken, since no beat has been written.
        """
        width, words = tiles.schedule_bits, tiles.schedule
        primed, fetch = Signal(), Signal()
        m.d.sync += primed.eq(1)
        m.d.comb += fetch.eq(take | ~primed)
        ahead, _ = counter(m, len(tiles), fetch, "ahead")
        values = np.roll(words, -1)[:, None]
        data = rom(m, "schedule", rom_words(values, unsigned(width)), width, ahead, fetch)
        here = Signal(width, name="here", init=words[0])
        with m.If(take):
            m.d.sync += here.eq(data)
        return here[:-1], here[-1]

    def _ring(
        self, m: Module, tiles: Tiles, take: Value, last: Value, column: Value, ready: Value
    ) -> Value:
        """Write beats in order; the beat of the step that stage 0 took, valid in stage 1."""
        width, beats = self.ports.inputs[0].width, tiles.beats
        m.submodules.ring = ring = memory.Memory(shape=width, depth=tiles.ring, init=[])
        write, read = ring.write_port(), ring.read_port()
        put = Signal()
        at = counters(m, put, beat=beats, write_half=2)
        half, _ = counter(m, 2, take & last, "read_half")
        # Beats written since the first of the vector that is read: less than none while some that
        # the vector before had no use for are still to come.
        there = Signal(signed((2 * beats).bit_length() + 1), name="there")
        m.d.sync += there.eq(there + put - Mux(take & last, beats, 0))
        m.d.comb += [
            self.i.ready.eq(there < 2 * beats),
            put.eq(self.i.valid & self.i.ready),
            ready.eq(there > column),
            write.addr.eq(Cat(at["beat"][0], at["write_half"][0])),
            write.data.eq(self.i.payload),
            write.en.eq(put),
            read.addr.eq(Cat(column, half)),
            read.en.eq(take),
        ]
        return read.data


@component.register
def _(op: SparseDot, place: Place) -> Unit:
    return (ConstantMatrixVector if is_constant(op, place) else SparseMatrixVector)(op, place)
