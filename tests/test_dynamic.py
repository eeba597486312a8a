"""A model that only the reference can run: exact there, refused everywhere else."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitwright.cli import main

WEIGHTS = np.array([[3, -7], [5, 2], [-1, 4]], np.int8)
X = np.array([[0.1, -0.7, 2.0], [1.5, 0.25, -0.5], [0.0, 0.0, 0.0]], np.float32)


@pytest.fixture
def model(tmp_path):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["a"], "product"),
        helper.make_node("Cast", ["a"], ["r"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["r", "s"], ["y"], "scaled"),
    ]
    graph = helper.make_graph(
        nodes,
        "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    path = tmp_path / "dynamic.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


def by_hand() -> np.ndarray:
    rows = []
    for row in X.astype(np.float64):
        scale = (max(row.max(), 0) - min(row.min(), 0)) / 255 or 1.0
        zero = np.clip(np.rint(-min(row.min(), 0) / scale), 0, 255)
        q = np.clip(np.rint(row / scale) + zero, 0, 255)
        rows.append((q - zero) @ WEIGHTS * scale)
    return np.array(rows)


def run(model, tmp_path, capsys, expect, *options):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", expect)
    files = ["--inputs", str(tmp_path / "x.npy"), "--expect", str(tmp_path / "y.npy")]
    code = main(["simulate", str(model), *files, *options])
    return code, capsys.readouterr()


def test_the_reference_runs_it(model, tmp_path, capsys):
    expect = by_hand()
    code, said = run(model, tmp_path, capsys, expect, "--engine", "reference", "--json")
    result = json.loads(said.out)
    assert (code, result["frames"], result["mismatches"]) == (0, 3, 0)
    assert result["top_1_agreement"] == {"agreeing": 3, "frames": 3}
    expect[1, 0] += 0.01
    code, said = run(model, tmp_path, capsys, expect, "--engine", "reference", "--json")
    assert (code, json.loads(said.out)["mismatches"]) == (1, 1)


@pytest.mark.parametrize("engine", ["numba", "verilator"])
def test_hardware_refuses_it(model, tmp_path, capsys, engine):
    code, said = run(model, tmp_path, capsys, by_hand(), "--engine", engine)
    assert code == 2
    assert said.err.strip().endswith(
        "node 'dynamic' (DynamicQuantizeLinear): its scale is computed from each input at run "
        "time, and hardware needs constants; quantise the model statically"
    )


def test_expected_values_of_another_shape_are_refused(model, tmp_path, capsys):
    code, said = run(model, tmp_path, capsys, np.zeros((3, 5)), "--engine", "reference")
    assert code == 2
    assert said.err.strip().endswith("expected values have shape (3, 2), not (3, 5); reshape them")
