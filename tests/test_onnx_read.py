"""Good ONNX files: every type decodes as onnx's own helper does, and graphs come in order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_bad
import pytest
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx import limits, read
from bitwright.models.onnx.graph import MICROSOFT, ONNX, QONNX
from bitwright.models.onnx.read import parse
from bitwright.models.onnx.tensors import FORMATS, decode

RNG = np.random.default_rng(0)
HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
BITS = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.INT2: 2, TensorProto.UINT2: 2}
"""Of the types with several values in a byte."""


def graph_of(model: ModelProto):
    return parse(model.SerializeToString())


def samples(kind: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random bits as values of an ONNX type, the extremes of integers among them."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if kind in BITS:
        size = 1 << BITS[kind]
        low = 0 if "u" in dtype.name else -size // 2
        return (np.arange(np.prod(shape)) % size + low).reshape(shape).astype(dtype)
    if kind == TensorProto.BOOL:
        return RNG.integers(0, 2, shape).astype(bool)
    bits = RNG.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    return bits.view(dtype).reshape(shape)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 1, 7)])
@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: TensorProto.DataType.Name(kind))
def test_raw_data_decodes_as_onnx_does(kind: int, shape: tuple[int, ...]):
    values = samples(kind, shape)
    tensor = numpy_helper.from_array(values, "t")
    assert tensor.data_type == kind
    decoded = decode(tensor, "t")
    assert decoded.dtype == FORMATS[kind].dtype
    assert decoded.shape == shape
    assert not decoded.flags.writeable
    expected = numpy_helper.to_array(tensor).astype(decoded.dtype)
    assert np.array_equal(decoded, expected, equal_nan=decoded.dtype.kind == "f")


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: TensorProto.DataType.Name(kind))
def test_lists_decode_as_raw_data_does(kind: int):
    values = samples(kind, (3, 5))
    if np.dtype(FORMATS[kind].dtype).kind == "f":
        values = (RNG.integers(-99, 99, (3, 5)) / 4).astype(values.dtype)
    tensor = helper.make_tensor("t", kind, (3, 5), values)
    assert not tensor.raw_data
    again = TensorProto()
    again.CopyFrom(numpy_helper.from_array(values, "t"))
    assert np.array_equal(decode(tensor, "t"), decode(again, "t"))


def test_every_bfloat16_becomes_its_float32():
    bits = np.arange(1 << 16, dtype=np.uint16)
    tensor = TensorProto(dims=[1 << 16], data_type=TensorProto.BFLOAT16, raw_data=bits.tobytes())
    expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(decode(tensor, "t"), expected, equal_nan=True)


def test_minus_zero_infinity_and_nan_stay():
    values = np.array([-0.0, np.inf, -np.inf, np.nan], np.float32)
    decoded = decode(numpy_helper.from_array(values), "t")
    assert decoded.tobytes() == values.tobytes()


def test_the_good_model():
    graph = graph_of(onnx_bad.good())
    assert [str(node) for node in graph.nodes] == [
        "node 'multiply' (MatMul)",
        "node 'rectify' (Relu)",
    ]
    assert [(item.name, item.dtype, item.shape) for item in graph.inputs] == [
        ("x", "float32", (None, 4))
    ]
    assert [(item.name, item.dtype, item.shape) for item in graph.outputs] == [
        ("y", "float32", (None, 2))
    ]
    assert np.array_equal(graph.constants["w"], np.arange(8).reshape(4, 2))
    assert {(node.domain, node.version) for node in graph.nodes} == {(ONNX, 17)}


def test_an_input_with_an_initialiser_is_a_constant():
    model = onnx_bad.good()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2]))
    graph = graph_of(model)
    assert [item.name for item in graph.inputs] == ["x"]
    assert "w" in graph.constants


def test_attributes():
    model = onnx_bad.good()
    node = model.graph.node[1]
    given = {"i": -3, "f": 0.1, "s": "é", "ints": [1, 2], "floats": [0.1, 2.0], "strings": ["a"]}
    for name, value in given.items():
        node.attribute.append(helper.make_attribute(name, value))
    node.attribute.append(helper.make_attribute("none", [], attr_type=7))
    node.attribute.append(helper.make_attribute("t", numpy_helper.from_array(np.arange(3))))
    attributes = dict(graph_of(model).nodes[1].attributes)
    assert attributes.pop("t").tolist() == [0, 1, 2]
    tenth = float(np.float32(0.1))
    assert attributes == {
        "i": -3,
        "f": tenth,
        "s": "é",
        "ints": (1, 2),
        "floats": (tenth, 2.0),
        "strings": ("a",),
        "none": (),
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("value", numpy_helper.from_array(np.eye(2)), np.eye(2)),
        ("value_float", 0.1, np.float32(0.1)),
        ("value_floats", [0.5, 1.0], np.array([0.5, 1.0], np.float32)),
        ("value_int", -(1 << 63), np.int64(-(1 << 63))),
        ("value_ints", [3, 4], np.array([3, 4], np.int64)),
    ],
)
def test_constant_nodes_become_constants(name: str, value, expected):
    graph = graph_of(onnx_bad.with_constant(helper.make_attribute(name, value)))
    assert [node.op for node in graph.nodes] == ["MatMul", "Relu"]
    assert graph.constants["w"].dtype == expected.dtype
    assert np.array_equal(graph.constants["w"], expected)
    assert not graph.constants["w"].flags.writeable


@pytest.mark.parametrize(
    ("domain", "version", "known"),
    [
        ("", 17, ONNX),
        ("ai.onnx", 17, ONNX),
        ("qonnx.custom_op.general", 2, QONNX),
        ("finn.custom_op.general", 1, QONNX),
        ("onnx.brevitas", 1, QONNX),
        ("com.microsoft", 1, MICROSOFT),
        ("ai.onnx.ml", 1, "ai.onnx.ml"),
        ("any\nthing", 1, "any\nthing"),
    ],
)
def test_domains(domain: str, version: int, known: str):
    model = onnx_bad.good()
    model.graph.node[1].domain = domain
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 2))
    node = graph_of(model).nodes[1]
    assert (node.domain, node.version) == (known, version)


def chain(order: list[int]) -> ModelProto:
    """Four nodes, of which 1 and 2 read 0 and 3 reads both, written in another order."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "0"),
        helper.make_node("Neg", ["a"], ["b"], "1"),
        helper.make_node("Abs", ["a"], ["c"], "2"),
        helper.make_node("Add", ["b", "c"], ["y"], "3"),
    ]
    model = onnx_bad.good()
    del model.graph.node[:]
    model.graph.node.extend(nodes[number] for number in order)
    return model


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 1, 2, 3], "0123"),
        ([0, 2, 1, 3], "0213"),
        ([3, 2, 1, 0], "0213"),
        ([3, 1, 0, 2], "0123"),
    ],
)
def test_nodes_come_in_an_order_of_computation(order: list[int], expected: str):
    assert "".join(node.name for node in graph_of(chain(order)).nodes) == expected


