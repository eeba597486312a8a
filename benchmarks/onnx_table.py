"""What the ONNX importer takes, and whether it is exact: ONNX's node cases and 108 networks.

    python benchmarks/onnx_table.py [--write]

Each model is imported; its program's kernels are compared with the rational oracle of the tests,
exactly, and its Verilog with the program's definition, every value and every cycle.  RTL runs in
batches of designs: networks under Verilator, node cases under Icarus.  --write stores the table as
docs/onnx_table.md.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the oracle and the sample networks are the tests'

from bench_networks import processor  # noqa: E402
from onnx_judge import differing, taken  # noqa: E402
from onnx_models import HAND_MADE, RECIPES, frames, quantised  # noqa: E402
from test_onnx_node_cases import cases  # noqa: E402

from bitwright.codegen.bench import Trial  # noqa: E402
from bitwright.codegen.folding import build  # noqa: E402
from bitwright.codegen.verilog import write_rtl  # noqa: E402
from bitwright.hw.design import Design  # noqa: E402
from bitwright.models.program import Program  # noqa: E402
from bitwright.sim.rtl import simulate  # noqa: E402

TARGET = ROOT / "docs" / "onnx_table.md"
BATCH, CYCLES = 20, 1 << 13
NUMBA_FRAMES, RTL_FRAMES = 20, 2
NETWORKS = {
    "mlp": "MLP",
    "cnn": "CNN with pooling",
    "residual": "residual CNN",
    "depthwise": "depthwise-separable CNN",
}
SHAPES = {"mlp": "MLP", "cnn": "residual CNN with pooling"}
"""The networks written by hand."""


HEAD = """# ONNX: what is imported, and whether it is exact

Measured on {day} on one machine ({machine})
by `python benchmarks/onnx_table.py --write`, in {minutes} minutes.

- Exact in Numba: every value of {numba} frames equals the rational oracle's.
- Exact in RTL: every value and every cycle of every stream is as promised, for {rtl} frames of each
  network under Verilator, and for their own data of the node cases under Icarus.

| made by | network | form | bits | scale per | models | imported | exact in Numba | exact in RTL | refused |
|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501


@dataclass(frozen=True)
class Sample:
    """A model, and the row of the table that it counts in."""

    name: str
    row: tuple[str, str, str]
    bits: str
    per: str
    model: Callable[[], onnx.ModelProto]
    given: Callable[[onnx.ModelProto, int], Any]


@dataclass
class Row:
    """Counts of one row."""

    bits: list[str] = field(default_factory=list[str])
    per: list[str] = field(default_factory=list[str])
    models: int = 0
    imported: int = 0
    numba: int = 0
    rtl: int = 0
    refused: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--write", action="store_true", help="store the table in docs/")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows, refusals = measure([*node_cases(), *networks(Path(folder))])
    text = table(rows, refusals, time.perf_counter() - start)
    print(text)
    if options.write:
        TARGET.write_text(text)


def node_cases() -> Iterator[Sample]:
    """ONNX's cases of quantised operators, the other inputs made constants."""
    for name, (model, x, _) in cases().items():
        yield Sample(
            name,
            ("ONNX's own", "node cases", "single operators"),
            "2 to 16",
            "both",
            lambda model=model: model,
            lambda _, number, x=x: x,
        )


def networks(folder: Path) -> Iterator[Sample]:
    """Networks written by hand, quantised by ONNX Runtime, and exported by Brevitas."""
    for name, make in HAND_MADE.items():
        kind, shape, bits, *per = name.split("-")
        forms = {"qonnx": "QONNX", "bipolar": "BipolarQuant", "qcdq": "QCDQ"}
        network = SHAPES[shape] if kind in forms else NETWORKS[shape]
        row = ("by hand", network, forms.get(kind, "MultiThreshold"))
        yield Sample(name, row, _bits(bits), per[0] if per else "channel", make, frames)
    for recipe in RECIPES:
        row = ("ONNX Runtime", NETWORKS[recipe.network], recipe.format)
        per = "channel" if recipe.per_channel else "tensor"
        make = partial(quantised, recipe, folder)
        yield Sample(str(recipe), row, "8", per, make, frames)
    for path in sorted((ROOT / "tests" / "data").glob("brevitas_*.onnx")):
        _, shape, bits, *rest = path.stem.split("_")
        row = ("Brevitas", NETWORKS[shape], "QCDQ" if "qcdq" in rest else "QONNX")
        per = "channel" if "channel" in rest else "tensor"
        yield Sample(
            path.stem, row, bits.removesuffix("bit"), per, partial(onnx.load, path), frames
        )


