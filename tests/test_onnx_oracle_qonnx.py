"""The oracle's QONNX operators against the qonnx package, and the oracle's own promises."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_oracle import first_difference, run, trace

SIGMOIDS = [
    (
        "Sigmoid",
        Fraction(1, 2),
        "0.7310585786300048792511592418218362743651446401650565192763659079190405",
    ),
    ("Tanh", 0, "0.7615941559557648881194582826047935904127685972579365515968105001219532"),
]


def _only(op, inputs, domain="", opset=21, outputs=("y",), **attributes):
    """A model of one node; the first input is the model's, the others are constants."""
    names = [f"in{i}" for i in range(len(inputs))]
    node = helper.make_node(op, names, list(outputs), domain=domain, **attributes)
    constants = [
        numpy_helper.from_array(np.asarray(v), n)
        for n, v in zip(names[1:], inputs[1:], strict=True)
    ]
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    shape = ["N", *inputs[0].shape[1:]]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("in0", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=imports)


MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
GENERAL = "qonnx.custom_op.general"


def _eighths(seed, shape, low=-160, high=160):
    """Random float32 multiples of 1/8: what float computes with them here is exact, ties abound."""
    return (np.random.default_rng(seed).integers(low, high, shape) / 8).astype(np.float32)


def _same(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours == theirs.astype(np.float64)).all()


def _package(name):
    return pytest.importorskip(
        f"qonnx.custom_op.general.{name}", reason="qonnx is not installed (extra dev)"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("narrow", "bits"), [(0, 1), (0, 2), (1, 2), (0, 4), (1, 4), (1, 8)])
def test_quant_equals_the_qonnx_package(mode, signed, narrow, bits):
    x = _eighths(bits, (3, 4, 50))
    scale = np.float32([0.25, 0.5, 1, 2]).reshape(1, 4, 1)
    zero, width = np.float32(0 if signed else 3), np.float32(bits)
    wanted = _package("intquant").int_quant(x, scale, zero, width, bool(signed), bool(narrow), mode)
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    for name in ("Quant", "IntQuant"):
        _same(run(_only(name, [x, scale, zero, width], GENERAL, **attributes), x), wanted)


def test_bipolar_quant_equals_the_qonnx_package():
    x, scale = _eighths(1, (3, 4, 50), -3, 4), np.float32([0.25, 0.5, 1, 3]).reshape(1, 4, 1)
    wanted = _package("bipolar_quant").binary_quant(x, scale)
    _same(run(_only("BipolarQuant", [x, scale], GENERAL), x), wanted)


@pytest.mark.parametrize("mode", MODES)
def test_trunc_equals_the_qonnx_package(mode):
    x = _eighths(2, (5, 60), -1000, 1000)
    scale, zero, bits = np.float32(0.125), np.float32(0), np.float32(10)
    first = [x, scale, zero, bits, np.float32(7)]
    wanted = _package("trunc").trunc_v1(*first, mode)
    _same(run(_only("Trunc", first, GENERAL, rounding_mode=mode), x), wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("narrow", "signed"), [(0, 1), (1, 1), (0, 0)])
def test_the_second_trunc_equals_the_qonnx_package(mode, narrow, signed):
    x = _eighths(2, (5, 60), -1000, 1000)
    first, last = np.float32([0.125, 0, 10]), np.float32([1, 6])
    wanted = _package("trunc").trunc_v2(x, *first, bool(narrow), bool(signed), *last, mode)
    attributes = {"rounding_mode": mode, "narrow": narrow, "signed": signed}
    _same(run(_only("Trunc", [x, *first, *last], GENERAL, **attributes), x), wanted)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("domain", [GENERAL, "finn.custom_op.general"])
def test_multi_threshold_equals_the_qonnx_package(channels, domain):
    x = _eighths(3, (3, 4, 5, 5))
    limits = np.sort(_eighths(4, (channels, 7)), axis=1)
    wanted = _package("multithreshold").multithreshold(x, limits, 0.5, -1.5)
    attributes = {"out_dtype": "INT4", "out_scale": 0.5, "out_bias": -1.5}
    _same(run(_only("MultiThreshold", [x, limits], domain, **attributes), x), wanted)
    last = np.moveaxis(x, 1, -1)
    model = _only("MultiThreshold", [last, limits], domain, data_layout="NHWC", **attributes)
    _same(run(model, last), np.moveaxis(wanted, 1, -1))


def test_products_too_wide_for_int64_are_exact():
    random = np.random.default_rng(5)
    x = random.normal(size=(3, 40)).astype(np.float32) * np.float32(2.0**60)
    w = (random.normal(size=(40, 5)) * 2.0 ** random.integers(-60, 60, (40, 5))).astype(np.float32)
    y = run(_only("MatMul", [x, w]), x)
    for row in range(3):
        for column in range(5):
            pairs = zip(x[row], w[:, column], strict=True)
            assert y[row, column] == sum(Fraction(float(a)) * Fraction(float(b)) for a, b in pairs)


def test_sigmoid_and_tanh_are_right_to_fifty_digits():
    """The digits are what mpmath prints of 1 / (1 + exp(-1)) and tanh(1)."""
    x = np.float32([[0, 1]])
    for name, at_zero, digits in SIGMOIDS:
        zero, one = run(_only(name, [x]), x)[0]
        assert zero == at_zero
        assert abs(one - Fraction(digits)) < Fraction(1, 10**60)


def test_a_difference_is_named_with_its_distance_from_a_tie():
    x = np.float32([[0.5, 1.25], [2.5, 300]])
    model = _only("QuantizeLinear", [x, np.float32(1), np.uint8(3)])
    y = run(model, x)
    assert y.tolist() == [[3, 4], [5, 255]]
    assert first_difference(model, x, {"y": y}) is None
    theirs = y.copy()
    theirs[0, 1] = 5
    found = first_difference(model, x, {"y": theirs})
    assert found is not None
    assert (found.index, found.ideal, found.theirs, found.distance) == ((0, 1), 4, 5, 0.25)
    text = "1 of 4 values of y[0, 1] differ: 4.0 is ideal, 5.0 was given, 0.25 steps from a tie"
    assert str(found) == text


def test_values_before_rounding_are_kept_through_moves_and_dequantising():
    x = np.float32([[0.5, 1.25], [2.5, 300]])
    model = _only("QuantizeLinear", [x, np.float32(1), np.uint8(3)], outputs=["q"])
    constant = numpy_helper.from_array(np.float32(0.5), "half")
    model.graph.initializer.append(constant)
    model.graph.node.append(helper.make_node("Transpose", ["q"], ["t"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["t", "half"], ["y"]))
    for name, values in trace(model, x).items():
        unrounded = np.array([[3.5, 4.25], [5.5, 303]])
        distance = np.array([[0, 0.25], [0, 0.5]])
        turn = np.asarray if name == "q" else np.transpose
        assert (values.unrounded == turn(unrounded)).all()
        assert (values.distance == turn(distance)).all()


def test_an_unknown_operator_is_named():
    x = np.float32([[1, 2]])
    with pytest.raises(NotImplementedError, match="the operator Erf of the domain ''"):
        run(_only("Erf", [x]), x)


def test_a_fixed_batch_is_run_in_turns():
    x = _eighths(6, (6, 4))
    model = _only("Reshape", [x[:2], np.int64([2, 4, 1])])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert (run(model, x) == x[:, :, None]).all()
    with pytest.raises(ValueError, match="5 frames for a model that takes 2 at a time"):
        run(model, x[:5])
