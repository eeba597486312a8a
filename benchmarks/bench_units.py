"""Units of every kind: area on four FPGA families, clock on ECP5, LUTs per operation per cycle.

    python benchmarks/bench_units.py [--only NAME ...] [--seeds 5] [--jobs 1] [--write]

Each unit is mapped alone by Yosys for each family, and placed on ECP5 by nextpnr with several seeds
inside the harness of `codegen/harness.py`.  An operation is one multiply-add, of whatever width.
Results are remembered by content, so that a second run is quick.  --write makes docs/units.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import finn
import numpy as np

from bitwright.codegen import synth, tools
from bitwright.codegen.devices import PLACERS
from bitwright.codegen.place import Placed, place
from bitwright.codegen.synth import RESOURCES, Area
from bitwright.codegen.verilog import write_component
from bitwright.hw.fifo import Fifo
from bitwright.hw.unit import Fold, Place, component
from bitwright.hw.window import Buffered
from bitwright.models.fixed import BINARY, TERNARY, Grid, signed, unsigned
from bitwright.models.ops import Dot, MaxPool, Requantise, Thresholds, Window
from bitwright.models.program import Edge

PAGE = Path(__file__).parent.parent / "docs" / "units.md"
SEED = 1


@dataclass(frozen=True, eq=False)
class Unit:
    """A unit to measure."""

    name: str
    op: Any
    place: Place

    @property
    def operations(self) -> int:
        """Multiply-adds per cycle."""
        return self.place.fold.pe * self.place.fold.simd if isinstance(self.op, Dot) else 0


def units() -> list[Unit]:
    """The units of the table, always the same."""
    rng = np.random.default_rng(SEED)

    def at(op: Any, fold: Fold, edge: Edge) -> tuple[Any, Place]:
        return op, Place((edge,), op.infer(edge), fold)

    def dot(rows: int, columns: int, fold: Fold, weights: Grid, inputs: Grid) -> tuple[Any, Place]:
        values = rng.integers(weights.lo, weights.hi, (rows, columns), endpoint=True)
        if weights.bipolar:
            values = rng.choice([-1, 1], (rows, columns))
        return at(Dot(values, weights), fold, Edge.of((columns,), inputs))

    def thresholds(steps: int) -> tuple[Any, Place]:
        cuts = np.sort(rng.integers(-500, 500, (16, steps)), axis=1)
        op = Thresholds(cuts, np.zeros(16, int), np.ones(16, int))
        return at(op, Fold(4), Edge.of((16,), signed(11)))

    def window(size: int, channels: int, simd: int) -> tuple[Any, Place]:
        op, edge = Window((3, 3)), Edge.of((size, size, channels), unsigned(4))
        return Buffered(op), Place((edge,), op.infer(edge), Fold(1, simd))

    def requantise() -> tuple[Any, Place]:
        scales, offsets = rng.integers(64, 256, 16), rng.integers(-4000, 4000, 16)
        return at(Requantise(scales, offsets, 14, 0, 255), Fold(4), Edge.of((16,), signed(16)))

    def fifo() -> tuple[Any, Place]:
        edge = Edge.of((64,), unsigned(8))
        return Fifo(32), Place((edge,), edge, Fold(4))

    small = Fold(4, 4)
    return [
        Unit("XNOR 64x256", *dot(64, 256, Fold(8, 32), BINARY, BINARY)),
        Unit("int8 32x64", *dot(32, 64, small, signed(8), signed(8))),
        Unit("binary x 8 bits 32x64", *dot(32, 64, small, BINARY, unsigned(8))),
        Unit("ternary x 8 bits 32x64", *dot(32, 64, small, TERNARY, unsigned(8))),
        Unit("int4 32x64", *dot(32, 64, small, signed(4), signed(4))),
        Unit("1 threshold", *thresholds(1)),
        Unit("15 thresholds", *thresholds(15)),
        Unit("window 3x3", *window(16, 16, 4)),
        Unit("max-pool 2x2", *at(MaxPool(4), Fold(4), Edge.of((8, 8, 64), unsigned(4)))),
        Unit("requantise", *requantise()),
        Unit("unrolled 16x16", *dot(16, 16, Fold(16, 16), signed(6), signed(6))),
        Unit("FIFO 32", *fifo()),
    ]


def finn_lut(unit: Unit) -> int | None:
    """LUTs of FINN's matrix unit at this folding by its formula, weights in block RAM."""
    if not isinstance(unit.op, Dot):
        return None
    fold, inputs = unit.place.fold, unit.place.inputs[0].grid
    rows, columns = unit.op.weights.shape
    matrix = finn.Matrix(rows, columns, fold.pe, fold.simd, unit.op.grid.bits, inputs.bits, 1)
    return round(matrix.luts)


