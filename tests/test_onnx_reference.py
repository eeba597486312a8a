"""The reference for graphs that hardware refuses: exactly the oracle, and next to ONNX Runtime."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx_oracle
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_models import FLOATS, HAND_MADE, frames, silence
from runtime import session

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.constants.constant import Constant, exactly
from bitwright.models.onnx.graph import Tensor
from bitwright.models.onnx.load import imported
from bitwright.models.onnx.read import parse
from bitwright.models.onnx.reference import numbers as reference_numbers
from bitwright.models.onnx.reference import run as reference
from bitwright.models.onnx.reference.numbers import Numbers, product

NEAR_A_TIE = 1e-3
"""Steps: what float32 may be off by after layers whose scales it rounded as well."""


def graph_of(model):
    return parse(model.SerializeToString())


def exact_values(graph, x):
    """The exact outputs of all frames."""
    return np.concatenate([part.fractions() for part in reference.exact(graph, x)])


# Networks that ONNX Runtime quantised dynamically.

DYNAMIC = [
    (name, weights, per_channel)
    for name in FLOATS
    for weights in ("QInt8", "QUInt8")
    for per_channel in (False, True)
]


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    """`dynamic(network, weights, per_channel)`: its model, made once."""
    ort = pytest.importorskip(
        "onnxruntime.quantization", reason="onnxruntime is not installed (extra dev)"
    )
    made = {}

    def make(name, weights="QInt8", per_channel=False):
        key = name, weights, per_channel
        if key not in made:
            folder: Path = tmp_path_factory.mktemp("dynamic")
            onnx.save(FLOATS[name](), folder / "float.onnx")
            with silence():
                ort.quantize_dynamic(
                    folder / "float.onnx",
                    folder / "dynamic.onnx",
                    weight_type=ort.QuantType[weights],
                    per_channel=per_channel,
                )
            made[key] = onnx.load(folder / "dynamic.onnx")
        return made[key]

    return make


@pytest.mark.parametrize("key", DYNAMIC, ids=str)
def test_dynamic_networks_equal_the_oracle_exactly(dynamic, key):
    model = dynamic(*key)
    graph, x = graph_of(model), frames(model, 3)
    wanted = np.concatenate([onnx_oracle.run(model, frame[None]) for frame in x])
    assert (exact_values(graph, x) == wanted).all()
    assert (reference.run(graph, x) == np.array([[float(v) for v in row] for row in wanted])).all()


@pytest.mark.parametrize("key", DYNAMIC, ids=str)
def test_dynamic_networks_are_close_to_onnx_runtime(dynamic, key):
    model = dynamic(*key)
    graph, x = graph_of(model), frames(model, 8)
    names = [node.outputs[0] for node in graph.nodes if node.op == reference.DYNAMIC]
    tensors = [*names, "y"]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    judge = session(copy.SerializeToString())
    for frame in x:
        theirs = dict(zip(tensors, judge.run(tensors, {"x": frame[None]}), strict=True))
        rounded = _first_rounding(model, graph, frame[None], theirs, names)
        if not rounded:
            np.testing.assert_allclose(reference.run(graph, frame[None]), theirs["y"], atol=1e-6)


def _first_rounding(model, graph, x, theirs, names):
    """True if ONNX Runtime rounds otherwise somewhere: it must be next to a tie, the first time."""
    for name in names:
        ours = reference.run(_ending(graph, name), x)
        wrong = ours != theirs[name]
        if wrong.any():
            (traced,) = onnx_oracle.trace(model, x, [name]).values()
            assert (ours == traced.values).all()
            assert max(traced.distance[wrong]) < NEAR_A_TIE
            return True
    return False


def _ending(graph, name):
    """The graph with another output."""
    return replace(graph, outputs=(Tensor(name, "float32", ()),))


def test_every_tensor_of_a_network_is_exact(dynamic):
    model = dynamic("residual", "QUInt8", True)
    graph, x = graph_of(model), frames(model, 1, seed=3)
    names = [n for node in graph.nodes for n in node.outputs if "scale" not in n.split("_")[-2:]]
    traced = onnx_oracle.trace(model, x, [n for n in names if not n.endswith(("point", "mul:0"))])
    compared = {name for name, value in traced.items() if value.values.shape[:1] == (1,)}
    assert len(compared) > 40
    for name in compared:
        assert (exact_values(_ending(graph, name), x) == traced[name].values).all(), name


@pytest.mark.parametrize("name", FLOATS)
def test_float_networks_equal_the_oracle_exactly(name):
    model = FLOATS[name]()
    x = frames(model, 2)
    assert (exact_values(graph_of(model), x) == onnx_oracle.run(model, x)).all()


@pytest.mark.parametrize("name", ["qonnx-cnn-w4a4-channel", "qcdq-cnn-w8a8-tensor"])
def test_quantised_networks_with_irrational_parts_are_next_to_the_oracle(name):
    model = HAND_MADE[name]()
    x = frames(model, 2)
    off = exact_values(graph_of(model), x) - onnx_oracle.run(model, x)
    assert max(abs(off).reshape(-1)) < Fraction(1, 10**70)


def test_hardware_refuses_what_the_reference_is_for(dynamic):
    graph = graph_of(dynamic("mlp"))
    assert reference.needed(graph)
    found = imported(graph, "mlp")
    assert found.program is None
    assert "its scale is computed from each input at run time" in found.obstacles[0]
    assert not reference.needed(graph_of(FLOATS["mlp"]()))


def test_a_scale_belongs_to_one_frame_or_to_one_batch(dynamic):
    model = dynamic("mlp", "QInt8", True)
    graph, x = graph_of(model), frames(model, 6) * np.array([[1], [9], [2], [30], [1], [4]], "f4")
    single = reference.run(graph, x)
    alone = np.concatenate([reference.run(graph, frame[None]) for frame in x])
    assert single.shape == (6, 5)
    assert (single == alone).all()
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    paired = exact_values(graph_of(fixed), x)
    assert (paired == onnx_oracle.run(fixed, x)).all()
    assert (paired.astype(float) != single).any()


def test_inputs_are_taken_as_exactly_what_they_are(dynamic):
    graph = graph_of(dynamic("mlp"))
    whole = np.arange(20, dtype=np.int16)[None] - 9
    wanted = reference.run(graph, whole)
    for dtype in (np.float16, np.float32, np.float64, np.int64):
        assert (reference.run(graph, whole.astype(dtype)) == wanted).all()


# Single operators: ONNX's own cases.


@pytest.fixture(scope="module")
def node_cases():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the generators of unrelated cases overflow and divide
        return load_model_tests(kind="node")


NOT_JUDGED = {"ArgMin", "LogSoftmax", "ReduceMin", "Softmax"}
"""What the oracle does not know: compared with the cases' own data only."""
IRRATIONAL = {"BatchNormalization", "Sigmoid", "Tanh"}
REFUSED = {
    "(average|max)pool_3d": "images with one or two axes are pooled",
    "batchnorm_.*_training_mode": "it has 1 outputs, not 3",
    "maxpool_with_argmax": "its indices are asked for",
    "reduce_(max|min)_.*bool": "numbers are computed with, not booleans",
    "reduce_(max|min)_empty_set$": "nothing is the largest or smallest of no values",
}
"""What is refused, and why."""
TIED = {"dynamicquantizelinear": 1}
"""Cases in which float32 arithmetic leaves an exact tie, and how many values differ."""


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)


