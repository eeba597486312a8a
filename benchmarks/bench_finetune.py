"""Accuracy before and after fine-tuning: every method on digits and on MNIST-1D.

    python benchmarks/bench_finetune.py [METHOD ...] [--seeds 3] [--tasks digits mnist1d binary]
        [--validate] [--results FILE.json] [--write]

METHOD is that of bench_methods.py; METHOD/1 has activations of one bit, others have eight.  Each
figure is that of the exact integer program on test data that nothing else reads.  "Before" is the
post-training result, calibrated on the same training data; networks of 1-bit activations have none.
--validate trains on four fifths of the training part and measures on the rest, to choose settings.
--results keeps what is measured, and what is there by the same settings is not measured again.
--write makes the sections of these tasks in docs/finetune.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_methods
import tasks
import torch
from bench_methods import spread

from bitwright.models import zoo
from bitwright.models.classes import top_1
from bitwright.models.lower import quantise
from bitwright.models.zoo.train_digits import WIDE_BLOCKS
from bitwright.sim import kernels
from bitwright.training import Options, finetune

PAGE = Path(__file__).resolve().parent.parent / "docs" / "finetune.md"
METHODS = (*(name for name in bench_methods.METHODS if "maddness" not in name), "bwnh/1")
"""All that can be trained; maddness is found by calibration alone."""
COARSE = {"sign", "bwnh-symmetric", "bwnh", "ffn:rank=0.5", "prune-group"}
"""Weights far from their best at the start; others are trained gently, so as not to lose it."""
FILTERS = "-".join(str(block.channels) for block in WIDE_BLOCKS)
"""Of the network of one bit throughout: results by other filters are no answer."""


@dataclass(frozen=True)
class Task:
    """What stands above its table, and how it is trained.

    coarse: weights of `COARSE`; fine: all others, at a low rate and by the teacher's answers alone;
    one_bit: any with 1-bit activations; methods: those of its table.
    """

    title: str
    fine: Options
    coarse: Options
    one_bit: Options
    methods: tuple[str, ...] = METHODS

    def options(self, method: str, one_bit: bool) -> Options:
        """How a method is trained."""
        if one_bit:
            return self.one_bit
        return self.coarse if method in COARSE else self.fine


TASKS = {
    "digits": Task(
        "Handwritten digits (1,347 images to train, 450 to test), networks of the zoo",
        Options(epochs=20, shift=1, rate=1e-4, teacher=1.0),
        Options(epochs=20, shift=1, rate=5e-3, teacher=0.9),
        Options(epochs=300, shift=1, rate=2e-2, teacher=0.9, noise=0.2),
    ),
    "mnist1d": Task(
        "MNIST-1D (4,000 sequences to train, 1,000 to test), a CNN of three convolutions",
        Options(epochs=20, shift=2, rate=1e-4, teacher=1.0),
        Options(epochs=20, shift=2, rate=5e-3, teacher=0.9),
        Options(epochs=100, shift=2, rate=2e-2, teacher=0.9, noise=0.2),
        tuple(one for one in METHODS if one not in bench_methods.TASKS["mnist1d"].without),
    ),
    "binary": Task(
        f"Digits by a network of {FILTERS} filters, one bit throughout",
        Options(),
        Options(),
        Options(epochs=300, shift=1, rate=2e-2, teacher=1.0, noise=0.2),
        ("bwnh/1",),
    ),
}


IDENTITY = ("task", "method", "seed", "validate")
"""What a result is of; the rest of `asked` is how it was trained."""


def asked(task: str, name: str, seed: int, validate: bool) -> dict[str, Any]:
    """What decides a result, beside the code; what was measured by other settings is no answer."""
    method, _, one_bit = name.partition("/")
    options = replace(TASKS[task].options(method, bool(one_bit)), seed=seed)
    return {
        "task": task, "title": TASKS[task].title, "method": name, "seed": seed,
        "validate": validate, "options": asdict(options),
    }  # fmt: skip


def measure(task: str, name: str, seed: int, validate: bool) -> dict[str, Any]:
    """Accuracy of the float network and of its programs, before and after."""
    x, y, test_x, test_y = tasks.data(task, validate)
    network = tasks.floats(task, seed, validate)
    method, _, one_bit = name.partition("/")
    options = Options(**asked(task, name, seed, validate)["options"])
    started, before = time.monotonic(), None
    if not one_bit:
        program = quantise(network, x, method, 8, kernels.execute)
        before = top_1(kernels.run(program, test_x), test_y)
    program = finetune(
        network, x, y, method, 1 if one_bit else 8, options=options,
        progress=lambda text: tell(f"{task} {name} {seed}: {text}"),
    )  # fmt: skip
    return {
        **asked(task, name, seed, validate),
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "float": top_1(network(test_x), test_y),
        "before": before,
        "after": top_1(kernels.run(program, test_x), test_y),
        "bits": program.metadata["weight_bits"],
        "seconds": round(time.monotonic() - started, 1),
    }


def tell(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


HOW = """\
`bitwright finetune NETWORK --data X.npy --labels Y.npy --weights METHOD --activations B -o MODEL`
compresses a float network as `bitwright compress` does, trains the result with PyTorch (`pip
install 'bitwright[train]'`) and saves an exact integer program. In Python: `bitwright.finetune`.

- The start is the post-training result (`models/train/start.py`): the same weights, biases and
  rounding steps, now written into the network as layers (`Quantize`, `Sign`), with a batch
  normalisation behind each layer that changes nothing yet.
