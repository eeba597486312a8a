"""Seconds that the solvers of compression methods take for one layer.

    python benchmarks/bench_compress.py [--json] [METHOD ...]

A layer of 256 filters of 3 x 3 x 256 inputs (S = 2304), correlated and rectified as activations
are, with its Gram matrix given: only the solver is timed, after a small layer has compiled it.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date

import numpy as np

from bitwright.models import compress  # noqa: F401 - makes the methods known
from bitwright.models.compress.method import method
from bitwright.models.compress.problem import Gatherer, LayerProblem

METHODS = ("bwnh:sweeps=10", "bwnh2:sweeps=10", "ternary", "svd")
FILTERS, CHANNELS, KERNEL = 256, 256, (3, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("methods", metavar="METHOD", nargs="*", default=METHODS)
    options = parser.parse_args()
    rows = measure(options.methods)
    if options.json:
        print(json.dumps({"date": date.today().isoformat(), "layers": rows}, indent=2))
        return
    for name, row in rows.items():
        print(
            f"{name:24} {row['seconds']:8.2f} s   error {row['error']:.2%}, "
            f"without data {row['start']:.2%} of the response"
        )


def measure(names: list[str] | tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Seconds, and the response error relative to the response, of each method."""
    small, large = problem(8, 8), problem(FILTERS, CHANNELS)
    rows = {}
    for name in names:
        method(name).compress(*small)
        begin = time.perf_counter()
        found = method(name).compress(*large)
        seconds = time.perf_counter() - begin
        whole = large[0].energy.sum()
        errors = [
            float(large[0].error(one.dense()).sum() / whole)
            for one in (found, method(name).start(*large))
        ]
        rows[name] = {"seconds": seconds, "error": errors[0], "start": errors[1]}
    return rows


def problem(filters: int, channels: int) -> tuple[LayerProblem, np.ndarray]:
    """A layer's problem and its weights (N, S)."""
    rng = np.random.default_rng(0)
    size = channels * KERNEL[0] * KERNEL[1]
    weights = rng.normal(size=(filters, size))
    mixing = rng.normal(size=(size // 4, size)) / np.sqrt(size // 4)
    noise = 0.5 * rng.normal(size=(2 * size, size))
    x = np.maximum(rng.normal(size=(2 * size, size // 4)) @ mixing + noise, 0)
    gatherer = Gatherer(weights, KERNEL)
    gatherer.add(x, x)
    return gatherer.problem(), weights


if __name__ == "__main__":
    main()
