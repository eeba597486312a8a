"""Of what a unit is made: the features that an area is estimated from, and those of memories.

The files of units beside this one add up parts: registers, block RAMs and multipliers as counts,
and by name what takes LUTs, which the fit gives a weight.

Memory goes where Yosys' `memory_libmap` puts it: to the cheapest of logic, LUT memory and block
RAM, with the costs of its library for Lattice devices (`lutrams_trellis.txt`, `brams_16kd.txt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from math import ceil
from typing import Any

import numpy as np

from ..models.fixed import Grid, Ints
from .unit import Place


@dataclass(frozen=True)
class Parts:
    """Of what a unit is made.

    lut: features whose weighted sum are its LUTs; exact: LUTs that count as they are (LUT memory);
    ff, bram, dsp: registers, block RAMs and multipliers.
    """

    lut: Mapping[str, float] = field(default_factory=dict[str, float])
    exact: int = 0
    ff: int = 0
    bram: int = 0
    dsp: int = 0

    def __add__(self, other: Parts) -> Parts:
        names = [*self.lut, *(name for name in other.lut if name not in self.lut)]
        return Parts(
            {name: self.lut.get(name, 0) + other.lut.get(name, 0) for name in names},
            self.exact + other.exact,
            self.ff + other.ff,
            self.bram + other.bram,
            self.dsp + other.dsp,
        )


@dataclass(frozen=True)
class Features:
    """The kind of a unit, whose coefficients it takes, and its parts."""

    kind: str
    parts: Parts


@singledispatch
def features(op: Any, place: Place) -> Features:
    """Of what the unit is made, on an ECP5: what `place` and the constants of `op` decide."""
    raise NotImplementedError(
        f"{type(op).__name__} has no area features; register them with @features.register"
    )


SHARED = frozenset({"count", "mux", "table", "select", "bypass", "accumulate", "input"})
"""Features that cost the same in every kind of unit: one coefficient for all."""


def terms(of: Features) -> dict[str, float]:
    """The features under the names of their coefficients."""
    named = of.parts.lut.items()
    return {name if name in SHARED else f"{of.kind}.{name}": value for name, value in named}


def gates(ff: int = 0, **lut: float) -> Parts:
    """Features by name, and registers; `constant` stands for what every unit of a kind has."""
    return Parts(lut, ff=ff)


def together(*parts: Parts) -> Parts:
    """Sum of parts."""
    return sum(parts, Parts())


def count_bits(limit: int) -> int:
    """Bits of a counter 0 .. limit - 1."""
    return (limit - 1).bit_length()


def counting(*limits: int) -> Parts:
    """Counters: their registers; an increment, a comparison and a return to zero for each bit."""
    bits = sum(map(count_bits, limits))
    return Parts({"count": bits}, ff=bits)


BLOCKS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Shapes of a DP16KD (width, depth)."""
BLOCK_COST, CELL_COST, MUX_COST, EMULATION_COST, ROM_BIT_COST = 128, 4, 0.5, 2, 1 / 16
"""Costs in `memory_libmap`: of a DP16KD, a DPR16X4, a mux input, a point of emulation, a bit."""
CELL_LUTS = 6


def _blocks(width: int, depth: int, packed: bool) -> tuple[float, int, int]:
    """The cheapest block RAM: cost, number, banks (depths beyond one block take muxes).

    packed: banks stand side by side in one block, as those of a constant memory may.
    """
    options = []
    for wide, deep in BLOCKS:
        banks = ceil(depth / deep)
        number = ceil(banks * width / wide) if packed else banks * ceil(width / wide)
        options.append((BLOCK_COST * number + MUX_COST * width * (banks - 1), number, banks))
    return min(options)


def rom(bits: np.ndarray) -> Parts:
    """A constant memory of (depth, width) bits, read by the clock.

    In block RAM, or in LUTs with a register per bit: every column takes a LUT4 per 16 words that
    are neither constant nor a copy.
    """
    depth = len(bits)
    if depth == 1:
        return Parts()
    columns = bits[:, (bits != bits[0]).any(0)]
    width = columns.shape[1]
    cost, number, banks = _blocks(width, depth, True)
    if cost + EMULATION_COST <= width * depth * ROM_BIT_COST:
        # Muxes between banks are steered by the high address bits, in registers.
        return Parts({"mux": width * (banks - 1)}, ff=count_bits(banks), bram=number)
    tables, kept = logic_tables(columns), distinct(columns)
    # Two LUT4s join into one LUT5 by a mux beside them; more take LUTs to choose.
    return Parts({"table": tables, "select": max(0, tables - 2 * kept)}, ff=kept)


def logic_tables(columns: np.ndarray) -> int:
    """Different LUT4s that hold columns of bits, 16 words each."""
    count = 0
    for at in range(0, len(columns), 16):
        count += distinct(columns[at : at + 16])
    return count


def distinct(bits: np.ndarray) -> int:
    """Columns that are neither constant nor copies: registers that Yosys keeps."""
    # Columns as machine words or byte strings: folding asks this of a million weights at once.
    packed = np.packbits(bits[:, (bits != bits[0]).any(0)], axis=0)
    columns = np.zeros((packed.shape[1], len(packed) + -len(packed) % 8), np.uint8)
    columns[:, : len(packed)] = packed.T
    if columns.shape[1] == 8:
        return len(np.unique(columns.view(np.uint64)))
    return len(set(map(bytes, columns)))


def registered(bits: np.ndarray) -> int:
    """Registers behind those of a memory: 1 in every word starts at 0, as one register for all."""
    return distinct(bits) + int(bits.all(0).any())


def as_bits(values: Ints, grid: Grid) -> np.ndarray:
    """Rows (D, lanes) of values as bits (D, lanes * grid.bits)."""
    codes = grid.encode(values)
    if grid.bits == 1:
        bits = codes.astype(bool)
    elif grid.bits <= 8:
        octets = codes.astype(np.uint8)[:, :, None]
        bits = np.unpackbits(octets, axis=2, count=grid.bits, bitorder="little").view(bool)
    else:
        bits = ((codes[:, :, None] >> np.arange(grid.bits)) & 1).astype(bool)
    return bits.reshape(len(codes), -1)


def trailing_zeros(value: int, most: int) -> int:
    """Low bits of a number that are 0, at most so many."""
    low = int(value) & -int(value)
    return min(most, low.bit_length() - 1) if low else most


def ram(width: int, depth: int, clocked: bool = True, one_address: bool = False) -> Parts:
    """A memory that is written; `clocked`: read by the clock, which LUT memory does by registers.

    A read gives what was there before a write of the same cycle.  A block RAM does that only where
    both ports share `one_address` and 18 bits suffice; otherwise registers for the
    address and two words, and muxes, stand around it.
    """
    rows, cells = ceil(depth / 16), ceil(depth / 16) * ceil(width / 4)
    cell_cost = CELL_COST * cells + MUX_COST * (width + 1) * (rows - 1) + EMULATION_COST
    block_cost, number, banks = _blocks(width, depth, False)
    if clocked and block_cost + 7 * EMULATION_COST < min(cell_cost, width * depth):
        bypass = 0 if one_address and width <= 18 else 2 * width + count_bits(depth) + 2
        muxes = width * (banks - 1)
        return Parts({"mux": muxes, "bypass": bypass}, ff=count_bits(banks) + bypass, bram=number)
    read = width if clocked else 0
    if width * depth < cell_cost:
        return Parts({"mux": width * (depth - 1)}, ff=width * depth + read)
    return Parts({"mux": width * (rows - 1)}, exact=CELL_LUTS * cells, ff=read)
