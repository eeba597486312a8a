"""Closed formulas of systolic arrays against runs of SCALE-Sim, cycle by cycle.

    python benchmarks/bench_systolic.py [--json]

A dozen layers on three arrays in each dataflow; the goal is no difference.  Needs the `scalesim`
package (the `bench` extra), which writes its figures to CSV files in a temporary folder.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import csv
import io
import json
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scalesim.memory import double_buffered_scratchpad_mem
from scalesim.scale_sim import scalesim

from bitwright.sim.systolic import DATAFLOWS, Array, Product

ARRAYS = (Array(8, 4), Array(4, 8), Array(16, 16))
LAYERS = {
    "one value": Product(1, 1, 1),
    "dense 64-10": Product(1, 64, 10),
    "dense 784-64": Product(1, 784, 64),
    "less than an array": Product(3, 2, 3),
    "just an array": Product(16, 16, 16),
    "odd": Product(5, 9, 7),
    "many positions": Product(100, 4, 3),
    "16 positions": Product(16, 64, 16),
    "64 positions": Product(64, 128, 32),
}
"""Matrix products, which SCALE-Sim is given as such."""
WINDOWS = {
    "3x3 over 10x10x2, 5 filters": (10, 10, 3, 3, 2, 5, 1),
    "3x3 over 9x7x4, 8 filters, stride 2": (9, 7, 3, 3, 4, 8, 2),
    "1x1 over 6x6x16, 8 filters": (6, 6, 1, 1, 16, 8, 1),
}
"""Convolutions: rows, columns, of the kernel, channels, filters, stride."""

CONFIGURATION = """
[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
IfmapSramSzkB = 1024
FilterSramSzkB = 1024
OfmapSramSzkB = 1024
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
Bandwidth = 10
ReadRequestBuffer = 32
WriteRequestBuffer = 32
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 4
RandomNumberGeneratorSeed = 40
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def _largest(*values: Any) -> int:
    """`max` for SCALE-Sim 3.0, which takes the int of an array of one value; NumPy 2.4 refuses."""
    return np.asarray(builtins.max(*values)).item()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    rows = measure()
    wrong = [row for row in rows if row["formula"] != row["scalesim"]]
    if options.json:
        about = {"date": date.today().isoformat(), "scalesim": version("scalesim")}
        print(json.dumps({**about, "differences": len(wrong), "rows": rows}, indent=2))
        return bool(wrong)
    for row in rows:
        print(
            f"{row['array']:6} {row['dataflow']:18} {row['layer']:36} "
            f"formula {row['formula']:7,} SCALE-Sim {row['scalesim']:7,}"
            f"{'' if row['formula'] == row['scalesim'] else '  DIFFERENT'}"
        )
    print(f"{len(rows)} layers, {len(wrong)} differences (SCALE-Sim {version('scalesim')})")
    return bool(wrong)


def measure() -> list[dict[str, Any]]:
    """Every layer on every array in every dataflow, both ways."""
    double_buffered_scratchpad_mem.max = _largest
    found: list[dict[str, Any]] = []
    for array in ARRAYS:
        for flow in DATAFLOWS:
            simulated = _gemms(array, flow) | _convolutions(array, flow)
            layers = LAYERS | {name: _as_product(*size) for name, size in WINDOWS.items()}
            for name, product in layers.items():
                figures = {"formula": array.cycles(product, flow), "scalesim": simulated[name]}
                shape = f"{array.rows}x{array.columns}"
                found.append({"array": shape, "dataflow": flow, "layer": name, **figures})
    return found


def _as_product(
    height: int, width: int, kh: int, kw: int, channels: int, filters: int, stride: int
) -> Product:
    """A convolution without padding as a matrix product."""
    positions = ((height - kh) // stride + 1) * ((width - kw) // stride + 1)
    return Product(positions, kh * kw * channels, filters)


def _gemms(array: Array, flow: str) -> dict[str, int]:
    rows = [f"{k},{p.positions},{p.filters},{p.terms}," for k, p in enumerate(LAYERS.values())]
    cycles = _run(array, flow, "Layer,M,N,K,", rows, gemm=True)
    return dict(zip(LAYERS, cycles, strict=True))


def _convolutions(array: Array, flow: str) -> dict[str, int]:
    heading = "Layer,IFMAP H,IFMAP W,Filter H,Filter W,Channels,Filters,Stride,"
    rows = [f"{k},{','.join(map(str, size))}," for k, size in enumerate(WINDOWS.values())]
    cycles = _run(array, flow, heading, rows, gemm=False)
    return dict(zip(WINDOWS, cycles, strict=True))


def _run(array: Array, flow: str, heading: str, rows: list[str], gemm: bool) -> list[int]:
    """The cycles that SCALE-Sim reports, a layer a row."""
    short = "".join(word[0] for word in flow.split("_"))
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        files = {name: Path(folder) / name for name in ("config", "topology", "layout")}
        files["config"].write_text(
            CONFIGURATION.format(rows=array.rows, columns=array.columns, dataflow=short)
        )
        files["topology"].write_text("\n".join([heading, *rows, ""]))
        files["layout"].write_text("Layer,\n")
        with contextlib.redirect_stdout(io.StringIO()):
            run = scalesim(
                save_disk_space=True, verbose=False, input_type_gemm=gemm,
                **{name: str(path) for name, path in files.items()},
            )  # fmt: skip
            run.run_scale(top_path=str(Path(folder) / "out"))
        with (Path(folder) / "out" / "run" / "COMPUTE_REPORT.csv").open() as report:
            table = list(csv.reader(report, skipinitialspace=True))
    column = table[0].index("Total Cycles")
    return [int(float(row[column])) for row in table[1:]]


if __name__ == "__main__":
    sys.exit(main())
