"""Memories: where Yosys' `memory_libmap` puts them, and what they take there.

Each memory goes to the cheapest of logic, LUT memory and block RAM, by the costs in the family's
library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from ..models.fixed import Grid, Ints
from .cost_families import Cell, Family
from .cost_parts import Parts, count_bits
from .elastic import in_block

MUX_COST, EMULATION_COST = 0.5, 2
"""Costs of a mux input and of a point of emulation."""
EXACT = 1 << 15
"""Bits up to which the contents of a constant memory are looked into."""


@dataclass(frozen=True, order=True)
class _Mapping:
    """A memory in cells of one kind: its cost, what it counts as, and banks (with muxes behind)."""

    cost: float
    counts: int
    banks: int
    emulated: bool = False


def _mapped(cell: Cell, width: int, depth: int, written: bool) -> Iterator[_Mapping]:
    """The memory in every shape of a cell, without emulation."""
    for wide, deep in cell.shapes:
        banks = ceil(depth / deep)
        byte = min(cell.byte or wide, wide) if written else 1
        bits = banks * byte * ceil(width / byte)
        cost = (cell.cost - cell.scaled) * ceil(bits / wide) + cell.scaled * banks * width / wide
        cost += MUX_COST * width * (banks - 1) + (MUX_COST * banks if written and banks > 1 else 0)
        yield _Mapping(cost, cell.counts * ceil(bits / wide), banks)


def rom(bits: np.ndarray, family: Family) -> Parts:
    """A constant memory of (depth, width) bits, read by the clock, with a register per bit."""
    columns = bits[:, (bits != bits[0]).any(0)] if len(bits) > 1 else bits[:, :0]
    asked = in_block(bits.shape[1], len(bits))
    block = _block_rom(len(bits), columns.shape[1], family, asked)
    if block is not None:
        return block
    return logic(columns, family) + Parts(ff=distinct(columns))


def large_rom(depth: int, width: int, bits: Callable[[], np.ndarray], family: Family) -> Parts:
    """A constant memory whose `bits` are looked into only where it is small.

    A large one, or one in block RAM, is taken to have no column that is constant or a copy.
    """
    asked = in_block(width, depth)
    if depth == 1 or (depth * width <= EXACT and not asked):
        return rom(bits(), family)
    tables = width * ceil(depth / (1 << family.inputs))
    in_logic = Parts({"table": tables, "join": tables - width}, ff=width)
    return _block_rom(depth, width, family, asked) or in_logic


def _block_rom(depth: int, width: int, family: Family, asked: bool) -> Parts | None:
    """A constant memory in block RAM, where that is `asked` for or cheaper than logic."""
    if depth == 1 or width == 0:
        return Parts()
    best = min(m for cell in family.blocks for m in _mapped(cell, width, depth, False))
    if not asked and best.cost + EMULATION_COST > width * depth * family.rom_bit:
        return None
    # Muxes between banks are steered by the high address bits, in registers.
    return Parts({"mux": width * (best.banks - 1)}, ff=count_bits(best.banks), bram=best.counts)


def logic(columns: np.ndarray, family: Family) -> Parts:
    """Columns of bits (words, functions) in LUTs: the tables, and what chooses between them.

    Functions, and parts of them, that are equal or opposite to one another are counted once, those
    that are constant not at all.  Muxes beside the LUTs join a few tables; many take LUTs (`join`).
    """
    if not columns.size:
        return Parts()
    inputs = family.leaf or family.inputs
    words = 1 << inputs
    levels = max(0, count_bits(len(columns)) - inputs)
    whole = np.pad(columns, ((0, -len(columns) % words), (0, 0)), mode="edge")
    blocks = whole.T.reshape(-1, words)
    # Each function under the number of its table, below zero where it is the opposite; 0: constant.
    opposite = blocks[:, 0]
    numbers, tables = _numbered(blocks ^ opposite[:, None], opposite)
    numbers = numbers.reshape(columns.shape[1], -1)
    joins = 0
    for _ in range(levels):
        # A block that has none beside it, since the memory ends, needs no mux.
        whole = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2)), mode="edge")
        pairs = whole.reshape(-1, 2)
        turned = pairs[:, 0] < 0
        found, made = _joined(np.where(turned[:, None], -pairs, pairs), turned)
        numbers = found.reshape(columns.shape[1], -1)
        joins += made
    name = "few" if levels <= family.joined else "join"
    leaves = "leaf" if levels and family.leaf else "table"
    return Parts({leaves: tables, name: joins} if joins else {leaves: tables})


def _as_words(rows: np.ndarray) -> tuple[np.ndarray, Ints]:
    """Different rows of bits, and the number of each row among them."""
    packed = np.packbits(rows, axis=1)
    if packed.shape[1] > 8:
        wide = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1])))
        found, at = np.unique(wide.reshape(-1), return_inverse=True)
    else:
        words = np.zeros((len(packed), 8), np.uint8)
        words[:, : packed.shape[1]] = packed
        found, at = np.unique(words.view(np.uint64).reshape(-1), return_inverse=True)
    return found, at.reshape(-1).astype(np.int64)


def _numbered(functions: np.ndarray, opposite: np.ndarray) -> tuple[Ints, int]:
    """Functions (n, words), of which each begins with 0, by number, and how many there are."""
    found, at = _as_words(functions)
    constant = int(not functions.any(1).all())
    # 0 stands first: as 1, the constant 0, whose opposite is the constant 1.
    numbers = at + (1 if constant else 2)
    return np.where(opposite, -numbers, numbers), len(found) - constant


def _joined(pairs: Ints, turned: np.ndarray) -> tuple[Ints, int]:
    """Pairs of numbers, the first above zero, as new numbers, and how many muxes choose in them."""
    found, at = np.unique(pairs, axis=0, return_inverse=True)
    same = found[:, 0] == found[:, 1]
    constant = same & (found[:, 0] == 1)
    numbers = np.where(constant, 1, np.arange(len(found)) + 2)[at.reshape(-1)]
    return np.where(turned, -numbers, numbers), int((~same).sum())


def distinct(bits: np.ndarray) -> int:
    """Columns that are neither constant nor copies: registers that Yosys keeps."""
    if not bits.size:
        return 0
    return len(_as_words(bits[:, (bits != bits[0]).any(0)].T)[0])


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


def ram(
    width: int, depth: int, family: Family, clocked: bool = True, one_address: bool = False
) -> Parts:
    """A memory that is written; `clocked`: read by the clock, which LUT memory does by registers.

    A read gives what was there before a write of the same cycle.  Where a block RAM does not do
    that by itself, registers for the address and two words, and muxes, stand around it.
    """
    block = _block_ram(width, depth, family, one_address) if clocked else None
    fitting = [cell for cell in family.cells if one_address or not cell.shared]
    cells = [m for cell in fitting for m in _mapped(cell, width, depth, True)]
    cell = min(cells, default=None)
    logic = float(width * depth)
    in_cells = cell.cost + EMULATION_COST if cell else logic
    if block and block.cost < min(in_cells, logic):
        bypass = 2 * width + count_bits(depth) + 2 if block.emulated else 0
        muxes = width * (block.banks - 1)
        lut = {"mux": muxes, "bypass": bypass}
        return Parts(lut, ff=count_bits(block.banks) + bypass, bram=block.counts)
    read = width if clocked else 0
    if cell is None or logic < in_cells:
        return Parts({"mux": width * (depth - 1)}, ff=width * depth + read)
    return Parts({"mux": width * (cell.banks - 1)}, exact=cell.counts, ff=read)


def _block_ram(width: int, depth: int, family: Family, one_address: bool) -> _Mapping | None:
    options: list[_Mapping] = []
    for cell in family.blocks:
        alone = cell.old or (one_address and cell.shared)
        # Points of emulation: three each for the write and for the read, one for a port of its own.
        points = 0 if one_address and cell.shared else 1 if cell.old else 7
        for m in _mapped(cell, width, depth, True):
            options.append(_Mapping(m.cost + EMULATION_COST * points, m.counts, m.banks, not alone))
    return min(options, default=None)
