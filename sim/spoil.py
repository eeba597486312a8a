"""Small good ONNX models and ways to spoil their files: every variant comes from one seed.

Flipping bytes, cutting and splicing know nothing of ONNX; the last two ways set fields to values
that parse and make no sense, and let nodes read and do what others do, and so get further in.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
Way = Callable[[random.Random, bytes], bytes]

FLOATS = (0.0, -0.0, -1.0, 0.3, 1e-45, 3.4e38, float("nan"), float("inf"), float("-inf"))
INTEGERS = (0, 1, -1, 2, 3, 7, 127, 255, -128, 1 << 20, (1 << 31) - 1, -(1 << 31))
WIDE = (*INTEGERS, 1 << 32, 1 << 40, (1 << 63) - 1, -(1 << 63))
TEXTS = (
    "",
    "x",
    "y",
    "w",
    "Conv",
    "Loop",
    "a\nb",
    "../../x",
    "A" * 2000,
    "\N{SNOWMAN}",
    "\0",
    "`$;<",
)
OPERATORS = (
    "Abs", "ArgMax", "BatchNormalization", "Cast", "ConstantOfShape", "Div", "Expand", "Floor",
    "GlobalMaxPool", "HardSwish", "Identity", "MatMulInteger", "Max", "Neg", "ReduceMean",
    "Sigmoid", "Sign", "Squeeze", "Sum", "Tanh", "Tile", "TopK", "Where",
)  # fmt: skip
EDGES = (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff" * 9 + b"\x01", b"\x80" * 12)


def variant(seed: int) -> tuple[str, bytes]:
    """The spoilt file of a seed, and what was done to which model."""
    rng = random.Random(seed)
    name = rng.choice(sorted(models()))
    way = rng.choice(WAYS)
    return f"{name}, {way.__name__.strip('_')}", way(rng, models()[name])


# The good models.


@cache
def models() -> Mapping[str, bytes]:
    """The bytes of the good models: in three notations, with float layers, with branches."""
    made = {
        "qdq": _qdq(),
        "qonnx": _qonnx(),
        "float": _float(),
        "integer": _integer(),
        "branches": _branches(),
    }
    return {name: model.SerializeToString(deterministic=True) for name, model in made.items()}


def _model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, NDArray[Any]],
    taken: Sequence[int],
    given: Sequence[int],
    *domains: tuple[str, int],
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, given)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(*domain) for domain in (("", 13), *domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="spoil")


def _integers(seed: int, shape: tuple[int, ...], dtype: str = "int8") -> NDArray[Any]:
    return np.random.default_rng(seed).integers(-7, 8, shape).astype(dtype)


def _floats(seed: int, *shape: int) -> NDArray[Any]:
    return _integers(seed, shape).astype(np.float32) / np.float32(8)


SCALE, ZERO = np.array(0.125, np.float32), np.array(0, np.int8)


def _qdq() -> ModelProto:
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"], "quantise"),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0),
        node("Conv", ["xd", "wd", "bd"], ["h"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["h"], ["r"]),
        node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        node("DequantizeLinear", ["rq", "s", "z"], ["rd"]),
        node("MaxPool", ["rd"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    scales = np.array([0.5, 0.25], np.float32)
    constants = {
        "s": SCALE,
        "z": ZERO,
        "w": _integers(0, (2, 1, 3, 3)),
        "ws": scales,
        "wz": np.zeros(2, np.int8),
        "b": _integers(1, (2,), "int32"),
        "bs": scales * SCALE,
    }
    return _model(nodes, constants, [1, 1, 4, 4], [1, 2, 2, 2])


def _qonnx() -> ModelProto:
    def quant(source: str, target: str, bits: str, signed: int) -> NodeProto:
        return helper.make_node(
            "Quant",
            [source, "s", "z", bits],
            [target],
            f"quant_{target}",
            "",
            QONNX,
            signed=signed,
            narrow=0,
            rounding_mode="ROUND",
        )

    nodes = [
        quant("x", "xq", "four", 1),
        quant("w", "wq", "two", 1),
        helper.make_node("MatMul", ["xq", "wq"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "g", "b", "m", "v"], ["n"], epsilon=0.0),
        helper.make_node("Relu", ["n"], ["r"]),
        quant("r", "rq", "four", 0),
        quant("w2", "w2q", "four", 1),
        helper.make_node("MatMul", ["rq", "w2q"], ["y"]),
    ]
    constants = {
        "s": SCALE,
        "z": np.array(0, np.float32),
        "two": np.array(2, np.float32),
        "four": np.array(4, np.float32),
        "w": _floats(0, 4, 3),
        "w2": _floats(1, 3, 2),
        "g": np.ones(3, np.float32),
        "b": _floats(2, 3),
        "m": _floats(3, 3),
        "v": np.ones(3, np.float32),
    }
    return _model(nodes, constants, [1, 4], [1, 2], (QONNX, 1))


def _float() -> ModelProto:
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("Pad", ["xd", "pads", "value"], ["padded"], mode="constant"),
        node("Conv", ["padded", "w", "b"], ["h"], kernel_shape=[3, 3], strides=[1, 1], group=1),
        node("Relu", ["h"], ["r"]),
        node("AveragePool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", ["p", "s", "z"], ["pq"]),
        node("DequantizeLinear", ["pq", "s", "z"], ["pd"]),
        node("Shape", ["pd"], ["size"]),
        node("Constant", [], ["zero"], value_int=0),
        node("Gather", ["size", "zero"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "axes"], ["batches"]),
        node("Concat", ["batches", "rest"], ["shape"], axis=0),
        node("Reshape", ["pd", "shape"], ["f"]),
        node("Gemm", ["f", "w2", "b2"], ["y"], alpha=1.0, beta=1.0, transB=1),
    ]
    constants = {
        "s": SCALE,
        "z": ZERO,
        "pads": np.array([0, 0, 1, 0, 0, 0, 1, 0]),
        "value": np.array(0, np.float32),
        "w": _floats(0, 2, 1, 3, 3),
        "b": _floats(1, 2),
        "axes": np.array([0]),
        "rest": np.array([-1]),
        "w2": _floats(2, 3, 8),
        "b2": _floats(3, 3),
    }
    return _model(nodes, constants, [1, 1, 4, 6], [1, 3])


def _integer() -> ModelProto:
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("QLinearMatMul", ["xq", "s", "z", "w", "s", "z", "t", "z"], ["h"]),
        node("Reshape", ["h", "shape"], ["f"]),
        node("Slice", ["f", "starts", "ends", "axes", "steps"], ["c"]),
        node("DequantizeLinear", ["c", "t", "z"], ["d"]),
        node("Clip", ["d", "least", ""], ["y"]),
    ]
    constants = {
        "s": SCALE,
        "z": ZERO,
        "t": np.array(0.5, np.float32),
        "w": _integers(0, (4, 6)),
        "shape": np.array([1, -1]),
        "starts": np.array([1]),
        "ends": np.array([6]),
        "axes": np.array([1]),
        "steps": np.array([2]),
        "least": np.array(0, np.float32),
    }
    return _model(nodes, constants, [1, 4], [1, 3])


def _branches() -> ModelProto:
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("Split", ["xd", "halves"], ["a", "b"], axis=1),
        node("PRelu", ["a", "slopes"], ["pa"]),
        node("QuantizeLinear", ["pa", "t", "z"], ["qa"]),
        node("DequantizeLinear", ["qa", "t", "z"], ["da"]),
        node("MultiThreshold", ["b", "steps"], ["mb"], domain=QONNX, out_scale=0.5, out_bias=-1.0),
        node("Sub", ["da", "mb"], ["c"]),
        node("QuantizeLinear", ["c", "s", "z"], ["qc"]),
        node("DequantizeLinear", ["qc", "s", "z"], ["dc"]),
        node("Transpose", ["dc"], ["turned"], perm=[0, 1, 3, 2]),
        node("Transpose", ["turned"], ["back"], perm=[0, 1, 3, 2]),
        node("Resize", ["back", "", "scales"], ["large"], mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("Conv", ["large", "w"], ["h"], group=2, kernel_shape=[2, 2], strides=[2, 2]),
        node("LeakyRelu", ["h"], ["l"], alpha=0.25),
        node("Trunc", ["l", "s", "zero", "six", "four"], ["lt"], domain=QONNX,
             rounding_mode="FLOOR"),
        node("Concat", ["lt", "mb"], ["j"], axis=1),
        node("GlobalAveragePool", ["j"], ["g"]),
        node("Mul", ["g", "factors"], ["scaled"]),
        node("Flatten", ["scaled"], ["f"]),
        node("Softmax", ["f"], ["y"], axis=1),
    ]  # fmt: skip
    constants = {
        "s": SCALE,
        "t": np.array(0.3, np.float32),
        "z": ZERO,
        "halves": np.array([2, 2]),
        "slopes": np.array([0.5, 0.25], np.float32).reshape(2, 1, 1),
        "steps": np.array([[-1.5, 0.0, 0.3], [-2.0, 0.1, 1.0]], np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "w": _floats(0, 2, 1, 2, 2),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "four": np.array(4, np.float32),
        "factors": np.array([1, 2, 0.5, 1], np.float32).reshape(1, 4, 1, 1),
    }
    return _model(nodes, constants, [1, 4, 4, 4], [1, 4], (QONNX, 1))


# The ways.


def _flip(rng: random.Random, data: bytes) -> bytes:
    """One to eight bytes get another value, or one other bit."""
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        place = rng.randrange(len(data))
        spoilt[place] ^= rng.choice([1 << rng.randrange(8), rng.randint(1, 255)])
    return bytes(spoilt)


def _cut(rng: random.Random, data: bytes) -> bytes:
    """The end is missing, or a piece, or a piece stands twice."""
    first, last = sorted(rng.choices(range(len(data) + 1), k=2))
    return rng.choice(
        [data[:first], data[:first] + data[last:], data[:last] + data[first:], data[first:]]
    )


def _splice(rng: random.Random, data: bytes) -> bytes:
    """A piece of another model, or a number of awkward length, over or between the bytes."""
    other = models()[rng.choice(sorted(models()))]
    first, last = sorted(rng.choices(range(len(other) + 1), k=2))
    piece = rng.choice([other[first:last], rng.choice(EDGES), other])
    place = rng.randrange(len(data) + 1)
    return data[:place] + piece + data[place + rng.choice([0, len(piece)]) :]


def _fields(rng: random.Random, data: bytes) -> bytes:
    """One to three fields get values that can be written, and mean nothing or too much."""
    model = ModelProto.FromString(data)
    for _ in range(rng.randint(1, 3)):
        message, field = rng.choice(list(_set_fields(model)))
        _spoil_field(rng, message, field)
    return model.SerializeToString(deterministic=True)


def _rewire(rng: random.Random, data: bytes) -> bytes:
    """One to three nodes read, or compute, what others do; or a tensor or the input is reshaped."""
    model = ModelProto.FromString(data)
    nodes, tensors = model.graph.node, model.graph.initializer
    values = [*(name for node in nodes for name in node.output), *(t.name for t in tensors), ""]
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(nodes)
        match rng.randrange(6):
            case 0 | 1 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(values)
            case 2:
                node.op_type = rng.choice([*(other.op_type for other in nodes), *OPERATORS])
            case 3:
                node.input.append(rng.choice(values))
            case 4:
                _reshape(rng, rng.choice(tensors).dims)
            case _:
                tensor = model.graph.input[0].type.tensor_type
                rng.choice(tensor.shape.dim).dim_value = rng.choice([0, 1, 2, 3, 8, 4096])
                tensor.elem_type = rng.choice([tensor.elem_type, *range(1, 27)])
    return model.SerializeToString(deterministic=True)


def _reshape(rng: random.Random, dims: Any) -> None:
    """The same elements in another shape."""
    sizes = [*dims, *rng.choice([[], [1], [1, 1]])]
    rng.shuffle(sizes)
    del dims[:]
    dims.extend(sizes)


WAYS: tuple[Way, ...] = (_flip, _flip, _cut, _splice, _fields, _fields, _rewire, _rewire)


def _set_fields(message: Any) -> Iterator[tuple[Any, FieldDescriptor]]:
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                yield from _set_fields(inner)


def _spoil_field(rng: random.Random, message: Any, field: FieldDescriptor) -> None:
    value = getattr(message, field.name)
    if not field.is_repeated:
        if field.message_type is not None or rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _spoilt(rng, field, value))
        return
    place = rng.randrange(len(value))
    if field.message_type is not None:
        copy = type(value[0]).FromString(value[place].SerializeToString())
        if rng.random() < 0.5:
            value.pop(place)
        else:
            value.insert(rng.randrange(len(value) + 1), copy)
    elif (way := rng.random()) < 0.15:
        value.pop(place)
    elif way < 0.3:
        value.extend([value[place]] * rng.choice([1, 2, 100]))
    else:
        value[place] = _spoilt(rng, field, value[place])


def _spoilt(rng: random.Random, field: FieldDescriptor, value: Any) -> Any:
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.enum_type is not None:
        return rng.choice([item.number for item in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _spoilt_bytes(rng, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice([*TEXTS, value + "_"])
    if field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
        return rng.choice([*INTEGERS, *range(29)])
    return rng.choice([*WIDE, value + 1, value - 1] if abs(value) < 1 << 62 else WIDE)


def _spoilt_bytes(rng: random.Random, value: bytes) -> bytes:
    """Raw data in which one element is another float or integer, or which has another length."""
    word = rng.choice(
        [
            struct.pack("<f", rng.choice(FLOATS)),
            struct.pack("<q", rng.choice(WIDE)),
            bytes([rng.randrange(256)]),
        ]
    )
    if len(value) < len(word) or rng.random() < 0.1:
        return rng.choice([b"", word, value + word, value[:-1]])
    place = rng.randrange(len(value) // len(word)) * len(word)
    return value[:place] + word + value[place + len(word) :]
