"""ONNX's own cases of quantised operators: exact everywhere, or refused in a stated sentence.

Every input but the first is made an initialiser, and integers of 2 and 4 bits come in int8 arrays.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_judge import reals, refusal, taken
from onnx_oracle import run
from test_onnx_oracle import QUANTISED_CASES

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.sim import kernels
from bitwright.sim.rtl import simulate

BLOCKS = "node '{0}_1' ({0}): scales hold for whole channels, not for blocks of 2; set block_size 0"
DYNAMIC = (
    "node 'DynamicQuantizeLinear_1' (DynamicQuantizeLinear): its scale is computed from each input "
    "at run time, and hardware needs constants; quantise the model statically"
)
STACKED = (
    "node 'QLinearMatMul_1' (QLinearMatMul): its weights have 2 axes, not shape (2, 4, 3), since "
    "all frames of a batch share them; export one matrix"
)
BATCH = (
    "node 'QuantizeLinear_1' (QuantizeLinear): a constant of shape (3, 1) differs between the "
    "frames of a batch, and hardware treats all alike; export the model with a batch of 1"
)
ZEROS = (
    "node 'QuantizeLinear_1' (QuantizeLinear): zero points differ between channels, and one is "
    "needed for all; quantise activations symmetrically or per tensor"
)
REFUSED = {
    "dequantizelinear_blocked": BLOCKS.format("DequantizeLinear"),
    "dynamicquantizelinear": DYNAMIC,
    "dynamicquantizelinear_max_adjusted": DYNAMIC,
    "dynamicquantizelinear_min_adjusted": DYNAMIC,
    "qlinearmatmul_3D_uint8_float32": STACKED,
    "qlinearmatmul_3D_uint8_float16": STACKED,
    "qlinearmatmul_3D_int8_float32": STACKED,
    "qlinearmatmul_3D_int8_float16": STACKED,
    "quantizelinear_axis": ZEROS,
    "quantizelinear_uint4": BATCH,
    "quantizelinear_int4": BATCH,
    "quantizelinear_uint2": BATCH,
    "quantizelinear_int2": BATCH,
    "quantizelinear_blocked_asymmetric": BLOCKS.format("QuantizeLinear"),
    "quantizelinear_blocked_symmetric": BLOCKS.format("QuantizeLinear"),
}
EXACT = [name for name in QUANTISED_CASES if name not in REFUSED]


@cache
def cases():
    """Each case as (model, input, wanted output)."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the generators of unrelated cases overflow and divide
        found = {c.name.removeprefix("test_"): c for c in load_model_tests(kind="node")}
    return {name: _case(found[name]) for name in QUANTISED_CASES}


def _case(case):
    model = onnx.ModelProto()
    model.CopyFrom(case.model or onnx.load(f"{case.model_dir}/model.onnx"))
    ((given, wanted),) = case.data_sets
    inputs = [_array(value) for value in given]
    for value, array in list(zip(model.graph.input, inputs, strict=True))[1:]:
        model.graph.initializer.append(_tensor(array, value))
    return model, _plain(inputs[0]), _plain(_array(wanted[0]))


def _tensor(array, value):
    """An initialiser of the input's own type."""
    kind = value.type.tensor_type.elem_type
    if array.dtype.kind in "iufb":
        return numpy_helper.from_array(array, value.name)
    return onnx.helper.make_tensor(value.name, kind, array.shape, _plain(array).ravel().tolist())


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _plain(array):
    """Integers of less than a byte as int8."""
    return array if array.dtype.kind in "iufb" else array.astype(np.int8)


@cache
def program(name):
    found = taken(cases()[name][0], name)
    assert not found.obstacles, found.obstacles[0]
    return found.program


def test_the_counts():
    assert (len(QUANTISED_CASES), len(EXACT), len(REFUSED)) == (34, 19, 15)
    assert REFUSED.keys() <= set(QUANTISED_CASES)


@pytest.mark.parametrize("name", EXACT)
def test_kernels_and_definition_are_exact(name):
    model, x, wanted = cases()[name]
    made = program(name)
    got = kernels.run(made, integers := made.accept(x))
    np.testing.assert_array_equal(made(integers), got)
    np.testing.assert_array_equal(reals(made, got).array(), run(model, x))
    answer = made.answer(got)
    assert answer.shape == wanted.shape
    np.testing.assert_allclose(answer.astype(float), wanted.astype(float), rtol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_the_others_are_refused(name):
    assert refusal(cases()[name][0]) == REFUSED[name]


@pytest.mark.cosim
def test_hardware_is_exact():
    """All of them in one Icarus build, with every cycle as promised."""
    trials = []
    for number, name in enumerate(EXACT):
        design = build(program(name), 1 << 20)
        x = program(name).accept(cases()[name][1])
        trials.append(Trial(f"d{number}", design, write_rtl(design), x, {}))
    outcomes = simulate(trials, "icarus").outcomes
    assert len(outcomes) == len(EXACT)
    for outcome, trial in zip(outcomes, trials, strict=True):
        assert outcome.report == []
        assert outcome.right
        np.testing.assert_array_equal(outcome.outputs, trial.design.program(trial.inputs))
