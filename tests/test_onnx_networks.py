"""Whole networks through the ONNX importer: kernels and hardware against the rational oracle."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_judge import Graph, assert_exact, differing, inputs, program_of
from onnx_models import HAND_MADE, RECIPES, frames, quantised
from onnx_oracle import first_difference
from test_onnx_oracle_networks import NEAR_A_TIE, runtime_tensors

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.sim.rtl import simulate

DATA = Path(__file__).parent / "data"
BREVITAS = sorted(path.stem for path in DATA.glob("brevitas_*.onnx"))
BY_RUNTIME = {str(recipe): recipe for recipe in RECIPES}
FRAMES, CYCLES = 12, 1 << 13

FORMS = {
    "QONNX": "qonnx-cnn-w4a4-channel",
    "QONNX of 1 bit": "qonnx-mlp-w1a1-tensor",
    "BipolarQuant": "bipolar-cnn-w1a1-channel",
    "MultiThreshold": "multithreshold-cnn-a2",
    "QCDQ": "qcdq-cnn-w4a4-tensor",
    "QDQ, float input": "depthwise-QDQ-tensor-uint8-int8",
    "QOperator, residual": "residual-QOperator-channel-int8-int8",
    "QOperator, depthwise": "depthwise-QOperator-channel-uint8-uint8",
    "Brevitas, QONNX": "brevitas_cnn_2bit_qonnx",
    "Brevitas, QCDQ": "brevitas_residual_2bit_qcdq",
    "uint8 input": "bytes",
    "pixels and channels": "super_resolution",
}
"""One network for each form of import, which hardware computes."""


@cache
def model_of(name):
    if name in MADE_HERE:
        return MADE_HERE[name]()
    if name in HAND_MADE:
        return HAND_MADE[name]()
    if name in BY_RUNTIME:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra dev)")
        with TemporaryDirectory() as folder:
            return quantised(BY_RUNTIME[name], Path(folder))
    return onnx.load(DATA / f"{name}.onnx")


def _bytes():
    """A quantised network without its first QuantizeLinear: bytes are its input."""
    model = onnx.ModelProto()
    model.CopyFrom(model_of("mlp-QDQ-tensor-uint8-int8"))
    first = next(node for node in model.graph.node if "x" in node.input)
    assert first.op_type == "QuantizeLinear"
    for node in model.graph.node:
        node.input[:] = ["x" if name == first.output[0] else name for name in node.input]
    model.graph.node.remove(first)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return model


def _super_resolution():
    """Blocks of pixels as channels, and back twice: between the channels, then as transposed."""
    g = Graph((1, 6, 4), "uint8", seed=77)
    x = g.node("SpaceToDepth", g.start(1 / 128, 128), blocksize=2)
    for outputs, channels in ((12, 4), (4, 3)):
        values = g.constant(g.random.integers(-7, 8, (outputs, channels, 3, 3)), np.int8)
        scales = g.constant(g.random.uniform(0.02, 0.04, outputs))
        w = g.node("DequantizeLinear", values, scales, axis=0)
        x = g.quant(g.node("Conv", x, w, g.bias(outputs), pads=[1] * 4), 1 / 16, 5)
        if channels == 4:
            x = g.node("DepthToSpace", x, blocksize=2, mode="CRD")
    x = g.node("Transpose", g.node("Reshape", x, g.ints(0, 2, 2, 1, 6, 4)), perm=[0, 3, 4, 1, 5, 2])
    return g.finished(g.node("Reshape", x, g.ints(0, 1, 12, 8)))


MADE_HERE = {"bytes": _bytes, "super_resolution": _super_resolution}


@cache
def program(name):
    return program_of(model_of(name), name)


@pytest.mark.parametrize("name", [*HAND_MADE, *BY_RUNTIME, *BREVITAS, "super_resolution"])
def test_kernels_are_exact(name):
    model = model_of(name)
    assert_exact(program(name), model, frames(model, FRAMES), defined=2)


def test_pixels_move_as_onnx_runtime_moves_them():
    """What runs in floats is exact here: scales are powers of two, and sums are short."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra dev)")
    for op, shape, mode in (
        ("DepthToSpace", (12, 3, 5), "DCR"),
        ("DepthToSpace", (12, 3, 5), "CRD"),
        ("SpaceToDepth", (3, 6, 4), None),
    ):
        g = Graph(shape, opset=13, seed=5)
        w = g.constant(g.random.integers(-7, 8, (shape[0], shape[0], 1, 1)) / 8)
        more = {"mode": mode} if mode else {}
        model = g.finished(
            g.node(op, g.node("Conv", g.start(), w), blocksize=2, **more), known=False
        )
        session = runtime.InferenceSession(model.SerializeToString())
        x = frames(model, 4)
        made = program_of(model)
        np.testing.assert_array_equal(
            made.answer(made(made.accept(x))), session.run(None, {"x": x})[0]
        )