def _cases(cases, operator):
    """Name, model and data of every case of one node of this operator, all inputs finite."""
    for case in cases:
        model = case.model or onnx.load(f"{case.model_dir}/model.onnx")
        if [node.op_type for node in model.graph.node] != [operator]:
            continue
        for inputs, outputs in case.data_sets:
            given, wanted = [_array(v) for v in inputs], [_array(v) for v in outputs]
            if all(np.isfinite(values.astype(float)).all() for values in given):
                yield case.name.removeprefix("test_"), model, given, wanted


@pytest.mark.parametrize("operator", reference.RULES)
def test_onnx_s_own_cases(node_cases, operator):
    ran = 0
    for name, model, given, wanted in _cases(node_cases, operator):
        graph = graph_of(model)
        inputs = {t.name: Constant(v, t.dtype) for t, v in zip(graph.inputs, given, strict=True)}
        inputs |= {"": None}
        (node,) = graph.nodes
        values = [inputs[n] for n in node.inputs]
        why = [reason for pattern, reason in REFUSED.items() if re.match(pattern, name)]
        if why:
            with pytest.raises(ProgramError, match=why[0]):
                reference.computed(node, values)
            continue
        results = reference.computed(node, values)
        _agrees(name, model, dict(zip(inputs, given, strict=False)), node, results, wanted)
        ran += 1
    assert ran


