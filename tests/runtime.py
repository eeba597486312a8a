"""ONNX Runtime as a judge of what a file means, where the processor lets it be exact.

Its kernels for processors without VNNI add pairs of products of unsigned and signed bytes at 16
bits, which saturates.  There, models are computed without graph optimisation, which keeps
quantise-dequantise pairs in floats, and models with integer operators on signed weights are not
judged by it: the rational oracle of `onnx_oracle.py` judges all of them anyway.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

INTEGER = {
    "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm",
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "DynamicQuantizeLSTM",
}  # fmt: skip


def session(data: bytes) -> Any:
    """A session that computes `data` exactly, or a skipped test."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra dev)")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if saturates():
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if _bytes_of_both_signs(onnx.load_from_string(data)):
            pytest.skip("ONNX Runtime saturates 8-bit products on this processor (no VNNI)")
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _bytes_of_both_signs(model: onnx.ModelProto) -> bool:
    signed = {w.name for w in model.graph.initializer if w.data_type == TensorProto.INT8}
    return any(node.op_type in INTEGER and signed & {*node.input} for node in model.graph.node)


@cache
def saturates() -> bool:
    """Whether 255 * 127 + 255 * 127 comes out too small here."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra dev)")
    weights = numpy_helper.from_array(np.full((64, 64), 127, np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [64, 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    probe = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = probe.run(None, {"x": np.full((64, 64), 255, np.uint8)})
    return bool((product != 64 * 255 * 127).any())
