"""Every compression method on two networks: accuracy, bits, operations, cycles, area, RTL.

    python benchmarks/bench_methods.py [METHOD ...] [--tasks digits mnist1d] [--seeds 3]
        [--frames 2] [--no-synth] [--results FILE.json] [--finetuned FILE.json ...] [--write]

Accuracy is that of the exact integer program on test data, for three float networks that differ in
their seed alone, without fine-tuning; calibration reads some training inputs, activations take 8
bits.  --finetuned puts the accuracies of bench_finetune.py's results beside it.  All else is
of the first network: operations are those that the datapaths of its design do in a frame, the
design folded at equal parallelism (each unit at the fewest cycles with at most 16 products or
lookups at a time; Winograd's transforms as narrow as keep up), its area is counted by Yosys for
ECP5, and its Verilog is compared with the definition and the schedule in every transfer (any
difference ends the run with exit code 1).
--results keeps what is measured, and what is there is not measured again: a table takes half an
hour.  --write makes docs/methods.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from statistics import mean, median
from typing import Any

import tasks

from bitwright.codegen import synth
from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.cost import RESOURCES
from bitwright.hw.design import Design, folding_choices
from bitwright.hw.unit import Fold, Place, cycles
from bitwright.hw.work import work
from bitwright.models import zoo
from bitwright.models.classes import top_1
from bitwright.models.layers import Conv, Dense
from bitwright.models.lower import quantise
from bitwright.models.network import Network
from bitwright.models.ops import DepthToSpace, Lookup, TapTransform
from bitwright.models.program import Op, Program
from bitwright.sim import kernels, rtl
from bitwright.sim.compare import estimate_design

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methods.md"
LANES = 16
FAMILY = "ecp5"
METHODS = (
    "sign", "bwnh-symmetric", "bwnh", "bwnh2", "bwnh2:shift_add=True", "bwnh3",
    "ternary", "int2", "int4", "int8", "winograd",
    "ffn-sdd", "ffn", "ffn:rank=0.5",
    "qcnn-kmeans", "qcnn", "qcnn:words=32",
    "svd", "spatial", "tucker", "cp",
    "prune-fine", "prune-vector", "prune-kernel", "prune-group", "prune-filter",
    "maddness", "maddness:space=2",
)  # fmt: skip
"""The methods of a table, in its order."""


@dataclass(frozen=True)
class Task:
    """What stands above its table; methods that it leaves out, and why."""

    title: str
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        """The methods of its table."""
        return [name for name in METHODS if name not in self.without]


TASKS = {
    "digits": Task("Handwritten digits (450 test images), the zoo's networks"),
    "mnist1d": Task(
        "MNIST-1D (1,000 test sequences), a CNN of three convolutions along the sequence",
        {"winograd": "its tiles are those of 3x3 convolutions, so that it would be `int8`"},
    ),
}


def tell(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def weights_of(network: Network) -> int:
    """Weights of the float network."""
    return sum(
        node.layer.weights.size for node in network.nodes if isinstance(node.layer, Conv | Dense)
    )


def lanes(op: Op, fold: Fold) -> int:
    """Products or lookups that a unit does at a time."""
    return fold.pe * fold.simd // (op.words if isinstance(op, Lookup) else 1)


def folded(program: Program) -> Design:
    """The design in which each layer takes the fewest cycles that at most `LANES` lanes allow.

    What rearranges and adds around Winograd's tiles has no such lanes: it is as narrow as keeps up.
    """
    edges, nodes = program.edges, {node.name: node for node in program.nodes}
    taken: dict[str, dict[Fold, int]] = {}
    for name, choices in folding_choices(program).items():
        node = nodes[name]
        inputs = tuple(edges[source] for source in node.inputs)
        taken[name] = {f: cycles(node.op, Place(inputs, edges[name], f)) for f in choices}
    folds: dict[str, Fold] = {}
    for name, found in taken.items():
        op = nodes[name].op
        most = max(LANES, min(lanes(op, fold) for fold in found))
        few = [fold for fold in found if lanes(op, fold) <= most]
        folds[name] = min(few, key=lambda fold: (found[fold], fold.pe * fold.simd, fold.pe))
    around = {name for name in folds if isinstance(nodes[name].op, TapTransform | DepthToSpace)}
    slowest = max(taken[name][fold] for name, fold in folds.items() if name not in around)
    for name in around:
        found = taken[name]
        enough = [fold for fold in found if found[fold] <= max(slowest, min(found.values()))]
        folds[name] = min(enough, key=lambda fold: fold.pe * fold.simd)
    return build(program, fold={n: {"pe": f.pe, "simd": f.simd} for n, f in folds.items()})


def measure(task: str, name: str, seeds: int, frames: int, synthesised: bool) -> dict[str, Any]:
    """Everything about one method."""
    _, _, x, y = tasks.data(task)
    networks = [tasks.floats(task, seed) for seed in range(seeds)]
    programs: list[Program] = []
    for number, network in enumerate(networks):
        tell(f"{name}: compressing network {number + 1} of {len(networks)}")
        programs.append(quantise(network, tasks.calibration(task), name, 8, kernels.execute))
    accuracy = [top_1(kernels.run(one, x), y) for one in programs]
    tell(f"{name}: accuracy {mean(accuracy):.2%}; building")
    program = programs[0]
    design = folded(program)
    done = [work(instance.op, instance.place) for instance in design.instances]
    counts: dict[str, int] = {}
    for one in done:
        for kind, count in (one.counts if one else {}).items():
            counts[kind] = counts.get(kind, 0) + count
    written = write_rtl(design)
    tell(f"{name}: simulating {frames} frames")
    outcome = rtl.simulate([Trial("dut", design, written, x[:frames], {})], "verilator").outcomes[0]
    bits = program.metadata["weight_bits"]
    result: dict[str, Any] = {
        "task": task,
        "method": name,
        "float": [top_1(network(x), y) for network in networks],
        "date": datetime.now(UTC).date().isoformat(),
        "accuracy": accuracy,
        "bits": bits,
        "bits_per_weight": bits / weights_of(networks[0]),
        "work": counts,
        "unknown_work": sum(one is None for one in done),
        "interval": design.interval,
        "estimate": estimate_design(design, FAMILY)["lut"],
        "transfers": outcome.transfers,
        "differences": sum(outcome.wrong.values()),
        "area": None,
    }
    if synthesised:
        tell(f"{name}: Yosys for {FAMILY}")
        area = synth.cached(written, FAMILY)
        result["area"] = {resource: getattr(area, resource) for resource in RESOURCES}
    return result


Trained = Mapping[tuple[str, str], Sequence[float]]


def finetuned(files: Sequence[Path]) -> Trained:
    """Accuracies on test data after fine-tuning, by task and method: results of bench_finetune."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in chain.from_iterable(json.loads(file.read_text()) for file in files):
        if not one["validate"]:
            found.setdefault((one["task"], one["method"]), []).append(one["after"])
    return found