def _agrees(name, model, given, node, results, wanted):
    oracle = {} if node.op in NOT_JUDGED else onnx_oracle.evaluate(model, given)
    for output, result, theirs in zip(node.outputs, results, wanted, strict=False):
        ours = result.fractions()
        assert ours.shape == theirs.shape, name
        off = ~np.isclose(ours.astype(float), theirs.astype(float), 1e-3, 1e-6)
        assert off.sum() == (TIED.get(name, 0) if result.dtype == "uint8" and ours.ndim else 0)
        if oracle:
            apart = np.asarray(ours - oracle[output].array(), dtype=object)
            allowed = Fraction(1, 10**70) if node.op in IRRATIONAL else 0
            assert max(map(abs, apart.reshape(-1)), default=0) <= allowed, name


# Graphs by hand.


def model_of(nodes, constants=(), shape=(4,), kind="float32", batch=None, outputs=("y",)):
    """A model of nodes (operator, inputs, outputs, attributes), of the input x."""
    made = [
        helper.make_node(op, inputs.split(), results.split(), f"n{k}", **attributes)
        for k, (op, inputs, results, attributes) in enumerate(nodes)
    ]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", element, [batch, *shape])],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in dict(constants).items()],
    )
    for value in graph.output:
        value.type.tensor_type.shape.SetInParent()
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


QUANTISED = ("DynamicQuantizeLinear", "x", "q s z", {})


def test_a_tensor_of_zeros_has_the_scale_one():
    model = model_of(
        [QUANTISED, ("Mul", "f s", "m", {}), ("Cast", "q", "f", {"to": 1}), ("Add", "m s", "y", {})]
    )
    assert (reference.run(graph_of(model), np.zeros((2, 4), "f4")) == 1).all()


def test_ties_go_to_even_exactly():
    x = np.array([[0, 0.5, 1.5, 2.5, -0.5, 255]], "f4")
    y = reference.run(
        graph_of(model_of([("DynamicQuantizeLinear", "x", "y s z", {})], shape=(6,))), x
    )
    assert y.dtype == np.int64
    scale = Fraction(511, 510)
    assert [int(v) for v in y[0]] == [min(255, round(Fraction(float(v)) / scale)) for v in x[0]]
    x = np.array([[0, 0.5, 1.5, 2.5, 254.5, 255]], "f4")
    y = reference.run(
        graph_of(model_of([("DynamicQuantizeLinear", "x", "y s z", {})], shape=(6,))), x
    )
    assert y.tolist() == [[0, 0, 2, 2, 254, 255]]


def test_integers_wider_than_64_bits_are_exact():
    x = np.array([[1e-30, -3e30, 2.5e29, 7e-25]])
    y = reference.run(graph_of(model_of([("DynamicQuantizeLinear", "x", "y s z", {})])), x)
    low, high = Fraction(-3e30), Fraction(2.5e29)
    scale = (high - low) / 255
    zero = round(-low / scale)
    assert y[0].tolist() == [min(max(round(Fraction(v) / scale) + zero, 0), 255) for v in x[0]]


@pytest.mark.parametrize(("left", "right"), [(8, 8), (30, 31), (60, 9), (9, 200), (130, 90)])
def test_products_of_any_width_are_exact(left, right):
    random = np.random.default_rng(left)

    def numbers(size, *shape):
        words = random.integers(0, 1 << 30, (*shape, 8), dtype=np.int64).astype(object)
        whole = (words << (30 * np.arange(8)).astype(object)).sum(-1) & ((1 << size) - 1)
        signs = random.choice([-1, 1], shape).astype(object)
        return Numbers.held(whole * signs, Fraction(3, 7))

    a, b = numbers(left, 5, 12), numbers(right, 12, 4)
    y = product(np.matmul, a, b, 12)
    wanted = a.counts.astype(object) @ b.counts.astype(object)
    assert (y.counts.astype(object) == wanted).all()
    assert y.unit == Fraction(9, 49)


