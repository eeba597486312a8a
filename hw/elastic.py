"""Building blocks of elastic units: pipelines whose stages wait only for data and for room."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Shape, Signal, Value, ValueLike, signed
from amaranth.lib import memory

from ..models.fixed import Grid, Ints
from .beats import integers, pack_lanes


def pipeline(m: Module, stages: int, start: ValueLike, o: Any, emit: ValueLike = 1) -> list[Signal]:
    """Add the control of `stages` elastic stages and return their `take` signals.

    Stage 0 takes a step when `start` holds and the register behind it is free or being freed; the
    last stage, on steps where `emit` holds, waits for the output register `o` instead.  Its timing
    is `timing.pipeline_timing`.  Registers between stages are the caller's, written under
    `take[k]`; so is `o.payload`, written under `take[-1]`.
    """
    emits = Signal(name="emits")
    m.d.comb += emits.eq(Value.cast(emit) != 0)
    leaves = Signal(name="leaves")
    m.d.comb += leaves.eq(~emits | ~o.valid | o.ready)
    take = stages_until(m, stages, start, leaves)
    m.d.sync += o.valid.eq((take[-1] & emits) | (o.valid & ~o.ready))
    return take


def stages_until(m: Module, stages: int, start: ValueLike, leaves: Value) -> list[Signal]:
    """The control of `pipeline`, whose last stage takes a step where `leaves` holds.

    A register is being freed where any behind it is empty or the last step leaves: that is one
    wide OR a stage, whose depth does not grow as a chain of `take[k + 1]` would.
    """
    take = [Signal(name=f"take{k}") for k in range(stages)]
    full = [Signal(name=f"full{k}") for k in range(stages - 1)]
    for k in range(stages):
        here = Value.cast(start) if k == 0 else full[k - 1]
        m.d.comb += take[k].eq(here & (leaves | ~Cat(*full[k:]).all()))
    for k, flag in enumerate(full):
        m.d.sync += flag.eq(take[k] | (flag & ~take[k + 1]))
    return take


def counter(m: Module, limit: int, advance: ValueLike, name: str) -> tuple[Signal, Value]:
    """Count 0 .. limit - 1 and wrap, one up whenever `advance` holds; also whether it is last."""
    value = Signal(range(limit), name=name)
    last = Signal(name=f"{name}_last")
    m.d.comb += last.eq(value == limit - 1)
    if limit > 1:
        with m.If(Value.cast(advance)):
            m.d.sync += value.eq(Mux(last, 0, value + 1))
    return value, last


def counters(m: Module, advance: ValueLike, **limits: int) -> dict[str, tuple[Signal, Value]]:
    """Nested counters, the innermost first: each advances when all inner ones wrap."""
    made: dict[str, tuple[Signal, Value]] = {}
    carry = Value.cast(advance)
    for name, limit in limits.items():
        made[name] = counter(m, limit, carry, name)
        carry = carry & made[name][1]
    return made


BLOCK_BITS = 1536
"""Bits of a constant memory that are worth a block RAM: 96 LUTs of 16 bits."""
BLOCK_LEAST = 64
"""Words below which a constant memory stays in LUTs, which hold 16 or 64 of them each."""
BLOCKS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Shapes (width, depth) of a block RAM of 18 kbit, of ECP5 and Xilinx 7 alike."""


def in_block(width: int, depth: int) -> bool:
    """Whether a constant memory is asked to be in block RAM: where each block saves enough LUTs.

    Left alone, Yosys takes blocks only for twice as many words (ECP5) or for none (Xilinx 7).
    """
    blocks = min(ceil(width / wide) * ceil(depth / deep) for wide, deep in BLOCKS)
    return depth >= BLOCK_LEAST and width * depth >= BLOCK_BITS * blocks


class Rom(memory.Memory):
    """A constant memory of `words` with one clocked read port.

    Amaranth handles initial values bit by bit, so they are given to its own simulator alone; a
    platform (of codegen) takes `words` as they are.
    """

    def __init__(self, words: Sequence[int], width: int) -> None:
        attributes = {"rom_style": "block"} if in_block(width, len(words)) else {}
        super().__init__(shape=width, depth=len(words), init=[], attrs=attributes)
        self.words = words
        self.port = self.read_port()

    def elaborate(self, platform: Any) -> Any:
        if platform is None:
            self.init = self.words
        return super().elaborate(platform)


