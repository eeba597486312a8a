"""ONNX models with scales computed from each input: hardware refuses them, the reference runs them.

There is no integer program to compare with, and no output step: expected values are compared up to
the roundings of float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.graph import Graph
from bitwright.models.onnx.read import read
from bitwright.models.onnx.reference import run as reference

Array = NDArray[Any]

ROUNDINGS = 1 << 10
"""Units in the last place of float32, beside a frame's largest value, that are called equal."""


def graph_of(model: object) -> Graph | None:
    """The graph of an ONNX file that only the reference can run, or None for every other model."""
    if not isinstance(model, str | Path) or Path(model).suffix != ".onnx":
        return None
    graph = read(model)
    return graph if reference.needed(graph) else None


def simulate(
    name: str, graph: Graph, inputs: Array, expect: Array | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run frames by the exact meaning of the graph; the result is that of `api.simulate`."""
    start = time.perf_counter()
    tell(f"computing {len(inputs)} frames by the exact meaning of the graph")
    outputs = reference.run(graph, inputs)
    wrong, agreement = 0, None
    if expect is not None:
        expect = expect[: len(outputs)] if expect.ndim else expect
        if expect.shape != outputs.shape:
            raise ProgramError(
                f"expected values have shape {outputs.shape}, not {expect.shape}; reshape them"
            )
        wrong = int(_missed(outputs, expect).sum())
        agreement = _agreement(outputs, expect)
    return {
        "model": name,
        "engine": "reference",
        "frames": len(outputs),
        "mismatches": wrong,
        "top_1_agreement": agreement,
        "streams": None,
        "cycles": None,
        "seconds": {"reference": time.perf_counter() - start},
        "report": [],
        "outputs": outputs,
    }


def _missed(outputs: Array, expect: Array) -> NDArray[np.bool_]:
    if outputs.dtype.kind == "i":
        return outputs != expect
    largest = np.abs(outputs).reshape(len(outputs), -1).max(1)
    allowed = ROUNDINGS * float(np.finfo(np.float32).eps) * largest
    off = np.abs(outputs - expect.astype(np.float64))
    return ~(off <= allowed.reshape(-1, *[1] * (outputs.ndim - 1)))


def _agreement(outputs: Array, expect: Array) -> dict[str, int] | None:
    if outputs.ndim != 2 or outputs.shape[1] == 1:
        return None
    agreeing = int((outputs.argmax(1) == expect.argmax(1)).sum())
    return {"agreeing": agreeing, "frames": len(outputs)}
