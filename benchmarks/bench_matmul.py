"""Compare the matrix kernels with the limit of the processor and with NumPy and ONNX Runtime.

    python benchmarks/bench_matmul.py [--json]

All contestants run on one thread and take turns in each round, so a change of clock or load meets
them alike; ratios are taken within a round. Figures of another machine are reported, not promised.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numba
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features, initialize_native_asmparser
from numba import njit, types
from numba.extending import intrinsic

from bitwright.sim.kernels.matmul_int8 import ENGINES, int8_matmul, pack_int8
from bitwright.sim.kernels.matmul_xnor import pack_bits, pack_signs, xnor_matmul

try:
    import onnx
    import onnxruntime
except ImportError:
    onnxruntime = None

ROUNDS = 41
ROWS, OUTPUTS = 768, 512
SIGNS = 4608
BYTES = 1152
LIMIT_LOOPS = 200_000

# Settings that hold NumPy's own product below what it can do here.
HANDICAPS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
REMOVED = "BITWRIGHT_BENCH_REMOVED"

TRIPLES = 8
SIGNS_A_TRIPLE = 512


@intrinsic
def popcount_block(_):
    """Emit `TRIPLES` independent VPXORQ, VPOPCNTQ, VPADDQ on registers only."""

    def codegen(context, builder, signature, args):
        lines, used = [], []
        for total in range(TRIPLES):
            word = 16 + total
            lines += [
                f"vpxorq %zmm30, %zmm31, %zmm{word}",
                f"vpopcntq %zmm{word}, %zmm{word}",
                f"vpaddq %zmm{word}, %zmm{total}, %zmm{total}",
            ]
            used += [f"~{{zmm{total}}}", f"~{{zmm{word}}}"]
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.InlineAsm(kind, "\n".join(lines), ",".join(used), side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit
def popcount_limit(loops):
    for _ in range(loops):
        popcount_block()


def onnx_session(weights):
    """Return a one-thread session of MatMulInteger of uint8 rows with int8 weights (N, K)."""
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("x", kind.UINT8, [ROWS, BYTES])],
        [helper.make_tensor_value_info("y", kind.INT32, [ROWS, OUTPUTS])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weights.T), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def contestants():
    """Return name: (call, operations of one call), a multiply-addition being two operations."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(0, 2, (n, SIGNS), np.uint8) for n in (ROWS, OUTPUTS))
    words, signs = pack_bits(x), pack_signs(w)
    x_float, w_float = (np.where(bits, np.float32(1), np.float32(-1)) for bits in (x, w))
    assert np.array_equal(xnor_matmul(words, signs), x_float @ w_float.T)
    found = {
        "xnor": (lambda: xnor_matmul(words, signs), 2 * ROWS * OUTPUTS * SIGNS),
        "float32": (lambda: x_float @ w_float.T, 2 * ROWS * OUTPUTS * SIGNS),
    }
    if get_host_cpu_features().get("avx512vpopcntdq"):
        initialize_native_asmparser()  # Numba does not: it writes no assembly itself.
        work = 2 * LIMIT_LOOPS * TRIPLES * SIGNS_A_TRIPLE
        found["popcount limit"] = (lambda: popcount_limit(LIMIT_LOOPS), work)

    octets = rng.integers(0, 256, (ROWS, BYTES), np.uint8)
    weights = rng.integers(-128, 128, (OUTPUTS, BYTES), np.int8)
    packed = pack_int8(weights)
    work = 2 * ROWS * OUTPUTS * BYTES
    found["int8"] = (lambda: int8_matmul(octets, packed), work)
    if onnxruntime is not None:
        session = onnx_session(weights)
        assert np.array_equal(session.run(None, {"x": octets})[0], int8_matmul(octets, packed))
        found["ONNX Runtime int8"] = (lambda: session.run(None, {"x": octets}), work)
    return found


def seconds(call):
    """Return the processor time of a call, after one that brings its data back to the caches.

    Processor time does not count the other load on the machine, though its use of caches shows.
    """
    call()
    start = time.thread_time()
    call()
    return time.thread_time() - start


def measure(found):
    """Return name: rates (ROUNDS,) in 10**12 operations a second; an untimed round compiles."""
    for call, _ in found.values():
        call()
    rounds = [
        {name: work / seconds(call) / 1e12 for name, (call, work) in found.items()}
        for _ in range(ROUNDS)
    ]
    return {name: np.array([each[name] for each in rounds]) for name in found}


def ratios(rates):
    pairs = [("xnor", "popcount limit"), ("xnor", "float32"), ("int8", "ONNX Runtime int8")]
    return {f"{a} / {b}": rates[a] / rates[b] for a, b in pairs if b in rates}


def summary(values):
    """Return minimum, median, maximum and the spread: half the range between the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
        "spread": float(high - low) / 2,
    }


def processor():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = (line.split(":")[1] for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.processor()).strip()


def notes(rates):
    removed = os.environ.get(REMOVED)
    yield f"{' and '.join(HANDICAPS)} are unset" + (
        f"; removed for this run: {removed}." if removed else ", as they were."
    )
    engine = next((engine.feature for engine in ENGINES if engine.available()), "float32 chunks")
    yield f"The int8 product runs on {engine}."
    if "popcount limit" not in rates:
        yield "The popcount limit is skipped: the processor has no AVX-512 VPOPCNTDQ."
    if "ONNX Runtime int8" not in rates:
        yield "ONNX Runtime is skipped: onnx and onnxruntime are not installed."


def report():
    rates = measure(contestants())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "rounds": ROUNDS,
        "threads": 1,
        "notes": list(notes(rates)),
        "shapes": {"signs": [ROWS, OUTPUTS, SIGNS], "bytes": [ROWS, OUTPUTS, BYTES]},
        "tera operations a second": {name: summary(each) for name, each in rates.items()},
        "ratios": {name: summary(each) for name, each in ratios(rates).items()},
    }


def show(result):
    print(f"{result['date']}, {result['processor']}")
    print(f"numba {result['numba']}, numpy {result['numpy']}, {ROUNDS} rounds, one thread")
    print(*result["notes"], sep="\n")
    for title in ("tera operations a second", "ratios"):
        print(f"\n{title:28}{'min':>8}{'median':>8}{'max':>8}{'spread':>8}")
        for name, row in result[title].items():
            print(f"{name:28}" + "".join(f"{value:8.3f}" for value in row.values()))


def restart_without_handicaps():
    """Start anew if NumPy's BLAS was loaded with handicaps or more than one thread."""
    present = [name for name in HANDICAPS if name in os.environ]
    if not present and os.environ.get("OPENBLAS_NUM_THREADS") == "1":
        return
    kept = {name: value for name, value in os.environ.items() if name not in HANDICAPS}
    kept |= {"OPENBLAS_NUM_THREADS": "1", REMOVED: ", ".join(present)}
    os.execve(sys.executable, [sys.executable, *sys.argv], kept)


def main():
    parser = argparse.ArgumentParser(description="Compare the matrix kernels in one run.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    restart_without_handicaps()
    result = report()
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
