"""What zeros save: cycles and area of a layer at one folding, unpruned and by each pattern.

    python benchmarks/bench_sparsity.py [--json] [--cycles] [--engine verilator]

A layer of 64 filters over 2x2 windows of 64 channels, int8 and ternary, is pruned by magnitude to
a half, a quarter and a tenth, and folded 4 x 8 as before; single weights also 1 x 1.  Cycles are
those that the written Verilog took for a frame of two vectors, checked value by value and cycle by
cycle against the schedule; areas are Yosys' for ECP5.  A unit with all its weights at once gains
LUTs instead of cycles.  --cycles leaves the areas out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
from area_synthesis import areas

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_component, write_rtl
from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design, figures
from bitwright.hw.unit import Fold, Place, component
from bitwright.models.compress.problem import LayerProblem
from bitwright.models.compress.pruning import By, Filter, Fine, Group, Kernel, Pruning, Vector
from bitwright.models.fixed import TERNARY, Ints, signed
from bitwright.models.ops import Dot, Select, SparseDot
from bitwright.models.program import Edge, Node, Program
from bitwright.sim.rtl import Outcome, simulate

KERNEL, CHANNELS, FILTERS = (2, 2), 64, 64
SIZE, VECTORS, FRAMES = 256, 2, 3
FOLD, SINGLE = Fold(4, 8), Fold(1, 1)
UNROLLED = (16, 32)
DENSITIES = (0.5, 0.25, 0.1)
GRIDS = {"int8": signed(8), "ternary": TERNARY}
INPUTS = signed(8)


def patterns(density: float) -> dict[str, tuple[Pruning, Fold]]:
    """The five patterns, in blocks as large as a tile, and single weights in tiles of one too."""
    given: dict[str, Any] = {"density": density, "by": By.MAGNITUDE}
    return {
        "single weights": (Fine(**given), FOLD),
        "single weights, 1 x 1": (Fine(**given), SINGLE),
        "vector": (Vector(**given, tile=FOLD.simd, rows=FOLD.pe), FOLD),
        "kernel": (Kernel(**given, tile=FOLD.simd, rows=FOLD.pe), FOLD),
        "group": (Group(**given, tile=FOLD.simd), FOLD),
        "filter": (Filter(**given, rows=FOLD.pe), FOLD),
    }


@dataclass(frozen=True, eq=False)
class Case:
    """A layer that is measured: its operator over the columns that it reads."""

    weights: str
    pattern: str
    density: float
    op: Dot
    fold: Fold
    kept: Ints

    @property
    def design(self) -> Design:
        """The layer alone, behind what drops the columns that nothing reads."""
        edge = Edge.of((VECTORS, SIZE), INPUTS)
        nodes = (Node("layer", self.op, ("input",)),)
        folds = {"layer": self.fold}
        if len(self.kept) < SIZE:
            nodes = (
                Node("kept", Select(self.kept), ("input",)),
                Node("layer", self.op, ("kept",)),
            )
            folds["kept"] = Fold(self.fold.simd, self.fold.simd)
        name = f"{self.weights} {self.pattern} {self.density}"
        return buffered(Design(Program(name, edge, nodes), folds, {}))

    @property
    def place(self) -> Place:
        """The place of the unit alone."""
        edge = Edge.of((VECTORS, self.op.weights.shape[1]), INPUTS)
        return Place((edge,), self.op.infer(edge), self.fold)


def cases() -> Iterator[Case]:
    """All of the table, the same at every call."""
    rng = np.random.default_rng(1)
    every = np.arange(SIZE)
    for name, grid in GRIDS.items():
        dense = rng.integers(grid.lo, grid.hi, (FILTERS, SIZE), endpoint=True)
        for fold in FOLD, SINGLE:
            plain = "unpruned" if fold == FOLD else "unpruned, 1 x 1"
            yield Case(name, plain, 1.0, Dot(dense, grid), fold, every)
        # What is pruned is decided before rounding, whose levels tie.
        real = rng.normal(size=dense.shape)
        problem = LayerProblem.data_free(real, KERNEL)
        for density in DENSITIES:
            for pattern, (method, fold) in patterns(density).items():
                mask = method.mask(problem, real)
                weights = dense * mask
                if pattern == "group":
                    kept = np.flatnonzero(mask.any(0))
                    yield Case(name, pattern, density, Dot(weights[:, kept], grid), fold, kept)
                else:
                    yield Case(name, pattern, density, SparseDot(weights, grid), fold, every)


def unrolled() -> Iterator[tuple[str, float, Dot]]:
    """Layers with all their weights at once, of which single ones are 0."""
    rng = np.random.default_rng(2)
    for name, grid in GRIDS.items():
        dense = rng.integers(grid.lo, grid.hi, UNROLLED, endpoint=True)
        real = rng.normal(size=dense.shape)
        problem = LayerProblem.data_free(real)
        for density in (1.0, *DENSITIES):
            mask = Fine(density, By.MAGNITUDE).mask(problem, real)
            yield name, density, Dot(dense * mask, grid)


def measured(given: list[Case], engine: str) -> list[int]:
    """Cycles from frame to frame in the written Verilog, which is checked."""
    trials: list[Trial] = []
    rng = np.random.default_rng(3)
    for number, case in enumerate(given):
        design = case.design
        shape = (FRAMES, *design.program.input.shape)
        x = rng.integers(INPUTS.lo, INPUTS.hi, shape, endpoint=True)
        trials.append(Trial(f"t{number}", design, write_rtl(design), x, {}))
    outcomes = simulate(trials, engine).outcomes
    return [_interval(*pair) for pair in zip(trials, outcomes, strict=True)]


def _interval(trial: Trial, outcome: Outcome) -> int:
    if not outcome.right:
        raise RuntimeError("; ".join(outcome.report))
    return figures(outcome.cycles, trial.design.output.beats)["interval"]


def rows(given: list[Case], cycles: list[int], found: list[Any] | None) -> list[dict[str, Any]]:
    """A record for each case."""
    return [
        {"weights": case.weights, "pattern": case.pattern, "density": case.density}
        | {"cycles": taken}
        | (_resources(found[number]) if found else {})
        for number, (case, taken) in enumerate(zip(given, cycles, strict=True))
    ]


def _resources(area: Any) -> dict[str, int]:
    return {name: asdict(area)[name] for name in ("lut", "ff", "bram", "dsp")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--cycles", action="store_true", help="leave the areas out")
    parser.add_argument("--engine", default="verilator")
    options = parser.parse_args()
    given = list(cases())
    cycles = measured(given, options.engine)
    units = [write_component(component(case.op, case.place), "unit") for case in given]
    result: dict[str, Any] = {"date": date.today().isoformat()}
    result["folded"] = rows(given, cycles, None if options.cycles else areas(units, "ecp5", 1))
    if not options.cycles:
        result["unrolled"] = unrolled_rows()
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name in ("folded", "unrolled"):
        table = result.get(name, [])
        for line in [list(table[0]), *(row.values() for row in table)] if table else []:
            print(" ".join(f"{item!s:>22}" for item in line))


def unrolled_rows() -> list[dict[str, Any]]:
    """Area of the layers with all their weights at once."""
    made = list(unrolled())
    rtl = []
    for _, _, op in made:
        edge = Edge.of((UNROLLED[1],), INPUTS)
        place = Place((edge,), op.infer(edge), Fold(*UNROLLED))
        rtl.append(write_component(component(op, place), "unit"))
    return [
        {"weights": name, "density": density} | _resources(area)
        for (name, density, _), area in zip(made, areas(rtl, "ecp5", 1), strict=True)
    ]


if __name__ == "__main__":
    main()