def test_how_many_networks_there_are():
    assert (len(HAND_MADE), len(BY_RUNTIME), len(BREVITAS)) == (52, 36, 20)


@cache
def designs():
    made = [build(program(name), CYCLES) for name in FORMS.values()]
    return [(design, write_rtl(design)) for design in made]


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_hardware_is_exact(engine):
    """One network of each form, all in one build: every value, and every cycle as promised."""
    trials = []
    for number, (design, rtl) in enumerate(designs()):
        given = frames(model_of(design.program.name), 1 if engine == "icarus" else 3)
        trials.append(Trial(f"d{number}", design, rtl, design.program.accept(given), {}))
    for outcome, trial in zip(simulate(trials, engine).outcomes, trials, strict=True):
        assert outcome.report == []
        assert outcome.right
        promised = trial.design.schedule(len(trial.inputs))
        assert outcome.streams.keys() == promised.keys()
        for name, cycles in outcome.streams.items():
            np.testing.assert_array_equal(cycles, promised[name])
        np.testing.assert_array_equal(outcome.outputs, trial.design.program(trial.inputs))


def test_the_forms_are_what_they_are_called():
    kinds = {
        "QONNX": "Quant", "BipolarQuant": "BipolarQuant", "MultiThreshold": "MultiThreshold",
        "QCDQ": "Clip", "QDQ, float input": "QuantizeLinear", "QOperator, residual": "QLinearAdd",
        "QOperator, depthwise": "QLinearConv", "Brevitas, QONNX": "Quant",
        "Brevitas, QCDQ": "Clip",
    }  # fmt: skip
    for form, op in kinds.items():
        assert op in {node.op_type for node in model_of(FORMS[form]).graph.node}
    assert model_of("bytes").graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


ROUNDS = ("QuantizeLinear", "QLinearConv", "QGemm", "QLinearAdd", "QLinearAveragePool",
          "QLinearGlobalAveragePool")  # fmt: skip


@pytest.mark.parametrize("name", BY_RUNTIME)
def test_floats_differ_next_to_ties_alone(name):
    """ONNX Runtime's own answers: where they are not the ideal ones, a tie is next."""
    model = model_of(name)
    x = frames(model, FRAMES)
    rounded = [o for node in model.graph.node if node.op_type in ROUNDS for o in node.output]
    found = first_difference(model, x, runtime_tensors(model, x, rounded), tolerance=1e-4)
    if found is not None:
        assert found.distance is not None, str(found)
        assert found.distance < NEAR_A_TIE, str(found)


# The tests can fail.


def _altered(model, name, change):
    """A copy in which `change` has altered the stored tensor of this name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (tensor,) = (tensor for tensor in copy.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    change(values.reshape(-1))
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


def _weight_bit(values):
    values[values.size // 2] ^= 1


def _last_bit(values):
    values.view(np.int32)[0] ^= 1


def _next(values):
    values[0] += -1 if values[0] > 0 else 1


ALTERED = {"a weight's last bit": (3, _weight_bit), "a zero point": (7, _next)}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_network_is_noticed(what):
    name = "residual-QOperator-channel-uint8-int8"
    model, (place, change) = model_of(name), ALTERED[what]
    first = next(node for node in model.graph.node if node.op_type == "QLinearConv")
    x = frames(model, FRAMES)
    assert not differing(program(name), model, x)
    assert differing(program_of(_altered(model, first.input[place], change)), model, x)


def test_the_last_bit_of_a_scale_is_noticed():
    """Of the output's scale in every value, and of an inner one at ties."""
    name = "residual-QDQ-tensor-uint8-int8"
    model = model_of(name)
    (last,) = (node for node in model.graph.node if "y" in node.output)
    assert last.op_type == "DequantizeLinear"
    x = frames(model, FRAMES)
    assert differing(program_of(_altered(model, last.input[1], _last_bit)), model, x)

    g = Graph((8,))
    steps = [g.constant(1 / 8), g.constant(1 / 8)]
    y = g.node("QuantizeLinear", g.start(1 / 16), steps[0], g.constant(0, np.int8))
    tied = g.finished(g.node("DequantizeLinear", y, steps[1]))
    x = inputs(tied)
    assert not differing(program_of(tied), tied, x)
    assert differing(program_of(_altered(tied, steps[0], _last_bit)), tied, x)