def rom(
    m: Module, name: str, words: Sequence[int], width: int, addr: Value, enable: Value
) -> Value:
    """Read a constant memory: the word at `addr` appears in the cycle after `enable` and stays."""
    if any(word >> width for word in words):
        raise ValueError(f"a word of a memory does not fit {width} bits")
    m.submodules[name] = contents = Rom(words, width)
    m.d.comb += [contents.port.addr.eq(addr), contents.port.en.eq(enable)]
    return contents.port.data


def rom_words(values: Ints, grid: Grid) -> list[int]:
    """Pack rows (D, lanes) of values into D words, lane 0 in the least significant bits."""
    return integers(pack_lanes(values, grid))


def number(bits: Value, grid: Grid) -> Value:
    """The number that `grid.bits` stored bits stand for."""
    if grid.bipolar:
        return Cat(C(1, 1), ~bits[0]).as_signed()
    return bits.as_signed() if grid.signed else bits


def lane(word: Value, index: int, grid: Grid) -> Value:
    """The stored bits of one lane."""
    return word[index * grid.bits : (index + 1) * grid.bits]


def numbers(m: Module, word: Value, lanes: int, grid: Grid, name: str) -> list[Value]:
    """The lanes of a word as numbers, each a named signal so that it is written once."""
    made: list[Value] = []
    for k in range(lanes):
        value = number(lane(word, k, grid), grid)
        wire = Signal(value.shape(), name=f"{name}{k}")
        m.d.comb += wire.eq(value)
        made.append(wire)
    return made


def choose(values: Sequence[Value], index: Value) -> Value:
    """The value that an index in their range names: a tree of muxes, the highest bit first."""
    if len(values) == 1:
        return values[0]
    bit = (len(values) - 1).bit_length() - 1
    below, above = (choose(half, index) for half in (values[: 1 << bit], values[1 << bit :]))
    return Mux(index[bit], above, below)


def by_wrap(strides: Sequence[int], wraps: Sequence[Value], modulo: int | None = None) -> Value:
    """The stride that belongs to the number of counters that wrap, innermost first."""

    def constant(stride: int) -> Value:
        return C(stride if modulo is None else stride % modulo)

    result = constant(strides[-1])
    for level in reversed(range(len(wraps))):
        result = Mux(wraps[level], result, constant(strides[level]))
    return result


def around(at: Value, step: Value, depth: int) -> Value:
    """(at + step) mod depth, for a step of 0 to depth - 1: a place in a ring."""
    moved = at + step
    return Mux(moved >= depth, moved - depth, moved)


def stored(value: Value, grid: Grid) -> Value:
    """The bits that stand for a number which is known to lie on `grid`."""
    if grid.bipolar:
        return ~resize(value, 2)[1]
    return resize(value, grid.bits)


def resize(value: Value, width: int) -> Value:
    """The low `width` bits, extended by the value's own sign where it is narrower."""
    shape = value.shape()
    if len(value) >= width:
        return value[:width]
    fill = value[-1].replicate(width - len(value)) if shape.signed else C(0, width - len(value))
    return Cat(value, fill)


def tree_sum(m: Module, values: Sequence[Value], name: str, width: int | None = None) -> Value:
    """Add up in a balanced tree, each sum as wide as it must be, and at most `width` bits.

    Beyond `width` bits sums wrap, which is harmless where the result is used modulo 2**width.
    """
    level, depth = list(values), 0
    while len(level) > 1:
        pairs: list[Value] = []
        for k in range(0, len(level) - 1, 2):
            total = level[k] + level[k + 1]
            shape = total.shape()
            if width is not None and shape.width > width:
                shape = Shape(width, signed=shape.signed)
            wire = Signal(shape, name=f"{name}_{depth}_{k // 2}")
            m.d.comb += wire.eq(total[: shape.width])
            pairs.append(wire)
        if len(level) % 2:
            pairs.append(level[-1])
        level, depth = pairs, depth + 1
    return level[0]


def accumulator(grid: Grid) -> Shape:
    """Two's complement of the result's width: prefix sums may wrap, the last one cannot."""
    return signed(grid.bits + (0 if grid.signed else 1))
