"""Whole accelerators: generated, verified in RTL, synthesised, placed, beside FINN's figures.

    python benchmarks/bench_accelerators.py [tfc cnv resnet8 dscnn] [--seeds N] [--write]

TFC and CNV are folded as FINN publishes them, so that cycles and LUTs stand side by side; ResNet-8
and DS-CNN are folded best for a number of cycles per frame.  Every value and every cycle of every
stream is compared in the simulators; any difference ends the run with exit code 1.  Simulators are
built with an empty cache of builds; synthesis and placement keep theirs.  FINN's LUTs are by its
own formula (Xilinx LUT6, without thresholds, windows and buffers); ours are counted by Yosys of the
whole design.  --write puts the tables of all networks, placed and without a difference, in
docs/accelerators.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import finn

from bitwright.codegen import place, synth
from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.project import sample_frames
from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw.design import Design, figures
from bitwright.models.memory import weights
from bitwright.models.ops import DepthwiseDot, Dot
from bitwright.models.program import Program
from bitwright.models.zoo.shapes import SHAPES
from bitwright.sim import rtl

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accelerators.md"


@dataclass(frozen=True)
class Plan:
    """How a network is folded, and how many frames each simulator runs.

    cycles: per frame, or None for FINN's published folding.  seeds: placements, of which that of a
    large design takes many minutes.
    """

    cycles: int | None
    frames: dict[str, int]
    seeds: int = 1


PLANS = {
    "tfc": Plan(None, {"verilator": 32, "icarus": 8}, 3),
    "cnv": Plan(None, {"verilator": 2, "icarus": 1}),
    "resnet8": Plan(131_072, {"verilator": 8, "icarus": 1}),
    "dscnn": Plan(65_536, {"verilator": 8, "icarus": 1}),
}
FAMILIES = ("ecp5", "xc7")


def timed(seconds: dict[str, float], step: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; its time is kept under `step`."""
    tell(step)
    start = time.perf_counter()
    made = work()
    seconds[step] = round(time.perf_counter() - start, 2)
    return made


