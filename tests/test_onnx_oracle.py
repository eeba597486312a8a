"""The oracle of the ONNX importer against ONNX's own cases and the qonnx package."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_oracle import evaluate

QUANTISED_CASES = [
    "convinteger_without_padding",
    "convinteger_with_padding",
    "dequantizelinear",
    "dequantizelinear_axis",
    "dequantizelinear_uint16",
    "dequantizelinear_int16",
    "dequantizelinear_uint4",
    "dequantizelinear_int4",
    "dequantizelinear_uint2",
    "dequantizelinear_int2",
    "dequantizelinear_blocked",
    "dynamicquantizelinear",
    "dynamicquantizelinear_max_adjusted",
    "dynamicquantizelinear_min_adjusted",
    "matmulinteger",
    "qlinearconv",
    "qlinearmatmul_2D_uint8_float32",
    "qlinearmatmul_3D_uint8_float32",
    "qlinearmatmul_2D_uint8_float16",
    "qlinearmatmul_3D_uint8_float16",
    "qlinearmatmul_2D_int8_float32",
    "qlinearmatmul_3D_int8_float32",
    "qlinearmatmul_2D_int8_float16",
    "qlinearmatmul_3D_int8_float16",
    "quantizelinear",
    "quantizelinear_axis",
    "quantizelinear_uint16",
    "quantizelinear_int16",
    "quantizelinear_uint4",
    "quantizelinear_int4",
    "quantizelinear_uint2",
    "quantizelinear_int2",
    "quantizelinear_blocked_asymmetric",
    "quantizelinear_blocked_symmetric",
]
QUANTISERS = {
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "MatMulInteger",
    "ConvInteger",
    "DynamicQuantizeLinear",
}
TIED = {("dynamicquantizelinear", "y"): [3]}
"""Where a case's float32 arithmetic leaves an exact tie: the places in which its data differ."""


@pytest.fixture(scope="module")
def node_cases():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the generators of unrelated cases overflow and divide
        cases = load_model_tests(kind="node")
    return {case.name.removeprefix("test_"): case for case in cases}


def _model(case):
    return case.model or onnx.load(f"{case.model_dir}/model.onnx")


def _data(case, model):
    """The case's inputs and outputs by name, one dictionary pair per data set."""
    names = [value.name for value in model.graph.input], [v.name for v in model.graph.output]
    for inputs, outputs in case.data_sets:
        yield tuple(
            {name: _array(value) for name, value in zip(side, values, strict=True)}
            for side, values in zip(names, (inputs, outputs), strict=True)
        )


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def test_the_quantised_cases_are_all_of_onnx_s(node_cases):
    found = {
        name
        for name, case in node_cases.items()
        if {node.op_type for node in _model(case).graph.node} & QUANTISERS
        and not any(word in name for word in ("expanded", "e4m3", "e5m2", "e2m1"))
    }
    assert found == set(QUANTISED_CASES)
    assert len(QUANTISED_CASES) == 34


@pytest.mark.parametrize("name", QUANTISED_CASES)
def test_onnx_s_own_cases(node_cases, name):
    case = node_cases[name]
    model = _model(case)
    for inputs, outputs in _data(case, model):
        values = evaluate(model, inputs)
        for output, wanted in outputs.items():
            _agrees(name, output, values[output], wanted, case)


def _agrees(name, output, value, wanted, case):
    got = value.array()
    assert got.shape == wanted.shape
    if got.dtype == object:
        np.testing.assert_allclose(got.astype(float), wanted.astype(float), case.rtol, case.atol)
        return
    differ = np.flatnonzero(got != wanted.astype(np.int64))
    assert list(differ) == TIED.get((name, output), [])
    assert not value.rounding or not value.rounding.distance().ravel()[differ].any()


PLAIN_OPERATORS = [
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Ceil",
    "Clip",
    "Concat",
    "Conv",
    "Div",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "TopK",
    "Transpose",
    "Unsqueeze",
]
NOT_MEANT = ("expanded", "training", "argmax_2d_precomputed", "uint")


def _plain_cases(cases, operator):
    for name, case in cases.items():
        if not any(word in name for word in NOT_MEANT):
            model = _model(case)
            if [node.op_type for node in model.graph.node] == [operator]:
                yield name, case, model


@pytest.mark.parametrize("operator", PLAIN_OPERATORS)
def test_the_other_operators_on_onnx_s_cases(node_cases, operator):
    ran = 0
    for name, case, model in _plain_cases(node_cases, operator):
        for inputs, outputs in _data(case, model):
            if not all(np.isfinite(value.astype(float)).all() for value in inputs.values()):
                continue
            values = evaluate(model, inputs)
            for output, wanted in outputs.items():
                _agrees(name, output, values[output], wanted, case)
            ran += 1
    assert ran


@pytest.mark.parametrize(
    "name",
    [
        "upsample_scales_nearest",
        "downsample_scales_nearest",
        "upsample_sizes_nearest",
        "downsample_sizes_nearest",
        "upsample_sizes_nearest_ceil_half_pixel",
        "upsample_sizes_nearest_round_prefer_ceil_asymmetric",
    ],
)
def test_resize_to_the_nearest(node_cases, name):
    case = node_cases[f"resize_{name}"]
    model = _model(case)
    for inputs, outputs in _data(case, model):
        values = evaluate(model, inputs)
        for output, wanted in outputs.items():
            _agrees(name, output, values[output], wanted, case)
