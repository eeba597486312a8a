"""Networks that others made: a trained binary one, and those that ship with the qonnx package."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_judge import assert_exact, program_of, refusal

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.models.onnx.load import load
from bitwright.sim import kernels
from bitwright.sim.rtl import simulate

DATA = Path(__file__).parents[2] / "shared" / "data"
TFC = DATA / "TFC_1W1A.onnx"
needs_tfc = pytest.mark.skipif(not TFC.exists(), reason=f"{TFC.name} is not beside the repository")
A_THOUSANDTH = 1e-3


@cache
def tfc():
    """The program, its inputs, and the outputs that are expected."""
    program = load(TFC)
    images, expected = (np.load(DATA / f"TFC_1W1A_{k}.npy") for k in ("inputs", "expected"))
    return program, images, expected


def assert_expected(program, outputs, expected):
    """Within a thousandth of a step of each output."""
    scale = np.array([float(s) for s in program.output_border.scale])
    off = np.abs(program.answer(outputs) - expected) / np.abs(scale)
    assert off.max() < A_THOUSANDTH


@needs_tfc
def test_kernels_give_what_is_expected():
    program, images, expected = tfc()
    assert len(images) == 32
    outputs = kernels.run(program, program.accept(images))
    np.testing.assert_array_equal(program(program.accept(images)), outputs)
    assert_expected(program, outputs, expected)
    answer = program.answer(outputs)
    np.testing.assert_array_equal(answer.argmax(1), expected.argmax(1))
    labels = np.load(DATA / "TFC_1W1A_labels.npy")
    assert (answer.argmax(1) == labels).sum() == (expected.argmax(1) == labels).sum() >= 28


@needs_tfc
@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_hardware_gives_what_is_expected(engine):
    program, images, expected = tfc()
    design = build(program)
    trial = Trial("tfc", design, write_rtl(design), program.accept(images), {})
    (outcome,) = simulate([trial], engine).outcomes
    assert outcome.report == []
    assert outcome.right
    assert_expected(program, outcome.outputs, expected)


@needs_tfc
def test_a_step_more_is_not_what_is_expected():
    program, images, expected = tfc()
    outputs = kernels.run(program, program.accept(images)).copy()
    outputs[7, 3] += 1
    with pytest.raises(AssertionError):
        assert_expected(program, outputs, expected)


# The qonnx package's own files.

FLOAT = (
    "the model is a float one: no node of it quantises; quantise it with `bitwright compress MODEL "
    "--data INPUTS.npy`, or with the tools that it was made with"
)
RAW = (
    "node '{}' (Conv) reads the graph's input, which is not quantised; put a quantiser (Quant, or "
    "QuantizeLinear and DequantizeLinear) between them"
)
REFUSED = {
    "bsd300x3-espcn/nn_resize/float_model.onnx": FLOAT,
    "bsd300x3-espcn/subpixel/float_model.onnx": FLOAT,
    "bsd300x3-espcn/subpixel/quant_model.onnx": RAW.format("Conv_5"),
    "eltwise_chanlast_testcase.onnx": RAW.format("Conv_0"),
    "floatquant_exec/qonnx_act_weight_fp8.onnx": (
        "node '/input_quant/export_handler/FloatQuant' (FloatQuant): the operator is not offered "
        "in hardware; express it by those that docs/onnx.md lists"
    ),
    "matmul_update/sdp.onnx": (
        "the graph has 3 inputs ('onnx::Reshape_0', 'onnx::Reshape_1', 'onnx::Reshape_2'), and an "
        "accelerator has exactly one; make the others initialisers"
    ),
    "mnist-conv/model.onnx": (
        "the model uses opset 8, and 9 to 28 are understood; convert it with onnx.version_converter"
    ),
    "residual_block_clean.onnx": FLOAT,
}
ACCEPTED = ("bsd300x3-espcn/nn_resize/quant_model.onnx",)


def package_model(name):
    spec = find_spec("qonnx")
    if spec is None or spec.origin is None:
        pytest.skip("qonnx is not installed")
    path = Path(spec.origin).parent / "data" / "onnx" / name
    if not path.exists():
        pytest.skip(f"this version of qonnx has no {name}")
    return onnx.load(path)


@pytest.mark.parametrize("name", REFUSED)
def test_which_models_of_qonnx_are_refused(name):
    assert refusal(package_model(name)) == REFUSED[name]


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_super_resolution_network_is_exact(name):
    """Three quantised convolutions and a nearest-neighbour resize, on images of 8x8."""
    model = package_model(name)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 8
    x = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    assert_exact(program_of(model), model, x, defined=1)


def test_no_model_of_qonnx_is_left_out():
    spec = find_spec("qonnx")
    if spec is None or spec.origin is None:
        pytest.skip("qonnx is not installed")
    folder = Path(spec.origin).parent / "data" / "onnx"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")}
    assert found <= {*REFUSED, *ACCEPTED}