def measured(unit: Unit, seeds: int, jobs: int) -> tuple[dict[str, Area], Placed]:
    """The areas by family, and the placements on ECP5."""
    rtl = write_component(component(unit.op, unit.place), "unit")

    def tell(sentence: str) -> None:
        print(f"{unit.name}: {sentence}", file=sys.stderr, flush=True)

    areas: dict[str, Area] = {}
    for family in synth.FAMILIES:
        tell(f"mapping for {family}")
        areas[family] = synth.cached(rtl, family)
    return areas, place(rtl, "ecp5", seeds=seeds, jobs=jobs, tell=tell)


INPUTS = {"ecp5": 4, "ice40": 4, "gowin": 4, "xc7": 6}
"""Of a LUT of each family."""
HEAD = (
    "unit", "PE", "SIMD", *(f"{f}, LUT{INPUTS[f]}" for f in synth.FAMILIES),
    "ecp5, LUT4 per op and cycle", "FINN's formula, LUT6", "ecp5, MHz, median",
    "ecp5, MHz, least to most",
)  # fmt: skip


def row(unit: Unit, areas: dict[str, Area], placed: Placed) -> list[str]:
    """One line of the table; areas are LUT / FF / BRAM / DSP."""
    fold, ecp5, theirs = unit.place.fold, areas["ecp5"], finn_lut(unit)
    return [
        unit.name,
        str(fold.pe),
        str(fold.simd),
        *(" / ".join(str(getattr(areas[f], r)) for r in RESOURCES) for f in areas),
        f"{ecp5.lut / unit.operations:.2f}" if unit.operations else "-",
        str(theirs) if theirs else "-",
        f"{placed.mhz:.1f}",
        f"{min(placed.clocks):.1f} to {max(placed.clocks):.1f}",
    ]


def page(rows: list[list[str]], seeds: int) -> str:
    """The table with what it was made with and on."""
    program = tools.needed(PLACERS["ecp5"].program, tools.find(PLACERS["ecp5"].program))
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return f"""\
# Units: area and clock

Made by `python benchmarks/bench_units.py --write` on {datetime.now(UTC).date()}, with
{synth.yosys_version()} and {tools.version(program)}, on {os.cpu_count()} cores of {_processor()}.

Areas are LUT / FF / BRAM / DSP of the netlist of the unit alone, in each family's own LUTs, of 4
inputs or of 6 (see docs/synthesis.md): LUTs of different columns are not the same thing. An
operation is one multiply-add. The clock is that of ECP5, speed grade 6, {seeds} seeds. FINN's
formula is that of its HLS matrix-vector unit at the same folding, with multipliers in LUTs of 6
inputs of a Xilinx FPGA and weights in its block RAM: an estimate of another architecture, for
orientation. The first figures of this table, of naive Verilog measured earlier by hand with one
seed on ECP5, were 3,194 LUT4 and 91 MHz for the XNOR unit, 935 LUT4 and 52 MHz for the int8 unit.

{chr(10).join(f"| {' | '.join(line)} |" for line in lines)}
"""


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(named, "an unnamed processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="units whose name holds NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="placements at a time")
    parser.add_argument("--write", action="store_true", help="write docs/units.md")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write makes the page of all units; leave --only out")
    wanted = [u for u in units() if not arguments.only or any(n in u.name for n in arguments.only)]
    rows = [row(u, *measured(u, arguments.seeds, arguments.jobs)) for u in wanted]
    text = page(rows, arguments.seeds)
    print(text)
    if arguments.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