def test_numbers_hold_what_constants_say():
    values = np.array([0.0, 1.5, -3e-40, 1e30, 5e-324])
    third = np.array([[Fraction(1, 3)], [Fraction(-2, 7)]], object)
    cases = [
        Constant.of(values),
        Constant.of(np.zeros(3, np.float32)),
        Constant.of(np.array(7, np.uint64) + np.uint64(2**63)),
        Constant(np.array([[1, 2], [3, 4]]), "float32", third),
        Constant(np.array([1, 2]), "float32", exactly(Fraction(-5, 9))),
        Constant(np.array([1, 2]), "float32", exactly(0)),
        Constant(np.array([Fraction(1, 6), Fraction(3, 4)], object), "float32"),
        Constant(np.array([1 << 80, -3], object), "float32", exactly(Fraction(1, 10))),
    ]
    for case in cases:
        numbers = Numbers.of(case)
        assert numbers.unit > 0
        assert (numbers.constant("float32").fractions() == case.fractions()).all()
        assert ((-numbers).constant("float32").fractions() == -case.fractions()).all()


def test_the_output_is_the_nearest_float64():
    model = model_of([QUANTISED, ("Cast", "q", "f", {"to": 1}), ("Mul", "f s", "y", {})])
    x = np.array([[0.1, 0.7, -0.3, 0.9]], "f4")
    graph = graph_of(model)
    exact = exact_values(graph, x)
    assert reference.run(graph, x).tolist() == [[float(v) for v in exact[0]]]


def test_values_flow_through_operators_that_move_them():
    nodes = [
        ("Add", "x c", "a", {}),
        ("Concat", "a x", "b", {"axis": 1}),
        ("Transpose", "b", "d", {"perm": [0, 2, 1]}),
        ("Slice", "d one three axis", "e", {}),
        ("Pad", "e pads", "f", {}),
        ("DynamicQuantizeLinear", "f", "q s z", {}),
        ("DequantizeLinear", "q s z", "g", {}),
        ("Flatten", "g", "y", {}),
    ]
    constants = {
        "c": np.float32(1 / 3),
        "one": np.array([1]),
        "three": np.array([3]),
        "axis": np.array([1]),
        "pads": np.array([0, 1, 0, 0, 0, 1]),
    }
    model = model_of(nodes, constants, (3, 5))
    x = frames(model, 2) * np.float32(1e-20)
    wanted = np.concatenate([onnx_oracle.run(model, frame[None]) for frame in x])
    assert wanted.shape == (2, 21)
    assert (exact_values(graph_of(model), x) == wanted).all()


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("ceil", [0, 1])
def test_wide_values_are_pooled_exactly(op, ceil):
    more = {} if op == "MaxPool" else {"count_include_pad": ceil}
    window = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 0, 1], "ceil_mode": ceil}
    model = model_of(
        [("Mul", "x x", "a", {}), ("Sub", "c a", "b", {}), (op, "b", "y", window | more)],
        {"c": np.float32(1e-7)},
        (2, 7, 7),
    )
    x = frames(model, 2) * np.float32(1e9)
    assert (exact_values(graph_of(model), x) == onnx_oracle.run(model, x)).all()


def test_sums_do_not_wrap():
    large = float(3 * 2**60)
    x = np.array([[[large, large], [large, 1.0]]])
    pool = {"kernel_shape": [2, 2]}
    for nodes, wanted in (
        ([("Add", "x x", "a", {}), ("Add", "a a", "b", {}), ("Add", "b b", "y", {})], 8 * x[None]),
        ([("ReduceSum", "x axes", "y", {"keepdims": 0})], [[3 * large + 1]]),
        ([("AveragePool", "x", "y", pool)], [[[[0.75 * large]]]]),
        ([("GlobalAveragePool", "x", "y", {})], [[[[0.75 * large]]]]),
    ):
        graph = graph_of(model_of(nodes, {"axes": np.array([2, 3])}, (1, 2, 2)))
        assert (reference.run(graph, x[None]) == wanted).all()


