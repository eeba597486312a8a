"""Seconds and memory from a program to verified Verilog, and how they grow with weights.

    python benchmarks/bench_scaling.py [--engine verilator] [--most 1000000] [--json]

The family: binary dense networks of three equal layers with signs between, folded to 1,024 cycles a
frame, so that gates grow with weights too; random weights; 8 frames, every value and every cycle of
every stream compared.  Each size runs in a process of its own with an empty cache of simulator
builds (a first, unquoted run of the smallest size fills the compiler's cache of Verilator's
library).  Seconds are of the processor, tools included; the exponents are slopes of log seconds
over log weights: over all sizes, and over the last step alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.project import sample_frames
from bitwright.codegen.verilog import write_rtl
from bitwright.models.fixed import BINARY
from bitwright.models.ops import Dot, Thresholds
from bitwright.models.program import INPUT, Edge, Node, Program
from bitwright.sim.rtl import ENGINES, simulate

SIZES = (16, 60, 180, 576)
LAYERS, CYCLES, FRAMES = 3, 1024, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--engine", choices=ENGINES, default="verilator")
    parser.add_argument("--most", type=int, default=1_000_000, help="weights of the largest")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.engine)))
        return
    sizes = [size for size in SIZES if LAYERS * size**2 <= options.most]
    apart(sizes[0], options.engine)
    rows = [apart(size, options.engine) for size in sizes]
    result = {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "engine": options.engine,
        "frames": FRAMES,
        "rows": rows,
        "exponent": {key: exponents(rows, key) for key in ("total", "write", "peak")},
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    steps = list(rows[0]["seconds"])
    print(f"{'weights':>9} " + "".join(f"{step:>11}" for step in steps) + f"{'peak MB':>11}")
    for row in rows:
        seconds = "".join(f"{row['seconds'][step]:11.2f}" for step in steps)
        print(f"{row['weights']:9,} {seconds}{row['peak']:11,.0f}")
    for key, (overall, last) in result["exponent"].items():
        print(f"{key}: weights to the power of {overall:.2f} (last step {last:.2f})")


def apart(size: int, engine: str) -> dict[str, Any]:
    """Measure one size in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bitwright-") as cache:
        done = subprocess.run(
            [sys.executable, Path(__file__).resolve(), "--one", str(size), "--engine", engine],
            env={**os.environ, "BITWRIGHT_CACHE": cache},
            capture_output=True, text=True, check=False, timeout=7200,
        )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def exponents(rows: list[dict[str, Any]], key: str) -> tuple[float, float]:
    """Slopes over all sizes, by least squares, and between the last two."""
    weights = np.log([row["weights"] for row in rows])
    values = np.log([row["peak"] if key == "peak" else row["seconds"][key] for row in rows])
    last = (values[-1] - values[-2]) / (weights[-1] - weights[-2]) if len(rows) > 1 else np.nan
    slope = np.polyfit(weights, values, 1)[0] if len(rows) > 1 else np.nan
    return float(slope), float(last)


def network(size: int) -> Program:
    """Three layers of `size` by `size` random signs, the last without thresholds."""
    rng = np.random.default_rng(size)
    nodes, source = [], INPUT
    for layer in range(LAYERS):
        dot = Dot(rng.choice([-1, 1], (size, size)), BINARY)
        nodes.append(Node(f"fc{layer}", dot, (source,)))
        source = f"fc{layer}"
        if layer < LAYERS - 1:
            ones = np.ones(size, np.int64)
            cuts = rng.integers(-4, 5, (size, 1))
            nodes.append(Node(f"sign{layer}", Thresholds(cuts, -ones, 2 * ones), (source,)))
            source = f"sign{layer}"
    return Program(f"dense{size}", Edge.of((size,), BINARY), tuple(nodes))


class Clock:
    """Seconds of the processor by step, those of child processes among them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = spent()
        yield
        self.seconds[step] = spent() - start


def spent() -> float:
    """Seconds of the processor that this process and its ended children took."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(size: int, engine: str) -> dict[str, Any]:
    """Every step of one size, from the operators on."""
    clock = Clock()
    start = time.perf_counter()
    with clock("program"):
        program = network(size)
    with clock("folding"):
        design = build(program, CYCLES)
    with clock("schedule"):
        design.schedule(FRAMES)
    with clock("write"):
        written = write_rtl(design)
    trial = Trial("dut", design, written, sample_frames(program.input, FRAMES), {})
    with clock("build"):
        # One frame, and the build is there for all.
        few = Trial("dut", design, written, trial.inputs[:1], {})
        assert simulate([few], engine).outcomes[0].right
    with clock("simulate"):
        (outcome,) = simulate([trial], engine).outcomes
    assert outcome.right, outcome.report
    np.testing.assert_array_equal(outcome.outputs, program(trial.inputs))
    clock.seconds["total"] = sum(clock.seconds.values())
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {
        "weights": LAYERS * size**2,
        "interval": design.interval,
        "cycles": int(outcome.cycles[-1]) + 1,
        "transfers": outcome.transfers,
        "seconds": clock.seconds,
        "wall": time.perf_counter() - start,
        "peak": max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024,
    }


if __name__ == "__main__":
    main()
