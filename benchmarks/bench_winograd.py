"""What Winograd's tiles save: a convolution plain and by tiles, at equal cycles and multipliers.

    python benchmarks/bench_winograd.py [--json] [--cycles] [--write] [--engine verilator]

A padded 3x3 convolution of 16x16x32 unsigned 8-bit inputs to 32 filters of int8.  Cycles are those
that the written Verilog took from frame to frame, checked value by value and cycle by cycle against
the schedule; areas are Yosys' for ECP5, of the whole design with its window and its buffers.
--cycles leaves the areas out.  --write puts the table in docs/winograd.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from area_synthesis import areas

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.cost import RESOURCES
from bitwright.hw.design import Design, figures
from bitwright.hw.sparse_dot import Tiles
from bitwright.hw.unit import Fold
from bitwright.models.calibration import Calibration
from bitwright.models.compress import winograd
from bitwright.models.compress.method import method
from bitwright.models.fixed import signed, unsigned
from bitwright.models.layers import Flatten, Slide
from bitwright.models.lowering import Lowering, Place
from bitwright.models.network import Network
from bitwright.models.network import Node as Layer
from bitwright.models.ops import Dot, SparseDot
from bitwright.models.program import INPUT, Edge, Program, define
from bitwright.sim.rtl import simulate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "winograd.md"
BEGIN, END = "<!-- bench_winograd -->\n", "<!-- end -->\n"
SIZE, CHANNELS, FILTERS, FRAMES = (16, 16), 32, 32, 2
PLAIN = (Fold(4, 36), Fold(4, 16), Fold(4, 9), Fold(4, 4))
TILED = (Fold(8, 8), Fold(4, 4))


@dataclass(frozen=True, eq=False)
class Case:
    """The layer in one form and folding; other units are as wide as they must be to keep up."""

    form: str
    design: Design
    multipliers: int


def program(form: str, multipliers: int) -> Program:
    """The sums of the layer, plain or by tiles."""
    edge = Edge.of((*SIZE, CHANNELS), unsigned(8))
    weights = np.random.default_rng(1).integers(-128, 128, (FILTERS, 9 * CHANNELS))
    calibration = Calibration(define, 1)
    calibration.keep(INPUT, edge, lambda part: np.zeros((1, *edge.shape), np.int64))
    network = Network("none", edge.shape, (Layer("flat", Flatten(), (INPUT,)),))
    lowering = Lowering(network, {}, {}, calibration, method, 8)
    slide = Slide(winograd.KERNEL, padding=(1, 1, 1, 1))
    windows = lowering.windows("layer_window", INPUT, slide)
    site = Place(lowering, "layer", INPUT, 1.0, slide, windows)
    if form == "plain":
        site.emit("products", Dot(weights, signed(8)), windows)
    else:
        winograd.tiles(site, weights)
    unread = {windows} if form == "tiles" else set[str]()
    return Program(
        f"{form}{multipliers}",
        edge,
        tuple(n for name, n in calibration.nodes.items() if name not in unread),
    )


def cases() -> Iterator[Case]:
    """All of the table."""
    for form, folds in (("plain", PLAIN), ("tiles", TILED)):
        for fold in folds:
            given = {"layer_products": {"pe": fold.pe, "simd": fold.simd}}
            multipliers = fold.pe * fold.simd
            yield Case(form, build(program(form, multipliers), fold=given), multipliers)


def measured(given: list[Case], engine: str) -> list[int]:
    """Cycles from frame to frame in the written Verilog, which is checked."""
    trials: list[Trial] = []
    rng = np.random.default_rng(3)
    for number, case in enumerate(given):
        edge = case.design.program.input
        x = rng.integers(edge.lo, edge.hi, (FRAMES, *edge.shape), endpoint=True)
        trials.append(Trial(f"t{number}", case.design, write_rtl(case.design), x, {}))
    outcomes = simulate(trials, engine).outcomes
    for outcome in outcomes:
        if not outcome.right:
            raise RuntimeError("; ".join(outcome.report))
    return [
        figures(outcome.cycles, case.design.output.beats)["interval"]
        for case, outcome in zip(given, outcomes, strict=True)
    ]


def rows(given: list[Case], cycles: list[int], with_areas: bool) -> list[dict[str, Any]]:
    """A record for each case."""
    made = [
        {
            "form": case.form,
            "multipliers": case.multipliers,
            "cycles": taken,
            "stored_bits": stored(case.design),
        }
        for case, taken in zip(given, cycles, strict=True)
    ]
    if with_areas:
        found = areas([write_rtl(case.design) for case in given], "ecp5", 1)
        for row, area in zip(made, found, strict=True):
            row.update({name: getattr(area, name) for name in RESOURCES})
    return made


def stored(design: Design) -> int:
    """Bits of the weights that the products' unit stores: blocks of zeros take none."""
    (products,) = (unit for unit in design.instances if unit.layer == "layer_products")
    op, fold = products.op, products.place.fold
    tiles = Tiles.of(op, fold) if isinstance(op, SparseDot) else None
    size = len(tiles) * fold.pe * fold.simd if tiles else op.weights.size
    return size * op.grid.bits


def page(made: list[dict[str, Any]]) -> str:
    """The table of docs/winograd.md."""
    lines = [
        "| form | multipliers | cycles a frame | bits of weights | LUT4 | FF | block RAM | DSP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in made:
        names = ("multipliers", "cycles", "stored_bits", *RESOURCES)
        lines.append(f"| {row['form']} | " + " | ".join(f"{row[n]:,}" for n in names) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--cycles", action="store_true", help="leave the areas out")
    parser.add_argument("--write", action="store_true", help="put the table in docs/winograd.md")
    parser.add_argument("--engine", default="verilator")
    options = parser.parse_args()
    if options.write and options.cycles:
        parser.error("--write makes the page with areas; leave --cycles out")
    given = list(cases())
    made = rows(given, measured(given, options.engine), not options.cycles)
    if options.json:
        print(json.dumps(made, indent=2))
    else:
        for row in made:
            print("  ".join(f"{name} {value}" for name, value in row.items()))
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + page(made) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
