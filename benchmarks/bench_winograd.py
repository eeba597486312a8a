"""What Winograd's tiles save: a convolution plain and by tiles, at equal cycles and multipliers.

    python benchmarks/bench_winograd.py [--json] [--cycles] [--write] [--engine verilator]
    python benchmarks/bench_winograd.py --kernels

A padded 3x3 convolution of 16x16x32 unsigned 8-bit inputs to 32 filters of int8.  Cycles are those
that the written Verilog took from frame to frame, checked value by value and cycle by cycle against
the schedule; areas are Yosys' for ECP5, of the whole design with its window and its buffers.
--cycles leaves the areas out.  --write puts the tables in docs/winograd.md.  --kernels times the
kernel of the tiles' products, on one thread, against that of a plain product of the same matrix.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from area_synthesis import areas
from bench_matmul import summary

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_component, write_rtl
from bitwright.hw.cost import RESOURCES
from bitwright.hw.design import Design, figures
from bitwright.hw.sparse_dot import Tiles
from bitwright.hw.unit import Fold, component
from bitwright.models.calibration import Calibration
from bitwright.models.compress import winograd
from bitwright.models.compress.method import method
from bitwright.models.fixed import signed, unsigned
from bitwright.models.layers import Flatten, Slide
from bitwright.models.lowering import Lowering, Place
from bitwright.models.network import Network
from bitwright.models.network import Node as Layer
from bitwright.models.ops import Dot, SparseDot
from bitwright.models.program import INPUT, Edge, Node, Program, define
from bitwright.sim import kernels
from bitwright.sim.rtl import simulate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "winograd.md"
BEGIN, END = "<!-- bench_winograd -->\n", "<!-- end -->\n"
SIZE, CHANNELS, FILTERS, FRAMES = (16, 16), 32, 32, 2
PLAIN = (Fold(4, 36), Fold(4, 16), Fold(4, 9), Fold(4, 4))
TILED = (Fold(8, 8), Fold(4, 4))
ROUNDS, VECTORS, TAPS = 21, 512, 16


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


def parts(case: Case) -> list[dict[str, Any]]:
    """What each unit of a design takes by itself."""
    units = case.design.instances
    found = areas([write_component(component(u.op, u.place), "unit") for u in units], "ecp5", 1)
    return [
        {"unit": type(unit.op).__name__, **{name: getattr(area, name) for name in RESOURCES}}
        for unit, area in zip(units, found, strict=True)
    ]


def kernel_times(channels: int) -> dict[str, dict[str, float]]:
    """Milliseconds of the product of `VECTORS` tiles, by blocks and as one plain matrix."""
    rng = np.random.default_rng(5)
    weights = np.zeros((TAPS * channels, TAPS * channels), np.int64)
    for tap in range(TAPS):
        block = slice(tap * channels, (tap + 1) * channels)
        weights[block, block] = rng.integers(-2048, 2048, (channels, channels))
    edge = Edge.of((TAPS * channels,), signed(11))
    x = rng.integers(-1020, 1021, (VECTORS, *edge.shape))
    runs = {
        name: Program(name, edge, (Node("products", op(weights, signed(12)), (INPUT,)),))
        for name, op in (("blocks", SparseDot), ("plain", Dot))
    }
    taken: dict[str, list[float]] = {name: [] for name in (*runs, "ratio")}
    for name in runs:
        kernels.run(runs[name], x)
    for _ in range(ROUNDS):
        for name, one in runs.items():
            start = time.thread_time()
            kernels.run(one, x)
            taken[name].append(1000 * (time.thread_time() - start))
        taken["ratio"].append(taken["plain"][-1] / taken["blocks"][-1])
    return {name: summary(np.array(values)) for name, values in taken.items()}


def page(made: list[dict[str, Any]], units: list[dict[str, Any]]) -> str:
    """The tables of docs/winograd.md."""
    lines = [
        "| form | multipliers | cycles a frame | bits of weights | LUT4 | FF | block RAM | DSP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in made:
        names = ("multipliers", "cycles", "stored_bits", *RESOURCES)
        lines.append(f"| {row['form']} | " + " | ".join(f"{row[n]:,}" for n in names) + " |")
    lines += ["", "The last of them unit by unit, each synthesised alone:", ""]
    lines += ["| unit | LUT4 | FF | block RAM | DSP |", "|---|---|---|---|---|"]
    for unit in units:
        lines.append(f"| {unit['unit']} | " + " | ".join(f"{unit[n]:,}" for n in RESOURCES) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--cycles", action="store_true", help="leave the areas out")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/winograd.md")
    parser.add_argument("--kernels", action="store_true", help="time the kernels alone")
    parser.add_argument("--engine", default="verilator")
    options = parser.parse_args()
    if options.write and options.cycles:
        parser.error("--write makes the page with areas; leave --cycles out")
    if options.kernels:
        numba.set_num_threads(1)
        for channels in (32, 64, 128):
            found = kernel_times(channels)
            print(f"{TAPS} blocks of {channels}, {VECTORS} vectors")
            for name, one in found.items():
                print(f"  {name:7}{one['median']:8.2f} ({one['min']:.2f} to {one['max']:.2f})")
        return
    given = list(cases())
    made = rows(given, measured(given, options.engine), not options.cycles)
    if options.json:
        print(json.dumps(made, indent=2))
    else:
        for row in made:
            print("  ".join(f"{name} {value}" for name, value in row.items()))
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(
            before + BEGIN + page(made, parts(given[-1])) + END + rest.partition(END)[2]
        )


if __name__ == "__main__":
    main()
