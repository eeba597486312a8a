"""What sets the FPGA families apart, as Yosys maps to them: memories, multipliers, LUTs, carries.

Memories are described as in the libraries of Yosys' `memory_libmap`, multipliers as in the calls of
`mul2dsp` in its synthesis scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..models.fixed import Grid


@dataclass(frozen=True)
class Cell:
    """A memory cell: `widths` that double, the narrowest with `2**address` words.

    cost: its price to `memory_libmap`, of which `scaled` falls with the bits that are not used;
    counts: block RAMs, or LUTs, that it takes; byte: bits of one write enable (0: the whole word);
    old: a read beside a write of the same word gives the old one, by itself; shared: it does so
    where both have one address (LUT memory: it is only for those).
    """

    address: int
    widths: tuple[int, ...]
    cost: float
    counts: int
    scaled: float = 0
    byte: int = 0
    old: bool = False
    shared: bool = False

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Widths and depths."""
        return [(width, 1 << (self.address - k)) for k, width in enumerate(self.widths)]


@dataclass(frozen=True)
class Multiplier:
    """A multiplier of a x b bits, two's complement included, in `counts` units of DSP.

    least: bits of the narrower operand below which LUTs multiply; together: least bits of the
    product; signed: it takes signed numbers only, so others have a bit less.
    """

    a: int
    b: int
    counts: int = 1
    least: int = 2
    together: int = 0
    signed: bool = False


@dataclass(frozen=True)
class Family:
    """A family: block RAMs, LUT memories, multipliers from small to large, inputs of a LUT.

    chain: bits of a carry chain that come as one; packs: registers beside a multiplier move into
    it; joined: inputs that muxes beside the LUTs add to a table; rom_bit: cost of a constant bit in
    logic to `memory_libmap`.
    """

    blocks: tuple[Cell, ...]
    cells: tuple[Cell, ...]
    multipliers: tuple[Multiplier, ...]
    inputs: int = 4
    chain: int = 1
    packs: bool = False
    joined: int = 0
    rom_bit: float = 1 / 16
    leaf: int = 0


NARROW = (1, 2, 4, 9, 18)
WIDE = (*NARROW, 36)
FAMILIES: Mapping[str, Family] = {
    "ice40": Family((Cell(11, (2, 4, 8, 16), 64, 1),), (), (), leaf=3),
    "ecp5": Family(
        (Cell(14, WIDE, 128, 1, byte=9), Cell(14, NARROW, 128, 1, byte=9, shared=True)),
        (Cell(4, (4,), 4, 6),),
        (Multiplier(18, 18),),
        chain=2,
        joined=2,
    ),
    "gowin": Family(
        (Cell(14, WIDE, 128, 1, byte=9), Cell(14, WIDE, 128, 1, byte=9, shared=True)),
        (Cell(4, (4,), 4, 6, scaled=4),),
        (Multiplier(9, 9, 1, 4), Multiplier(18, 18, 2, 4), Multiplier(36, 36, 8, 22)),
        joined=4,
    ),
    "xc7": Family(
        (
            Cell(14, WIDE, 129, 1, byte=9, old=True),
            Cell(15, (*WIDE, 72), 257, 2, byte=9, old=True),
        ),
        (
            Cell(5, (6,), 8, 4, scaled=7),
            Cell(6, (3,), 8, 4, scaled=7),
            Cell(5, (1,), 2, 2, scaled=2),
            # With one address for both ports.
            Cell(5, (8,), 8, 4, scaled=8, shared=True),
            *(Cell(6 + k, (1,), 2 << k, 1 << k, scaled=2 << k, shared=True) for k in range(3)),
        ),
        (Multiplier(25, 18, 1, 2, 9, signed=True),),
        inputs=6,
        packs=True,
        joined=2,
        rom_bit=1 / 64,
    ),
}


def has_sign(grid: Grid) -> bool:
    """Whether the numbers of a grid are signed."""
    return grid.signed or grid.bipolar


def signed_width(grid: Grid) -> int:
    """Bits of the numbers of a grid in two's complement."""
    return 2 if grid.bipolar else grid.bits + (0 if grid.signed else 1)


def multipliers(x: Grid, w: Grid, family: Family) -> int:
    """Units of DSP that one product takes; 0 where LUTs multiply.

    Wider operands are cut (`mul2dsp`), with a bit for the sign of each part where one is signed; a
    rest that is too narrow is multiplied in LUTs.
    """
    sign = has_sign(x) or has_sign(w)
    wide, narrow = sorted((_width(x, sign), _width(w, sign)), reverse=True)
    fitting = [m for m in family.multipliers if wide <= m.a - _less(m, sign)]
    fitting = [m for m in fitting if narrow <= m.b - _less(m, sign)]
    # A multiplier far too wide is not taken: the operands are cut for smaller ones.
    fitting = [m for m in fitting if m.a <= 25 or narrow >= m.least]
    if not fitting:
        return _cut(wide, narrow, sign, family) if family.multipliers else 0
    smallest = fitting[0]
    small = narrow < smallest.least or x.bits + w.bits < smallest.together
    return 0 if small else smallest.counts


def cuts(x: Grid, w: Grid, family: Family) -> int:
    """Partial products that a product in multipliers is the sum of, less one."""
    sign = has_sign(x) or has_sign(w)
    if not family.multipliers or multipliers(x, w, family) == 0:
        return 0
    largest = [m for m in family.multipliers if m.a < 36][-1]
    wide, narrow = sorted((_width(x, sign), _width(w, sign)), reverse=True)
    a, b = (most - (sign or largest.signed) for most in (largest.a, largest.b))
    return len(_parts(wide, a, sign)) * len(_parts(narrow, b, sign)) - 1


def _width(grid: Grid, sign: bool) -> int:
    return signed_width(grid) if sign else grid.bits


def _less(multiplier: Multiplier, sign: bool) -> int:
    return 1 if multiplier.signed and not sign else 0


def _cut(wide: int, narrow: int, sign: bool, family: Family) -> int:
    """Units of DSP of a product that is cut into parts of the largest multiplier but 36x36."""
    largest = [m for m in family.multipliers if m.a < 36][-1]
    total = 0
    for a in _parts(wide, largest.a - (sign or largest.signed), sign):
        for b in _parts(narrow, largest.b - (sign or largest.signed), sign):
            fitting = [m for m in family.multipliers if max(a, b) <= m.a]
            smallest = fitting[0]
            total += smallest.counts if min(a, b) >= smallest.least + sign else 0
    return total


def _parts(bits: int, most: int, sign: bool) -> list[int]:
    """Widths of the parts; the highest may be a bit wider, with the sign."""
    parts: list[int] = []
    while bits > most + sign:
        parts.append(most)
        bits -= most
    return [*parts, bits]
