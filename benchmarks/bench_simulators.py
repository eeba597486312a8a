"""Simulated cycles per second of the cocotb bench: Verilator against Icarus, in one run.

    python benchmarks/bench_simulators.py [--json]

The fully binary digits network runs on real-sized frames in turn under both simulators; builds are
made before the clock starts.  Ratios are quoted, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from datetime import date

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.project import sample_frames
from bitwright.codegen.verilog import write_rtl
from bitwright.models import zoo
from bitwright.sim.rtl import ENGINES, simulate

NETWORK, FRAMES, ROUNDS = "digits-binary", 16, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    design = build(zoo.programs()[NETWORK].load())
    frames = sample_frames(design.program.input, FRAMES)
    trial = Trial("dut", design, write_rtl(design), frames, {})
    rates: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for engine in ENGINES:
        simulate([trial], engine)
    for _ in range(ROUNDS):
        for engine in ENGINES:
            start = time.perf_counter()
            run = simulate([trial], engine)
            outcome = run.outcomes[0]
            assert outcome.right, outcome.report
            total = int(outcome.cycles[-1]) + 1
            # Starting Python and judging a million transfers is part of what a user waits for.
            rates[engine].append(total / (time.perf_counter() - start))
    pairs = [v / i for v, i in zip(rates["verilator"], rates["icarus"], strict=True)]
    result = {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "network": NETWORK,
        "frames": FRAMES,
        "cycles_per_second": {e: _spread(values) for e, values in rates.items()},
        "verilator_over_icarus": _spread(pairs),
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for engine, row in result["cycles_per_second"].items():
        print(f"{engine:10} {row['median']:>12,.0f} cycles a second ({_range(row)})")
    ratio = result["verilator_over_icarus"]
    print(
        f"Verilator / Icarus: {ratio['median']:.2f} (from {ratio['min']:.2f} to {ratio['max']:.2f})"
    )


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _range(row: dict[str, float]) -> str:
    return f"from {row['min']:,.0f} to {row['max']:,.0f}"


if __name__ == "__main__":
    main()