def _bits(text: str) -> str:
    """Weight and activation bits, once where they are alike."""
    found = re.findall(r"\d+", text)
    return found[0] if len(set(found)) == 1 else "/".join(found)


def measure(samples: Sequence[Sample]) -> tuple[dict[tuple[str, str, str], Row], dict[str, int]]:
    """Import and judge every sample; counts by row, and how often each sentence refused."""
    rows: dict[tuple[str, str, str], Row] = {}
    refusals: dict[str, int] = {}
    waiting: dict[str, list[tuple[Sample, Program, Any]]] = {"icarus": [], "verilator": []}
    for sample in samples:
        row, model = rows.setdefault(sample.row, Row()), sample.model()
        row.models += 1
        row.bits += [sample.bits] if sample.bits not in row.bits else []
        row.per += [sample.per] if sample.per not in row.per else []
        found = taken(model, sample.name)
        if found.program is None:
            row.refused += 1
            sentence = found.obstacles[0]
            refusals[sentence] = refusals.get(sentence, 0) + 1
            continue
        row.imported += 1
        row.numba += not differing(found.program, model, sample.given(model, NUMBA_FRAMES))
        engine = "icarus" if sample.row[1] == "node cases" else "verilator"
        x = found.program.accept(sample.given(model, RTL_FRAMES))
        waiting[engine].append((sample, found.program, x))
    for engine, made in waiting.items():
        for first in range(0, len(made), BATCH):
            for row, right in in_rtl(made[first : first + BATCH], engine):
                rows[row].rtl += right
    return rows, refusals


def in_rtl(
    made: Sequence[tuple[Sample, Program, Any]], engine: str
) -> Iterator[tuple[tuple[str, str, str], bool]]:
    """Whether each program's Verilog is exact in every value and cycle."""
    designs: list[Design] = [build(program, CYCLES) for _, program, _ in made]
    trials = [
        Trial(f"d{number}", design, write_rtl(design), x, {})
        for number, (design, (_, _, x)) in enumerate(zip(designs, made, strict=True))
    ]
    outcomes = simulate(trials, engine).outcomes
    for (sample, program, x), outcome in zip(made, outcomes, strict=True):
        yield sample.row, outcome.right and bool(np.array_equal(outcome.outputs, program(x)))


def table(rows: dict[tuple[str, str, str], Row], refusals: dict[str, int], seconds: float) -> str:
    """The report."""
    lines = HEAD.format(
        day=date.today().isoformat(),
        machine=processor(),
        minutes=max(1, round(seconds / 60)),
        numba=NUMBA_FRAMES,
        rtl=RTL_FRAMES,
    ).splitlines()
    for (source, network, form), row in rows.items():
        bits, per = ", ".join(row.bits), " and ".join(sorted(row.per))
        counts = (row.models, row.imported, row.numba, row.rtl, row.refused)
        lines.append(
            f"| {source} | {network} | {form} | {bits} | {per} | {' | '.join(map(str, counts))} |"
        )
    names = ("models", "imported", "numba", "rtl", "refused")
    total = [str(sum(getattr(row, name) for row in rows.values())) for name in names]
    lines += [f"| **all** | | | | | {' | '.join(total)} |", ""]
    if refusals:
        lines += ["Refused, in these words:", ""]
        lines += [f"- {count} times: {sentence}" for sentence, count in refusals.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