- Weights are trained in the form that the method gave them, one file each in `models/train/`: signs
  and scales (bwnh), integers with learned steps (LSQ, int-N and ternary), ternary latent factors
  (ffn), words under fixed indices (qcnn), integers under a fixed mask (pruning), integer factors
  (low rank). Steps of activations are learned as well. The loss is that of the labels and of the
  float network's softened answers, with its activations as hints where `--hint` asks for them.
- In front of the signs of 1-bit activations stands noise where `--noise` asks for it, so that they
  turn by chance where a value is near 0; all rows of 1-bit activations below have it.
- A tenth of the training data is held back to judge: where training did not help, the result is the
  start, compressed by all of them. With activations of one bit nothing is.
- Afterwards the batch-norm statistics are estimated anew behind the compressed layers.
- Back in integers, weights are `given` to `quantise` and roundings are those of the network: the
  program computes what was trained. Thresholds do so exactly; the 16-bit multipliers of wider
  activations may miss a value that lies beside a tie; the roundings inside `ffn` and low-rank
  layers are not part of the training and are calibrated after it. `tests/test_train.py` holds it
  to that.

Made by `python benchmarks/bench_finetune.py --write`, a section at a time with `--tasks`. Accuracy
is that of the exact integer programs on the test data: the mean of the seeds, and their least and
most. All layers are compressed, the first and the last too; activations take 8 bits, or 1 where the
method ends in /1 (there is no post-training result then). The float network is the teacher.
Settings stand in the benchmark; `--validate` measures on a fifth of the training part, to choose
them.
"""


def sections(results: list[dict[str, Any]], methods: Sequence[str] = ()) -> dict[str, str]:
    """The section of each task measured, as Markdown, by its title; of its methods, or of these."""
    found = {}
    for name, task in TASKS.items():
        shown = methods or task.methods
        own = [one for one in results if one["task"] == name and one["method"] in shown]
        if own:
            found[task.title] = "\n".join(section(task.title, own, shown))
    return found


def page(found: dict[str, str], before: str = "") -> str:
    """The page; sections that were not `found` are those of the page `before`."""
    titles = [task.title for task in TASKS.values()]
    whole = {**sections_of(before), **found}
    if strange := whole.keys() - set(titles):
        raise SystemExit(f"{PAGE.name} has sections of no task, which would be lost: {strange}")
    return "\n".join(["# Fine-tuning\n", HOW, *(whole[one] for one in titles if one in whole)])


def sections_of(text: str) -> dict[str, str]:
    """The sections of a page by their titles."""
    parts = text.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def section(title: str, rows: list[dict[str, Any]], methods: Sequence[str]) -> Iterator[str]:
    """One task: how it was measured, its float networks, its methods."""
    of_float = {one["seed"]: one["float"] for one in rows}
    yield f"## {title}\n"
    yield (
        f"Measured {' and '.join(sorted({one['date'] for one in rows}))}, one thread, PyTorch "
        f"{' and '.join(sorted({one['torch'] for one in rows}))}. Float networks, "
        f"{len(of_float)} seeds: {spread(list(of_float.values()))}.\n"
    )
    yield from table(rows, methods)


def table(rows: list[dict[str, Any]], methods: Sequence[str]) -> Iterator[str]:
    """The methods of one task."""
    yield "| method | kbit | before | after | seeds |"
    yield "| --- | --- | --- | --- | --- |"
    for method in methods:
        own = [one for one in rows if one["method"] == method]
        if own:
            before = [one["before"] for one in own if one["before"] is not None]
            yield (
                f"| {method} | {own[0]['bits'] / 1000:.1f} | {spread(before)} | "
                f"{spread([one['after'] for one in own])} | {len(own)} |"
            )
    yield ""


def wanted(given: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Each task, method and seed to be measured."""
    for seed in range(given.seeds):
        for task in given.tasks:
            for method in given.methods or TASKS[task].methods:
                yield task, method, seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("methods", nargs="*", help="methods, settings too (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="networks (default: 3)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--validate", action="store_true", help="hold a fifth of training out")
    parser.add_argument("--results", type=Path, help="JSON of what is measured already, kept up")
    parser.add_argument("--write", action="store_true", help="write them into docs/finetune.md")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args()
    if not 1 <= given.seeds <= len(zoo.SEEDS):
        parser.error(f"--seeds is from 1 to {len(zoo.SEEDS)}, the float networks that there are")
    part = given.methods or given.seeds < len(zoo.SEEDS)
    if given.write and (part or given.validate):
        parser.error("--write takes all methods and seeds of a task, measured on test data")
    if given.write:
        page({}, PAGE.read_text())  # Whether it can be written, before hours of measuring.
    torch.set_num_threads(1)
    results: list[dict[str, Any]] = []
    if given.results and given.results.exists():
        results = json.loads(given.results.read_text())
    for task, method, seed in wanted(given):
        key = asked(task, method, seed, given.validate)
        if any(key.items() <= one.items() for one in results):
            continue
        # What other settings gave is no second result beside it.
        results = [one for one in results if any(one[name] != key[name] for name in IDENTITY)]
        results.append(measure(task, method, seed, given.validate))
        tell(str(results[-1]))
        if given.results:
            given.results.write_text(json.dumps(results, indent=1))
    asked_for = [one for one in results if one["validate"] == given.validate]
    found = sections([one for one in asked_for if one["task"] in given.tasks], given.methods)
    print(json.dumps(results, indent=1) if given.json else page(found))
    if given.write:
        # Another run may have written its sections meanwhile.
        PAGE.write_text(page(found, PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
