"""Whole networks: frames a second by Numba kernels against ONNX Runtime in float, in one run.

    python benchmarks/bench_networks.py [--json]

The digits network in float (ONNX Runtime, one thread) against its integer programs (Numba kernels,
one thread), on the same 450 test images, in turn; ratios are quoted round by round.  The fully
binary network is another network, faster and no less accurate: it is listed for orientation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bitwright.models import zoo
from bitwright.models.layers import Conv, Dense, Flatten, MaxPool, Relu
from bitwright.models.network import Network, fold_batch_norm
from bitwright.models.zoo import digits
from bitwright.sim import kernels

PROGRAMS, ROUNDS = ("digits-bwnh", "digits-int8", "digits-binary"), 21


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    result = measure()
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"frames a second, one thread, {result['date']}, {result['processor']}")
    for name, row in result["frames_per_second"].items():
        print(
            f"{name:24} {row['median']:>10,.0f}{_times(result['over_onnxruntime_float'].get(name))}"
        )


def _times(ratio: dict[str, float] | None) -> str:
    if ratio is None:
        return ""
    return f", {ratio['median']:.2f} times ({ratio['min']:.2f} to {ratio['max']:.2f})"


def measure() -> dict[str, Any]:
    """Frames a second of every contender, in turn, and the ratios of each round."""
    network = zoo.networks()["digits-cnn"].load()
    images = digits.load().test_x
    session = float_session(network)
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2).astype(np.float32))
    contenders: dict[str, Callable[[], Any]] = {
        "onnxruntime float": lambda: session.run(None, {"input": pixels})
    }
    close = np.abs(session.run(None, {"input": pixels})[0] - network(images.astype(np.float32)))
    assert close.max() < 1e-3, "the ONNX file must be the same network"
    for name in PROGRAMS:
        program = zoo.programs()[name].load()
        assert (kernels.run(program, images[:8]) == program(images[:8])).all()
        contenders[name] = lambda program=program: kernels.run(program, images)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 2):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn >= 2:
                rates[name].append(len(images) / (time.perf_counter() - start))
    base = rates["onnxruntime float"]
    ratios = {n: [a / b for a, b in zip(rates[n], base, strict=True)] for n in PROGRAMS}
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "rounds": ROUNDS,
        "frames_per_second": {name: spread(values) for name, values in rates.items()},
        "over_onnxruntime_float": {name: spread(values) for name, values in ratios.items()},
    }


def float_session(network: Network) -> onnxruntime.InferenceSession:
    """The float network in ONNX Runtime, one thread, batch normalisation folded, NCHW."""
    folded = fold_batch_norm(network)
    nodes, weights, names = [], [], {"input": "input"}
    shapes = folded.shapes
    for node in folded.nodes:
        inputs = [names[name] for name in node.inputs]
        made, arrays = _onnx_node(node.name, node.layer, inputs, shapes[node.inputs[0]])
        nodes += made
        weights += arrays
        names[node.name] = node.name
    height, width, channels = folded.input_shape
    outputs = shapes[folded.output]
    graph = helper.make_graph(
        nodes,
        "digits",
        [
            helper.make_tensor_value_info(
                "input", TensorProto.FLOAT, [None, channels, height, width]
            )
        ],
        [helper.make_tensor_value_info(folded.output, TensorProto.FLOAT, [None, *outputs])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def _onnx_node(name: str, layer: Any, inputs: list[str], shape: tuple[int, ...]) -> Any:
    """ONNX nodes and weights of one layer; flatten keeps channels last, as the network does."""
    arrays = []
    if isinstance(layer, Conv):
        top, left, bottom, right = layer.padding
        arrays = [
            numpy_helper.from_array(layer.weights.transpose(0, 3, 1, 2).copy(), f"{name}.w"),
            numpy_helper.from_array(layer.bias, f"{name}.b"),
        ]
        made = helper.make_node(
            "Conv", [*inputs, f"{name}.w", f"{name}.b"], [name],
            pads=[top, left, bottom, right], strides=list(layer.stride),
        )  # fmt: skip
    elif isinstance(layer, Dense):
        arrays = [
            numpy_helper.from_array(layer.weights, f"{name}.w"),
            numpy_helper.from_array(layer.bias, f"{name}.b"),
        ]
        made = helper.make_node("Gemm", [*inputs, f"{name}.w", f"{name}.b"], [name], transB=1)
    elif isinstance(layer, MaxPool):
        made = helper.make_node(
            "MaxPool", inputs, [name],
            kernel_shape=list(layer.kernel), strides=list(layer.stride),
        )  # fmt: skip
    elif isinstance(layer, Relu):
        made = helper.make_node("Relu", inputs, [name])
    elif isinstance(layer, Flatten):
        last = helper.make_node("Transpose", inputs, [f"{name}.last"], perm=[0, 2, 3, 1])
        return [last, helper.make_node("Flatten", [f"{name}.last"], [name])], []
    else:
        raise TypeError(f"the benchmark has no ONNX form of {type(layer).__name__}")
    return [made], arrays


def processor() -> str:
    """The processor's name, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and largest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


if __name__ == "__main__":
    main()