def tell(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@contextmanager
def empty_cache() -> Iterator[None]:
    """Simulators are built anew inside, but for what a compiler's own cache (ccache) holds."""
    before = os.environ.get("BITWRIGHT_CACHE")
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        os.environ["BITWRIGHT_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("BITWRIGHT_CACHE")
            if before is not None:
                os.environ["BITWRIGHT_CACHE"] = before


def run(name: str, seeds: int) -> dict[str, Any]:
    """Everything about one network."""
    plan, seconds = PLANS[name], dict[str, float]()
    program: Program = timed(seconds, f"{name}: program", SHAPES[name])
    design: Design = timed(seconds, f"{name}: fold and buffer", lambda: _design(program, plan))
    written: Rtl = timed(seconds, f"{name}: write Verilog", lambda: write_rtl(design))
    found: dict[str, Any] = {
        "network": name,
        "weights": sum(weights(node.op) for node in program.nodes),
        "layers": _layers(design),
        "interval": design.interval,
        "simulations": [
            _simulated(name, design, written, engine, frames, seconds)
            for engine, frames in plan.frames.items()
        ],
    }
    # Of this process and of the largest child so far; before synthesis, which is another tool's.
    used = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    found["peak_mb"] = max(resource.getrusage(who).ru_maxrss for who in used) // 1024
    if not seeds:
        return {**found, "seconds": seconds}
    found["area"] = {}
    for family in FAMILIES:
        tell(f"{name}: synthesis {family}")
        area = synth.cached(written, family)
        # Remembered results have the seconds of the run that made them.
        seconds[f"{name}: synthesis {family}"] = round(area.seconds)
        found["area"][family] = {r: getattr(area, r) for r in synth.RESOURCES}
    tell(f"{name}: place and route")
    made = place.place(written, "ecp5", seeds=seeds, tell=tell)
    seconds[f"{name}: place and route, a seed"] = round(median(r.seconds for r in made.runs))
    return {**found, "placed": _placed(made), "seconds": seconds}


def _design(program: Program, plan: Plan) -> Design:
    if plan.cycles is not None:
        return build(program, plan.cycles)
    return build(program, fold=finn.folding(program, finn.PUBLISHED[program.name]))


def _layers(design: Design) -> list[dict[str, Any]]:
    """The matrix units, beside FINN's formulas at the same folding where it publishes one."""
    program = design.program
    folds = {name: {"pe": f.pe, "simd": f.simd} for name, f in design.folds.items()}
    theirs = finn.matrices(program, folds) if program.name in finn.PUBLISHED else {}
    rows = []
    for node in program.nodes:
        if not isinstance(node.op, Dot | DepthwiseDot):
            continue
        unit = next(i for i in design.instances if i.layer == node.name)
        row = {"layer": node.name, **folds[node.name], "cycles": unit.cycles}
        if node.name in theirs:
            row["finn_cycles"] = theirs[node.name].cycles
            row["finn_lut"] = round(theirs[node.name].luts)
            row["finn_bram18"] = theirs[node.name].bram18
        rows.append(row)
    return rows


def _simulated(
    name: str, design: Design, written: Rtl, engine: str, frames: int, seconds: dict[str, float]
) -> dict[str, Any]:
    x = sample_frames(design.program.input, frames)
    trial = Trial("dut", design, written, x, {})
    step = f"{name}: {engine}, {frames} {'frame' if frames == 1 else 'frames'}"
    with empty_cache():
        done = timed(seconds, step, lambda: rtl.simulate([trial], engine))
    outcome = done.outcomes[0]
    promised = figures(design.schedule(frames)[design.streams[-1].name], design.output.beats)
    return {
        "engine": engine,
        "frames": frames,
        "streams": len(outcome.streams),
        "transfers": outcome.transfers,
        "differences": sum(outcome.wrong.values()),
        "promised": promised,
        "measured": rtl.measured(outcome, design),
        "seconds": {step: round(spent, 2) for step, spent in done.seconds.items()},
    }


def _placed(made: place.Placed) -> dict[str, Any]:
    return {
        "device": made.device,
        "mhz": made.mhz,
        "lowest": min(made.clocks),
        "highest": max(made.clocks),
        "seeds": len(made.runs),
        "limits": made.middle.end,
    }


def right(found: dict[str, Any]) -> bool:
    """Whether nothing differed and every figure was as promised."""
    return all(
        not s["differences"] and s["promised"] == s["measured"] for s in found["simulations"]
    )


# --- what is printed ----------------------------------------------------------------------------


def page(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The tables, as Markdown."""
    made = datetime.now(UTC).date().isoformat()
    yield "# Whole accelerators\n"
    yield (
        f"Made by `python benchmarks/bench_accelerators.py --write` on {made}, {_machine()}, "
        f"{synth.yosys_version()}. TFC and CNV are folded as FINN publishes them, ResNet-8 and "
        "DS-CNN best for so many cycles a frame (least estimated area on ECP5).\n"
    )
    yield from _simulations(results)
    yield from _areas(results)
    yield from _times(results)
    yield from (line for found in results for line in _beside_finn(found))


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{os.cpu_count()} cores ({names[0] if names else 'unknown'})"


def _row(*cells: Any) -> str:
    return "| " + " | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in cells) + " |"


def _table(*heads: str) -> str:
    return _row(*heads) + "\n" + _row(*["---"] * len(heads))


def _simulations(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Verified\n"
    yield _table(
        "network", "weights", "simulator", "frames", "streams", "transfers compared", "differences",
        "first frame, cycles (promised = measured)", "interval",
    )  # fmt: skip
    for found in results:
        for s in found["simulations"]:
            same = "" if s["promised"] == s["measured"] else " (measured otherwise)"
            yield _row(
                found["network"], found["weights"], s["engine"], s["frames"], s["streams"],
                s["transfers"], s["differences"], f"{s['promised']['first']:,}{same}",
                s["promised"]["interval"] or "-",  # One frame has none.
            )  # fmt: skip
    yield ""


def _areas(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Area and clock\n"
    yield (
        "Whole designs, windows, thresholds and buffers included. BRAM counts blocks of 18 kbit. "
        "The clock is that of nextpnr on ECP5: median of the seeds, and the lowest and highest.\n"
    )
    yield _table(
        "network", "ECP5 LUT4 / FF / BRAM / DSP", "Xilinx 7 LUT6 / FF / BRAM / DSP", "device",
        "clock, MHz", "frames a second", "limits the clock",
    )  # fmt: skip
    for found in results:
        areas = (
            " / ".join(f"{count:,}" for count in found["area"][family].values())
            for family in FAMILIES
        )
        placed = found["placed"]
        fps = round(placed["mhz"] * 1e6 / found["interval"])
        yield _row(
            found["network"], *areas, placed["device"],
            _clock(placed), fps, placed["limits"],
        )  # fmt: skip
    yield ""


def _clock(placed: dict[str, Any]) -> str:
    if placed["seeds"] == 1:
        return f"{placed['mhz']:.1f} (1 seed)"
    spread = f"{placed['lowest']:.1f} to {placed['highest']:.1f}"
    return f"{placed['mhz']:.1f} ({spread}, {placed['seeds']} seeds)"


def _times(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Seconds, and memory from the network to verified Verilog\n"
    for found in results:
        prefix = f"{found['network']}: "
        steps = ", ".join(
            f"{step.removeprefix(prefix)} {spent:g}" for step, spent in found["seconds"].items()
        )
        yield f"- {found['network']}: {steps}; peak {found['peak_mb']:,} MB.\n"


def _beside_finn(found: dict[str, Any]) -> Iterator[str]:
    rows = found["layers"]
    if "finn_lut" not in rows[0]:
        return
    total = sum(row["finn_lut"] for row in rows)
    yield f"## {found['network']} beside FINN, matrix units at the same folding\n"
    yield _table("layer", "PE", "SIMD", "cycles", "FINN's cycles", "FINN's LUT", "FINN's BRAM18")
    for row in rows:
        yield _row(*(row[k] for k in ("layer", "pe", "simd", "cycles", "finn_cycles", "finn_lut",
                                      "finn_bram18")))  # fmt: skip
    ours = found["area"]["xc7"]
    first = found["simulations"][0]["measured"]["first"]
    summed = sum(row["finn_cycles"] for row in rows)
    yield (
        f"\nFINN's formula gives {total:,} LUT for the matrix units alone; ours on Xilinx 7 is "
        f"{ours['lut']:,} LUT for everything. FINN's latency, the sum of its layers' cycles, is "
        f"{summed:,} cycles; the RTL's is {first:,}.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(PLANS)} (default: all)")
    parser.add_argument(
        "--seeds", type=int, help="placements (default: 3 of tfc, 1 of the others); 0: verify only"
    )
    parser.add_argument("--write", action="store_true", help="write docs/accelerators.md")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    unknown = set(arguments.networks) - set(PLANS)
    if unknown:
        parser.error(f"there is no network {sorted(unknown)[0]!r}")
    some = arguments.networks and set(arguments.networks) != set(PLANS)
    if arguments.write and (some or arguments.seeds is not None or arguments.json):
        parser.error("--write makes the page of all networks, placed; give no names and no --json")
    results = [
        run(name, PLANS[name].seeds if arguments.seeds is None else arguments.seeds)
        for name in arguments.networks or PLANS
    ]
    correct = all(map(right, results))
    if arguments.json or arguments.seeds == 0:
        print(json.dumps(results, indent=1))
    else:
        text = "\n".join(page(results))
        print(text)
        if arguments.write and correct:
            PAGE.write_text(text)
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(main())