def test_a_long_chain_backwards():
    model = onnx_bad.good()
    names = ["h", *(f"v{number}" for number in range(9_000)), "y"]
    chained = [helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)]
    del model.graph.node[1]
    model.graph.node.extend(reversed(chained))
    assert len(graph_of(model).nodes) == 9_002


def test_what_no_output_needs_is_left_out():
    model = onnx_bad.good()
    spare = numpy_helper.from_array(np.ones(2, np.float32), "spare")
    model.graph.initializer.append(spare)
    model.graph.node.append(helper.make_node("Add", ["h", "spare"], ["dead"]))
    model.graph.node.append(helper.make_node("Relu", ["dead"], ["deader"]))
    graph = graph_of(model)
    assert [node.name for node in graph.nodes] == ["multiply", "rectify"]
    assert list(graph.constants) == ["w"]


def test_names_differ():
    model = onnx_bad.good()
    del model.graph.node[1]
    values = ["h", "a", "b", "c", "d", "y"]
    given = ["", "Relu_1", "multiply", "", "multiply"]
    for name, source, target in zip(given, values, values[1:], strict=False):
        model.graph.node.append(helper.make_node("Relu", [source], [target], name))
    names = [node.name for node in graph_of(model).nodes]
    assert names == ["multiply", "Relu_2", "Relu_1", "multiply_1", "Relu_3", "multiply_2"]


def test_an_omitted_input_is_empty():
    model = onnx_bad.good()
    model.graph.node[1].CopyFrom(helper.make_node("Clip", ["h", "", "w"], ["y"], "clip"))
    assert graph_of(model).nodes[1].inputs == ("h", "", "w")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "cannot be read (no such file or directory)"),
        (lambda path: path.mkdir(), "is no regular file"),
        (lambda path: os.mkfifo(path), "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    ],
    ids=["missing", "folder", "pipe", "device"],
)
def test_only_files_are_read(make, sentence: str, tmp_path: Path):
    path = tmp_path / "model.onnx"
    make(path)
    with pytest.raises(ProgramError) as caught:
        read.read(path)
    assert str(caught.value) == f"{path}: the file {sentence}; give the path of an ONNX file"


def test_a_path_with_a_nul():
    with pytest.raises(ProgramError, match="no valid path"):
        read.read("model\0.onnx")


def test_a_file_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(read, "FILE_BYTES_MAX", 100)
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(101))
    with pytest.raises(ProgramError) as caught:
        read.read(path)
    sentence = "the file has 101 bytes, above the limit of 100; split the network"
    assert str(caught.value) == f"{path}: {sentence}"


def test_constants_above_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(read, "CONSTANT_BYTES_MAX", 31)
    with pytest.raises(ProgramError) as caught:
        graph_of(onnx_bad.good())
    assert str(caught.value) == "the model has more than 31 bytes of constants; split it"


def parsed_by_protobuf(data: bytes) -> bool:
    try:
        ModelProto().ParseFromString(data)
    except DecodeError:
        return False
    return True


def walked(data: bytes) -> bool:
    try:
        limits.check_wire(data)
    except ProgramError:
        return False
    return True


def test_the_walk_over_the_bytes_lets_pass_what_protobuf_parses():
    data = onnx_bad.good().SerializeToString()
    rng = random.Random(0)
    seen = Counter[tuple[bool, bool]]()
    for _ in range(3000):
        spoilt = bytearray(data)
        spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        seen[walked(bytes(spoilt)), parsed_by_protobuf(bytes(spoilt))] += 1
    assert seen[False, True] == 0
    assert min(seen[True, True], seen[False, False]) > 300


DESCRIBE = """
import sys
from bitwright.models.onnx.read import read
graph = read(sys.argv[1])
print([(n.name, n.op, n.inputs, sorted(n.attributes)) for n in graph.nodes], list(graph.constants))
"""


def test_the_same_under_any_hash_seed(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(chain([3, 2, 1, 0]).SerializeToString())
    told = {
        subprocess.run(
            [sys.executable, "-c", DESCRIBE, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(told) == 1