def test_zero_points_may_differ_by_row_and_column():
    random = np.random.default_rng(5)
    a, b = random.integers(-128, 128, (3, 4)), random.integers(0, 256, (4, 5))
    rows, columns = random.integers(-128, 128, 3), random.integers(0, 256, 5)
    constants = {"b": b.astype("u1"), "r": rows.astype("i1"), "c": columns.astype("u1")}
    model = model_of([("MatMulInteger", "x b r c", "y", {})], constants, (4,), "int8", 3)
    y = reference.run(graph_of(model), a)
    assert y.dtype == np.int64
    assert (y == (a - rows[:, None]) @ (b - columns)).all()
    x, w = random.integers(0, 256, (2, 3, 5, 4)), random.integers(-128, 128, (6, 1, 3, 2))
    constants = {"w": w.astype("i1"), "zx": np.uint8(77), "zw": (rows.repeat(2)).astype("i1")}
    more = {"group": 3, "pads": [1, 0, 1, 1], "strides": [2, 1]}
    model = model_of([("ConvInteger", "x w zx zw", "y", more)], constants, (3, 5, 4), "uint8")
    y = reference.run(graph_of(model), x)
    assert (y == onnx_oracle.run(model, x.astype("u1"))).all()


# What is refused.

X = np.ones((1, 4), np.float32)


def refused(model, x, message):
    with pytest.raises(ProgramError) as error:
        reference.run(graph_of(model), x)
    assert str(error.value) == message


def test_what_is_not_computed_is_refused():
    refused(
        model_of([QUANTISED, ("Cast", "q", "f", {"to": 1}), ("Erf", "f", "y", {})]),
        X,
        "node 'n2' (Erf): the reference does not compute this operator, and hardware refuses the "
        "graph's DynamicQuantizeLinear; quantise the model statically",
    )


ENDS = [
    (
        X[:, :3],
        {},
        (
            "the graph's input 'x' has the shape (N, 4), and inputs of shape (1, 3) do not fit it; "
            "reshape them"
        ),
    ),
    (
        X[0],
        {},
        (
            "the graph's input 'x' has the shape (N, 4), and inputs of shape (4,) do not fit it; "
            "reshape them"
        ),
    ),
    (X[:0], {}, "there is no frame to compute; give at least one input"),
    (
        np.repeat(X, 5, 0),
        {"batch": 2},
        (
            "the graph's input 'x' takes 2 frames at a time, and 5 are no multiple of it; give a "
            "multiple, or export the model with a batch of 1"
        ),
    ),
    (X * np.nan, {}, "inputs hold NaN or infinity; every input must be a finite number"),
    (
        X.astype(complex),
        {},
        "inputs are integers or floats of at most 64 bits, not complex128; convert them",
    ),
]


@pytest.mark.parametrize(("x", "more", "message"), ENDS)
def test_frames_that_do_not_fit_are_refused(x, more, message):
    refused(model_of([("DynamicQuantizeLinear", "x", "y s z", {})], **more), x, message)


@pytest.mark.parametrize(
    ("value", "shown"), [(300, "300"), (-1, "-1"), (0.5, "0.5"), (1e300, "1e+300")]
)
def test_integers_that_are_none_of_the_input_s_are_refused(value, shown):
    model = model_of([("Cast", "x", "f", {"to": 1}), ("Relu", "f", "y", {})], kind="uint8")
    assert reference.run(graph_of(model), X * 255).tolist() == [[255.0] * 4]
    refused(
        model,
        np.array([[1, 2, value, 4]]),
        f"the graph's input 'x' is uint8, and {shown} is none; give integers of 0..255",
    )


def test_floats_beyond_int64_are_refused():
    refused(
        model_of([("Cast", "x", "f", {"to": 1}), ("Relu", "f", "y", {})], kind="int64"),
        X * 2.0**63,
        "the graph's input 'x' is int64, and 9.223372036854776e+18 is none; give integers of "
        "-9223372036854775808..9223372036854775807",
    )


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no wider float here")
def test_floats_that_float64_does_not_hold_are_refused():
    x = X.astype(np.longdouble)
    message = f"inputs are integers or floats of at most 64 bits, not {x.dtype}; convert them"
    refused(model_of([("DynamicQuantizeLinear", "x", "y s z", {})]), x, message)


def test_several_outputs_are_refused():
    refused(
        model_of([QUANTISED], outputs=("q", "s")),
        X,
        "the graph has 2 outputs ('q', 's'), and the reference computes graphs of exactly one; "
        "export it with one output",
    )


def test_an_output_without_a_batch_is_refused():
    refused(
        model_of([QUANTISED], outputs=("s",)),
        X,
        "the graph's output 's' has the shape () for 1 frames, and its first axis is not theirs; "
        "export the model with a batch axis",
    )


