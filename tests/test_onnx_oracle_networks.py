"""The oracle against ONNX Runtime and the qonnx package, on whole networks.

Those two compute in float32, so a value may differ where the ideal one lies next to a tie: each
test demands that the first tensor that differs does so there and nowhere else.
"""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx_models import HAND_MADE, RECIPES, frames, quantised, silence
from onnx_oracle import first_difference
from runtime import session

NEAR_A_TIE = 1e-4
"""Steps: what float32 sums of these sizes may be off by."""


def runtime_tensors(model, x, names=()):
    """What ONNX Runtime computes: the output, and the tensors of these names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = [value.name for value in copy.graph.output]
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    judge = session(copy.SerializeToString())
    wanted = [value.name for value in judge.get_outputs()]
    return dict(zip(wanted, judge.run(wanted, {"x": x}), strict=True))


def assert_near(model, x, theirs, tensors):
    """Equal, or first different next to a tie; `tensors` gives the tensors on the way."""
    found = first_difference(model, x, theirs, tolerance=1e-4)
    if found is None:
        return
    makers = {"QuantizeLinear", "Quant", "QLinearConv", "QGemm", "QLinearAdd"}
    rounded = [o for n in model.graph.node if n.op_type in makers for o in n.output]
    found = first_difference(model, x, tensors(rounded), tolerance=1e-4)
    assert found is None or (found.distance is not None and found.distance < NEAR_A_TIE), found


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_networks_quantised_by_onnx_runtime(recipe, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra dev)")
    model = quantised(recipe, tmp_path)
    x = frames(model, 40)
    theirs = runtime_tensors(model, x)
    assert np.unique(next(iter(theirs.values()))).size > 40
    assert_near(model, x, theirs, lambda names: runtime_tensors(model, x, names))


@pytest.mark.parametrize("name", [name for name in HAND_MADE if name.startswith("qcdq")])
def test_qcdq_networks_equal_onnx_runtime(name):
    model = HAND_MADE[name]()
    onnx.checker.check_model(model, full_check=True)
    x = frames(model, 40)
    theirs = runtime_tensors(model, x)
    assert_near(model, x, theirs, lambda names: runtime_tensors(model, x, names))


@pytest.mark.parametrize("name", [name for name in HAND_MADE if not name.startswith("qcdq")])
def test_qonnx_networks_equal_the_qonnx_package(name):
    pytest.importorskip("qonnx", reason="qonnx is not installed (extra dev)")
    model = HAND_MADE[name]()
    x = frames(model, 3)
    assert_near(model, x, package_tensors(model, x), lambda names: package_tensors(model, x, names))


def package_tensors(model, x, names=("y",)):
    """What the qonnx package's executor computes, one frame at a time."""
    with warnings.catch_warnings(), silence():
        warnings.simplefilter("ignore")
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for value in (copy.graph.input[0], copy.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        wrapped = ModelWrapper(copy).transform(InferShapes())
        runs = [execute_onnx(wrapped, {"x": frame[None]}, True) for frame in x]
    return {name: np.concatenate([run[name] for run in runs]) for name in names}


def _microsoft(op, kind, others=0, shape=(1, 3, 6, 6), **attributes):
    """A model of one QLinear operator on `x`, with `others` constant operands beside it."""
    random = np.random.default_rng(3)
    info = np.iinfo(kind)

    def operand(name, scale):
        zero = kind(random.integers(info.min + 100, info.max - 100))
        return [name, const(np.float32(scale)), const(zero)]

    constants = []

    def const(value):
        constants.append(onnx.numpy_helper.from_array(np.asarray(value), f"c{len(constants)}"))
        return constants[-1].name

    operands = [operand("x", 0.031)]
    for _ in range(others):
        values = random.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
        operands.append(operand(const(values), 0.0173))
    result = operand("", 0.0391)[1:]
    flat = [name for part in operands for name in part]
    inputs = [*result, *flat] if op == "QLinearConcat" else [*flat, *result]
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, inputs, ["y"], domain="com.microsoft", **attributes)],
        op,
        [onnx.helper.make_tensor_value_info("x", element, ["N", *shape[1:]])],
        [onnx.helper.make_tensor_value_info("y", element, None)],
        constants,
    )
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize(
    ("op", "others", "attributes"),
    [
        ("QLinearAdd", 1, {}),
        ("QLinearMul", 1, {}),
        ("QLinearConcat", 1, {"axis": 1}),
        ("QLinearAveragePool", 0, POOL),
        ("QLinearAveragePool", 0, POOL | {"count_include_pad": 1}),
        ("QLinearGlobalAveragePool", 0, {"channels_last": 0}),
        ("QLinearLeakyRelu", 0, {"alpha": 0.15}),
        ("QLinearSigmoid", 0, {}),
    ],
)
def test_qlinear_operators_equal_onnx_runtime(op, others, attributes, kind):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra dev)")
    model = _microsoft(op, kind, others, **attributes)
    frame = 1 if op == "QLinearConcat" else 5  # a joined constant has one frame
    x = frames(model, frame)
    theirs = runtime_tensors(model, x)
    assert np.unique(theirs["y"]).size > 8
    found = first_difference(model, x, theirs)
    assert found is None or (found.distance < NEAR_A_TIE and found.count < 4), str(found)
