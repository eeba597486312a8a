"""From an ONNX file to verified Verilog, in seconds: a binary 784-64-64-64-10 network.

    python benchmarks/bench_onnx.py [--rounds N] [--json]

The network (QONNX: BipolarQuant weights and activations, batch normalisation between) is made here
with seeded weights.  Each round starts with an empty build cache: `bitwright check`, then
`bitwright simulate` under Verilator on 32 frames, and the same again with other weights.  Each
command is a process of its own, as a user starts it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from bench_networks import processor
from onnx import TensorProto, helper, numpy_helper

SIZES = (784, 64, 64, 64, 10)
FRAMES = 32
QONNX = "qonnx.custom_op.general"


def network(seed: int) -> onnx.ModelProto:
    """The network with weights of a seed; it takes (1, 784) real numbers."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def add(op: str, name: str, *inputs: str, domain: str = "", **attributes: float) -> str:
        nodes.append(helper.make_node(op, [*inputs], [name], name, domain=domain, **attributes))
        return name

    one = constant("one", 1)
    x = add("BipolarQuant", "signs", "x", one, domain=QONNX)
    for layer, (inputs, outputs) in enumerate(pairwise(SIZES)):
        weights = constant(f"w{layer}", rng.choice([-1, 1], (inputs, outputs)))
        weights = add("BipolarQuant", f"weights{layer}", weights, one, domain=QONNX)
        x = add("MatMul", f"product{layer}", x, weights)
        columns = (
            rng.normal(0, 1, outputs),
            rng.normal(0, 1, outputs),
            rng.normal(0, inputs**0.5, outputs),
            rng.uniform(0.5, 2, outputs) * inputs,
        )
        normal = [constant(f"{layer}_{k}", column) for k, column in enumerate(columns)]
        if layer < len(SIZES) - 2:
            x = add("BatchNormalization", f"normal{layer}", x, *normal)
            x = add("BipolarQuant", f"signs{layer}", x, one, domain=QONNX)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", SIZES[0]), (x, SIZES[-1]))
    ]
    graph = helper.make_graph(nodes, "binary", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=opsets)


def seconds(folder: Path, *arguments: str) -> float:
    """How long a command takes, with a build cache inside `folder`."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "CCACHE_DISABLE": "1"}
    start = time.perf_counter()
    command = [sys.executable, "-m", "bitwright", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start


def measured(rounds: int) -> dict[str, list[float]]:
    """Seconds of each command, a value per round."""
    found: dict[str, list[float]] = {"check": [], "first time": [], "other weights": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            inputs = folder / "x.npy"
            frames = np.random.default_rng(number).normal(0, 1, (FRAMES, SIZES[0]))
            np.save(inputs, frames.astype(np.float32))
            for seed, what in enumerate(("first time", "other weights")):
                file = folder / f"{seed}.onnx"
                onnx.save(network(2 * number + seed), file)
                if seed == 0:
                    found["check"].append(seconds(folder, "check", str(file)))
                options = ("--inputs", str(inputs), "--engine", "verilator")
                found[what].append(seconds(folder, "simulate", str(file), *options))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    found = measured(options.rounds)
    result = {
        "date": date.today().isoformat(),
        "processor": processor(),
        "network": "-".join(map(str, SIZES)),
        "frames": FRAMES,
        "seconds": {
            what: {"median": statistics.median(v), "least": min(v), "most": max(v)}
            for what, v in found.items()
        },
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for what, row in result["seconds"].items():
        print(f"{what:<14} {row['median']:.2f} s ({row['least']:.2f} to {row['most']:.2f})")


if __name__ == "__main__":
    main()