def _integer(op, inputs, constants, x="q"):
    nodes = [QUANTISED, (op, f"{x} {inputs}", "y", {})]
    return model_of(nodes, {name: np.asarray(value) for name, value in constants.items()})


WEIGHTS = np.ones((4, 3), np.int8)
REFUSALS = [
    (
        _integer("MatMulInteger", "w", {"w": WEIGHTS}, "x"),
        (
            "node 'n1' (MatMulInteger): 8-bit integers are multiplied, not float32; put a "
            "quantiser before it"
        ),
    ),
    (
        _integer("MatMulInteger", "w z zw", {"w": WEIGHTS, "zw": np.uint8(3)}),
        (
            "node 'n1' (MatMulInteger): a tensor and its zero point have one type, not int8 and "
            "uint8; export the model again"
        ),
    ),
    (
        _integer("MatMulInteger", "w z zw", {"w": WEIGHTS, "zw": np.zeros(2, np.int8)}),
        (
            "node 'n1' (MatMulInteger): shapes (4, 3) and (2,) do not broadcast; export the model "
            "again"
        ),
    ),
    (
        _integer("ConvInteger", "w zx", {"w": WEIGHTS, "zx": np.zeros((1, 4), np.uint8)}),
        (
            "node 'n1' (ConvInteger): zero points of shape (1, 4) do not fit a tensor of shape "
            "(1, 4); export the model again"
        ),
    ),
    (
        _integer("MatMulInteger", "w", {"w": WEIGHTS.T}),
        (
            "node 'n1' (MatMulInteger): (1, 4) times (3, 4) is no matrix product; export the model "
            "again"
        ),
    ),
    (
        _integer("ConvInteger", "w", {"w": WEIGHTS}),
        (
            "node 'n1' (ConvInteger): weights of shape (4, 3) and group 1 do not fit an input of "
            "shape (1, 4); 1-D and 2-D convolutions are computed"
        ),
    ),
    (
        model_of([("Cast", "x", "i", {"to": 6}), ("DynamicQuantizeLinear", "i", "y s z", {})]),
        "node 'n1' (DynamicQuantizeLinear): real numbers are needed here, not int32; add a Cast",
    ),
    (
        model_of([QUANTISED, ("Sub", "x x", "o", {}), ("Div", "x o", "y", {})]),
        "node 'n2' (Div): nothing is divided by 0; export the model again",
    ),
    (
        model_of([QUANTISED, ("Mul", "x c", "y", {})], {"c": np.float32(np.inf)}),
        "node 'n1' (Mul): a value is a finite number, not inf; export the model again",
    ),
]


@pytest.mark.parametrize(("model", "message"), REFUSALS)
def test_what_breaks_a_rule_is_refused(model, message):
    refused(model, X, message)


def test_a_sum_beyond_its_type_is_refused():
    w = np.full((40_000, 1), 255, np.uint8)
    model = model_of([QUANTISED, ("MatMulInteger", "q w", "y", {})], {"w": w}, (40_000,))
    refused(
        model,
        np.ones((1, 40_000), "f4"),
        f"node 'n1' (MatMulInteger): {255 * 255 * 40_000} is no int32; use a wider type",
    )


def _squares(count):
    names = ["x", *(f"t{k}" for k in range(count - 1)), "y"]
    return model_of([("Mul", f"{a} {a}", b, {}) for a, b in pairwise(names)])


def test_numbers_that_outgrow_any_use_are_refused_early():
    refused(
        _squares(40),
        X * np.float32(1 / 3),
        "node 'n11' (Mul): exact values have 95908 bits, above the limit of 65536; quantise the "
        "model statically",
    )


def test_tensors_that_outgrow_memory_are_refused(monkeypatch):
    monkeypatch.setattr(reference_numbers, "ROOM_BITS", 1000)
    refused(
        _squares(6),
        X * np.float32(1 / 3),
        "node 'n3' (Mul): 4 exact values of 376 bits take more than 1000 bits; quantise the model "
        "statically",
    )


def test_an_output_beyond_float64_is_refused():
    refused(
        _squares(12),
        X * np.float32(3),
        "the graph's output 'y' has values beyond float64; scale it down",
    )
