"""Accuracy of the digits networks on the 450 test images, three seeds, without fine-tuning.

    python benchmarks/bench_accuracy.py [--json] [--methods prune-fine:density=0.25 ...]

Each figure is that of the exact integer program, first and last layers compressed too, on a split
fixed before anything was chosen; calibration reads 300 training images.  (Definitions and kernels
are equal, so kernels compute.)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date

import numpy as np

from bitwright.models import zoo
from bitwright.models.classes import top_1
from bitwright.models.lower import quantise
from bitwright.models.zoo import digits
from bitwright.sim import kernels

METHODS = (
    ("sign", 8), ("bwnh", 8), ("bwnh", 4), ("bwnh", 2), ("bwnh-symmetric", 8), ("bwnh2", 8),
    ("bwnh2:shift_add=True", 8), ("bwnh3", 8), ("ternary", 8), ("ffn-sdd", 8), ("ffn", 8),
    ("qcnn-kmeans", 8), ("qcnn", 8), ("svd", 8), ("spatial", 8), ("tucker", 8), ("cp", 8),
    ("int4", 8), ("int8", 8),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--methods", nargs="+", help="these instead, with 8-bit activations")
    options = parser.parse_args()
    methods = [(name, 8) for name in options.methods] if options.methods else METHODS
    result = {"date": date.today().isoformat(), "accuracy": measure(methods)}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'network':28} {'seed 0, 1, 2':24} mean")
    for name, values in result["accuracy"].items():
        print(f"{name:28} {', '.join(f'{v:.2%}' for v in values):24} {np.mean(values):.2%}")


def measure(methods: Sequence[tuple[str, int]]) -> dict[str, list[float]]:
    """Top-1 by network and method, a figure per seed."""
    split = digits.load()
    networks = [entry.load() for entry in zoo.networks().values()]
    found = {"float": [top_1(n(split.test_x), split.test_y) for n in networks]}
    for method, bits in methods:
        programs = [
            quantise(network, split.calibration_x, method, bits, kernels.execute)
            for network in networks
        ]
        found[f"{method}, {bits}-bit activations"] = [
            top_1(kernels.run(program, split.test_x), split.test_y) for program in programs
        ]
    binary = [entry for name, entry in zoo.programs().items() if name.startswith("digits-binary")]
    found["fully binary"] = [
        top_1(kernels.run(entry.load(), split.test_x), split.test_y) for entry in binary
    ]
    return found


if __name__ == "__main__":
    main()