def spread(values: Sequence[float]) -> str:
    """The mean, with the least and the most."""
    return f"{mean(values):.2%} ({min(values):.2%} to {max(values):.2%})" if values else "-"


def page(results: Sequence[dict[str, Any]], trained: Trained) -> Iterator[str]:
    """The tables, as Markdown."""
    yield "# Compression methods on two networks\n"
    yield (
        "Made by `python benchmarks/bench_methods.py --finetuned FILE --write` with the results "
        "of `bench_finetune.py --results FILE`, measured "
        f"{' and '.join(sorted({one['date'] for one in results}))}, {os.cpu_count()} cores, "
        f"{synth.yosys_version()}. "
        "Accuracy is that of the exact integer programs: the mean of three float networks (and "
        "their least and most), 8-bit activations, all layers compressed: without fine-tuning, "
        f"calibrated on {tasks.CALIBRATION['digits']} images or "
        f"{tasks.CALIBRATION['mnist1d']:,} sequences, and after fine-tuning on the training data "
        "([how](finetune.md)). Operations are those of the "
        f"datapaths in a frame, of designs whose units do at most {LANES} products or lookups at a "
        "time; area is counted by Yosys on ECP5 (LUT4 / FF / BRAM / DSP), LUTs times the cycles of "
        "a frame compare designs of different speed, and the estimate of its "
        f"LUTs is off by so much ([the model](area.md)): {off(results)}. Every transfer of every "
        "stream was compared with the definition and the schedule. What the figures say: "
        "[where each method wins and loses](compression.md#costs).\n"
    )
    for name, task in TASKS.items():
        rows = [one for one in results if one["task"] == name]
        if rows:
            yield f"## {task.title}\n"
            yield f"Float networks: {spread(rows[0]['float'])}.\n"
            yield from table(rows, trained)
            yield from (f"No `{left}`: {why}.\n" for left, why in task.without.items())


def table(results: Sequence[dict[str, Any]], trained: Trained) -> Iterator[str]:
    """One task."""
    heads = (
        "method", "accuracy", "fine-tuned", "bits a weight", "kbit", "multiplications",
        "additions", "lookups", "cycles a frame", "LUT / FF / BRAM / DSP",
        "M LUT cycles", "LUT estimated", "transfers, differences",
    )  # fmt: skip
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for found in results:
        done, area = found["work"], found["area"]
        cells = (
            found["method"],
            spread(found["accuracy"]),
            spread(trained.get((found["task"], found["method"]), ())),
            f"{found['bits_per_weight']:.2f}",
            f"{found['bits'] / 1000:.1f}",
            *(f"{done.get(kind, 0):,}" for kind in ("multiply", "add", "lookup")),
            f"{found['interval']:,}",
            " / ".join(f"{area[r]:,}" for r in RESOURCES) if area else "-",
            f"{area['lut'] * found['interval'] / 1e6:.0f}" if area else "-",
            difference(found["estimate"], area["lut"] if area else None),
            f"{found['transfers']:,}, {found['differences']}",
        )
        yield "| " + " | ".join(cells) + " |"
    yield ""


def off(results: Sequence[dict[str, Any]]) -> str:
    """How far the estimates of all designs are off."""
    judged = [one for one in results if one["area"] and one["estimate"]]
    errors = [abs(one["estimate"] / one["area"]["lut"] - 1) for one in judged] or [0.0]
    return (
        f"{median(errors):.1%} in the median of {len(judged)} designs, {max(errors):.1%} at worst, "
        f"and {len(results) - len(judged)} hold a unit beyond the fit"
    )


def difference(estimate: int | None, lut: int | None) -> str:
    """How far an estimate is off."""
    return f"{estimate / lut - 1:+.1%}" if estimate and lut else "-"


def kept_or_measured(task: str, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Everything about one method, from the file of results where it has it."""
    kept: list[dict[str, Any]] = []
    if given.results and given.results.exists():
        kept = json.loads(given.results.read_text())
    for one in kept:
        complete = len(one["accuracy"]) == given.seeds and (one["area"] or given.no_synth)
        if (one["task"], one["method"]) == (task, name) and complete:
            return one
    found = measure(task, name, given.seeds, given.frames, not given.no_synth)
    if given.results:
        given.results.write_text(json.dumps([*kept, found], indent=1))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("methods", nargs="*", help="methods, settings too (default: all)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3, help="networks (default: 3)")
    parser.add_argument("--frames", type=int, default=2, help="frames in RTL (default: 2)")
    parser.add_argument("--no-synth", action="store_true", help="leave the area out")
    parser.add_argument("--results", type=Path, help="JSON of what is measured already, kept up")
    parser.add_argument(
        "--finetuned", type=Path, nargs="+", default=[], help="results of bench_finetune.py"
    )
    parser.add_argument("--write", action="store_true", help="write docs/methods.md")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    part = given.methods or given.no_synth or len(given.tasks) < len(TASKS)
    if given.write and (part or given.seeds < len(zoo.SEEDS)):
        parser.error("--write makes the whole page, of all seeds, with its areas")
    results = [
        kept_or_measured(task, name, given)
        for task in given.tasks
        for name in given.methods or TASKS[task].methods
    ]
    wrong = any(found["differences"] for found in results)
    text = "\n".join(page(results, finetuned(given.finetuned)))
    print(json.dumps(results, indent=1) if given.json else text)
    if given.write and not wrong:
        PAGE.write_text(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
