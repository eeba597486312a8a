"""Bad ONNX models, made by hand, each with the one sentence that it must get.

A function decorated with `@bad(sentence)` returns the model, or the bytes of the file, and its name
is the name of the case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import (
    IR_VERSION,
    AttributeProto,
    GraphProto,
    ModelProto,
    SparseTensorProto,
    TensorProto,
    TrainingInfoProto,
    defs,
    helper,
    numpy_helper,
)

from bitwright.models.onnx import limits

AGAIN = "export the model again"
OPSET = defs.onnx_opset_version()


@dataclass(frozen=True)
class Bad:
    """A bad file and what must be said about it, after its path."""

    name: str
    build: Callable[[], ModelProto | bytes]
    sentence: str

    def bytes(self) -> bytes:
        built = self.build()
        return built if isinstance(built, bytes) else built.SerializeToString()


READING: list[Bad] = []
"""Files that the reader refuses."""


def bad(sentence: str):
    def enter(build: Callable[[], ModelProto | bytes]):
        READING.append(Bad(build.__name__, build, sentence))
        return build

    return enter


# A good model to spoil: y = Relu(x @ w).


def good() -> ModelProto:
    weights = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], "multiply"),
            helper.make_node("Relu", ["h"], ["y"], "rectify"),
        ],
        "good",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def with_weights(change: Callable[[TensorProto], object]) -> ModelProto:
    model = good()
    change(model.graph.initializer[0])
    return model


def with_attribute(attribute: AttributeProto, node: int = 1) -> ModelProto:
    model = good()
    model.graph.node[node].attribute.append(attribute)
    return model


def with_constant(*attributes: AttributeProto) -> ModelProto:
    """The weights come from a `Constant` node called c instead."""
    model = good()
    del model.graph.initializer[:]
    node = helper.make_node("Constant", [], ["w"], "c")
    node.attribute.extend(attributes)
    model.graph.node.insert(0, node)
    return model


def weights_of(dims: list[int], kind: int, **fields: object) -> ModelProto:
    """The weights are a tensor of exactly these fields."""

    def change(tensor: TensorProto) -> None:
        tensor.Clear()
        tensor.name = "w"
        tensor.dims.extend(dims)
        tensor.data_type = kind
        for name, value in fields.items():
            if isinstance(value, bytes):
                setattr(tensor, name, value)
            else:
                getattr(tensor, name).extend(value)

    return with_weights(change)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


# The file.


@bad("the file is empty; export the model again")
def nothing() -> bytes:
    return b""


@bad("the model is damaged or not an ONNX file (wire type 3); " + AGAIN)
def a_text() -> bytes:
    return b"# ONNX, or so it says\n"


@bad("the model is damaged or not an ONNX file (wire type 3); " + AGAIN)
def a_group() -> bytes:
    return b"\x0b\x0c" + good().SerializeToString()


@bad("the model is damaged or not an ONNX file (a field ends after what holds it); " + AGAIN)
def cut_short() -> bytes:
    return good().SerializeToString()[:-9]


@bad("the model is damaged or not an ONNX file (it ends inside a number); " + AGAIN)
def cut_in_a_number() -> bytes:
    return good().SerializeToString() + b"\x08\x80"


@bad("the model is damaged or not an ONNX file (a number of more than ten bytes); " + AGAIN)
def an_endless_number() -> bytes:
    return b"\x08" + b"\xff" * 40


@bad("the model is damaged or not an ONNX file (it holds no graph); " + AGAIN)
def no_graph() -> ModelProto:
    model = good()
    model.ClearField("graph")
    return model


@bad("the model nests more than 32 deep; flatten its subgraphs")
def a_thousand_subgraphs() -> bytes:
    graph = b""
    for _ in range(250):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


@bad(f"the model has more than {limits.FIELDS_MAX} fields; split it")
def two_million_empty_nodes() -> bytes:
    """4 MB of file, 400 MB once parsed."""
    return field(7, b"\x0a\x00" * 2_000_000)


@bad(f"the model has more than {limits.FIELDS_MAX} fields; split it")
def two_million_sizes() -> bytes:
    return field(7, field(5, b"\x08\x01" * 2_000_000))


@bad(
    f"the model has more than {limits.PACKED_MAX} integers in lists; store tensors as raw_data, "
    "as onnx.numpy_helper.from_array does"
)
def an_integer_a_byte() -> bytes:
    """9 MB of file, 72 MB once parsed, and so on."""
    return field(7, field(5, field(7, b"\x00" * 9_000_000)))


# Versions.


@bad(f"the model has IR version 0, and 3 to {IR_VERSION} are understood; export it again")
def no_ir_version() -> ModelProto:
    model = good()
    model.ClearField("ir_version")
    return model


@bad(
    f"the model has IR version 9223372036854775807, and 3 to {IR_VERSION} are understood; export "
    "it again"
)
def ir_version_of_the_future() -> ModelProto:
    model = good()
    model.ir_version = (1 << 63) - 1
    return model


def importing(*domains: tuple[str, int]) -> ModelProto:
    model = good()
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*pair) for pair in domains)
    return model


@bad("the model imports no version of the ONNX operators; export it again")
def no_opset() -> ModelProto:
    return importing(("com.microsoft", 1))


@bad(
    f"the model uses opset 8, and 9 to {OPSET} are understood; convert it with "
    "onnx.version_converter"
)
def opset_of_the_past() -> ModelProto:
    return importing(("", 8))


@bad(
    f"the model uses opset 1000, and 9 to {OPSET} are understood; convert it with "
    "onnx.version_converter"
)
def opset_of_the_future() -> ModelProto:
    return importing(("", 1000))


@bad("the model imports versions 13 and 17 of the domain ''; keep one")
def two_opsets() -> ModelProto:
    return importing(("", 13), ("ai.onnx", 17))


@bad(
    "the model imports version -1 of the domain 'com.microsoft', and versions start at 1; export "
    "it again"
)
def a_negative_opset() -> ModelProto:
    return importing(("", 17), ("com.microsoft", -1))


@bad("the model uses the domain 'qonnx', which nobody defines; rename it")
def a_domain_of_ours() -> ModelProto:
    return importing(("", 17), ("qonnx", 1))


@bad("node 'rectify' (Relu) uses the domain 'microsoft', which nobody defines; rename it")
def a_node_of_a_domain_of_ours() -> ModelProto:
    model = good()
    model.graph.node[1].domain = "microsoft"
    return model


@bad("the model defines the function 'Relu'; inline it with onnx.inliner")
def a_function() -> ModelProto:
    model = good()
    model.functions.append(
        helper.make_function(
            "", "Relu", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], model.opset_import
        )
    )
    return model


@bad("the model holds training information; export it for inference")
def training() -> ModelProto:
    model = good()
    model.training_info.append(TrainingInfoProto())
    return model


# Names and edges.


@bad("the model has 10001 nodes, and at most 10000 are allowed; split it")
def too_many_nodes() -> ModelProto:
    model = good()
    for number in range(9_999):
        model.graph.node.append(helper.make_node("Relu", ["h"], [f"h{number}"]))
    return model


@bad("the model has 70003 tensors, and at most 65536 are allowed; split it")
def too_many_tensors() -> ModelProto:
    model = good()
    for _ in range(70_000):
        model.graph.initializer.add()
    return model


@bad("the name of an initialiser is 1025 characters long, above 1024; rename it")
def a_long_name() -> ModelProto:
    return with_weights(lambda tensor: setattr(tensor, "name", "w" * 1025))


@bad("the name of a node is b'\\xff\\xfe\\xfdtify', which is no UTF-8; rename it")
def a_name_without_utf8() -> bytes:
    return good().SerializeToString().replace(b"rectify", b"\xff\xfe\xfdtify")


@bad("the operator of node 'rectify' is 'Re\\nu', which is no identifier; rename it")
def an_operator_of_two_lines() -> ModelProto:
    model = good()
    model.graph.node[1].op_type = "Re\nu"
    return model


@bad("the operator of a node is '', which is no identifier; rename it")
def no_operator() -> ModelProto:
    model = good()
    model.graph.node[1].op_type = model.graph.node[1].name = ""
    return model


@bad("node '\\x1b[2J\\n<b>' (Relu) reads 'h', which nothing makes; export the model again")
def a_hostile_name() -> ModelProto:
    model = good()
    model.graph.node[1].name = "\x1b[2J\n<b>"
    del model.graph.node[0]
    return model


@bad("an initialiser has no name; give it one")
def a_nameless_initialiser() -> ModelProto:
    return with_weights(lambda tensor: tensor.ClearField("name"))


@bad("the value 'w' is made twice, by an initialiser and by an initialiser; rename one")
def two_initialisers_of_one_name() -> ModelProto:
    model = good()
    model.graph.initializer.append(model.graph.initializer[0])
    return model


@bad(
    "the value 'x' is made twice, by an input of the graph and by an input of the graph; rename one"
)
def two_inputs_of_one_name() -> ModelProto:
    model = good()
    model.graph.input.append(model.graph.input[0])
    return model


@bad(
    "the value 'h' is made twice, by node 'multiply' (MatMul) and by node 'rectify' (Relu); "
    "rename one"
)
def two_makers() -> ModelProto:
    model = good()
    model.graph.node[1].output.append("h")
    return model


@bad("the value 'w' is made twice, by an initialiser and by node 'rectify' (Relu); rename one")
def a_node_over_an_initialiser() -> ModelProto:
    model = good()
    model.graph.node[1].output[0] = "w"
    return model


@bad(
    "the value 'x' is made twice, by an input of the graph and by node 'rectify' (Relu); rename one"
)
def a_node_over_an_input() -> ModelProto:
    model = good()
    model.graph.node[1].output[0] = "x"
    return model


@bad("node 'multiply' (MatMul) reads 'v', which nothing makes; export the model again")
def an_input_from_nowhere() -> ModelProto:
    model = good()
    model.graph.node[0].input[1] = "v"
    return model


@bad("node 'multiply' (MatMul) reads what it makes itself, through a cycle; cut it")
def a_cycle() -> ModelProto:
    model = good()
    model.graph.node[0].input[1] = "y"
    return model


@bad("node 'rectify' (Relu) reads what it makes itself, through a cycle; cut it")
def a_node_of_itself() -> ModelProto:
    model = good()
    model.graph.node[1].input[0] = "y"
    model.graph.node.append(helper.make_node("Neg", ["y"], ["z"]))
    return model


@bad("node 'rectify' (Add) reads what it makes itself, through a cycle; cut it")
def a_cycle_behind_a_good_node() -> ModelProto:
    """What waits for the cycle is not in it, and neither is what the cycle reads first."""
    model = good()
    model.graph.node[1].CopyFrom(helper.make_node("Add", ["h", "z"], ["v"], "rectify"))
    model.graph.node.append(helper.make_node("Neg", ["v"], ["z"], "negate"))
    model.graph.node.insert(0, helper.make_node("Abs", ["v"], ["y"], "waits"))
    return model


@bad("node 'rectify' (Relu) has no output; drop it")
def a_node_without_output() -> ModelProto:
    model = good()
    model.graph.node[1].output[0] = ""
    return model


@bad("the graph has no output; name one")
def no_output() -> ModelProto:
    model = good()
    del model.graph.output[:]
    return model


@bad("the output 'z' is made by no node; rename it or drop it")
def an_output_from_nowhere() -> ModelProto:
    model = good()
    model.graph.output[0].name = "z"
    return model


@bad("the output 'y' is listed twice; drop one")
def one_output_twice() -> ModelProto:
    model = good()
    model.graph.output.append(model.graph.output[0])
    return model


# Inputs.


def with_input(change: Callable[[object], object]) -> ModelProto:
    model = good()
    change(model.graph.input[0].type)
    return model


@bad(
    "the input 'x' is of the kind nothing, and only tensors are understood; export the model again"
)
def an_input_without_type() -> ModelProto:
    return with_input(lambda kind: kind.Clear())


@bad(
    "the input 'x' is of the kind sequence, and only tensors are understood; export the model again"
)
def an_input_sequence() -> ModelProto:
    model = good()
    info = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [4])
    model.graph.input[0].CopyFrom(info)
    return model


@bad("the input 'x' has no shape; state it, with an open batch where needed")
def an_input_without_shape() -> ModelProto:
    return with_input(lambda kind: kind.tensor_type.ClearField("shape"))


@bad("the input 'x' has shape (0, -4), and no size is negative; export the model again")
def a_negative_input() -> ModelProto:
    return with_input(lambda k: setattr(k.tensor_type.shape.dim[1], "dim_value", -4))


@bad(
    "the input 'x' has shape (0, 9223372036854775807), which is 9223372036854775807 elements, "
    "above the limit of 268435456; split the network"
)
def a_huge_input() -> ModelProto:
    return with_input(lambda k: setattr(k.tensor_type.shape.dim[1], "dim_value", (1 << 63) - 1))


KINDS = (
    "and only integers, booleans, float16, bfloat16, float and double are understood; convert it"
)


@bad(f"the input 'x' is of type string, {KINDS}")
def an_input_of_texts() -> ModelProto:
    return with_input(lambda kind: setattr(kind.tensor_type, "elem_type", TensorProto.STRING))


# Attributes.


@bad(
    "node 'rectify' (Relu) has a subgraph, 'then_branch', and only straight graphs are understood; "
    "export the model without control flow"
)
def a_subgraph() -> ModelProto:
    return with_attribute(helper.make_attribute("then_branch", good().graph))


@bad(
    "node 'rectify' (Relu) has a subgraph, 'bodies', and only straight graphs are understood; "
    "export the model without control flow"
)
def subgraphs() -> ModelProto:
    return with_attribute(helper.make_attribute("bodies", [good().graph, GraphProto()]))


@bad(
    "the attribute 'alpha' of node 'rectify' (Relu) refers to one of a function; inline it with "
    "onnx.inliner"
)
def a_reference() -> ModelProto:
    attribute = AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="beta")
    return with_attribute(attribute)


UNDERSTOOD = "and only numbers, texts and one tensor are understood; export the model again"


@bad(f"the attribute 'alpha' of node 'rectify' (Relu) is of type type_proto, {UNDERSTOOD}")
def an_attribute_type() -> ModelProto:
    return with_attribute(helper.make_attribute("alpha", good().graph.input[0].type))


@bad(f"the attribute 'alpha' of node 'rectify' (Relu) is of type tensors, {UNDERSTOOD}")
def attribute_tensors() -> ModelProto:
    return with_attribute(helper.make_attribute("alpha", list(good().graph.initializer)))


@bad(f"the attribute 'alpha' of node 'rectify' (Relu) is of type undefined, {UNDERSTOOD}")
def an_attribute_of_no_type() -> ModelProto:
    return with_attribute(AttributeProto(name="alpha", f=1.0))


@bad(f"the attribute 'alpha' of node 'rectify' (Relu) is of type undefined, {UNDERSTOOD}")
def an_attribute_of_type_99() -> bytes:
    model = with_attribute(AttributeProto(name="alpha", type=AttributeProto.INT, i=7))
    data = model.SerializeToString()
    assert data.count(b"\xa0\x01\x02") == 1
    return data.replace(b"\xa0\x01\x02", b"\xa0\x01\x63")


@bad(
    "the attribute 'alpha' of node 'rectify' (Relu) has values in 'f' and 'ints'; export the model "
    "again"
)
def an_attribute_of_two_values() -> ModelProto:
    return with_attribute(
        AttributeProto(name="alpha", type=AttributeProto.FLOAT, f=1.0, ints=[1, 2])
    )


@bad("node 'rectify' (Relu) has two attributes 'alpha'; keep one")
def one_attribute_twice() -> ModelProto:
    model = with_attribute(helper.make_attribute("alpha", 1.0))
    model.graph.node[1].attribute.append(helper.make_attribute("alpha", 2.0))
    return model


@bad(
    "the name of an attribute of node 'rectify' (Relu) is 'al\\npha', which is no identifier; "
    "rename it"
)
def an_attribute_of_two_lines() -> ModelProto:
    return with_attribute(helper.make_attribute("al\npha", 1.0))


@bad(
    "the attribute 'auto_pad' of node 'rectify' (Relu) is b'\\xff\\x00', which is no UTF-8; export "
    "the model again"
)
def a_text_without_utf8() -> ModelProto:
    return with_attribute(helper.make_attribute("auto_pad", b"\xff\0"))


@bad(
    "the attribute 'pads' of node 'rectify' (Relu) has 70000 numbers, and at most 65536 are "
    "allowed; store them as a tensor"
)
def a_long_list() -> ModelProto:
    return with_attribute(helper.make_attribute("pads", [1] * 70_000))


@bad(
    "the attribute 'auto_pad' of node 'rectify' (Relu) has 70000 bytes, and at most 65536 are "
    "allowed; store them as a tensor"
)
def a_long_text() -> ModelProto:
    return with_attribute(helper.make_attribute("auto_pad", "A" * 70_000))


# Constants.

CONSTANT = (
    "node 'c' (Constant) takes one attribute of value, value_float, value_floats, value_int, "
    "value_ints, not {}; store it as value"
)


@bad(CONSTANT.format("none"))
def a_constant_of_nothing() -> ModelProto:
    return with_constant()


@bad(CONSTANT.format("'value_float', 'value_int'"))
def a_constant_of_two_values() -> ModelProto:
    return with_constant(
        helper.make_attribute("value_int", 1), helper.make_attribute("value_float", 1.0)
    )


@bad(CONSTANT.format("'value_string'"))
def a_constant_text() -> ModelProto:
    return with_constant(helper.make_attribute("value_string", "1"))


@bad("node 'c' (Constant) has the attribute 'value_int' of another type; store it as value")
def a_constant_of_another_type() -> ModelProto:
    return with_constant(helper.make_attribute("value_int", 1.5))


@bad("node 'c' (Constant) has no input and one output; export the model again")
def a_constant_with_an_input() -> ModelProto:
    model = with_constant(helper.make_attribute("value_int", 1))
    model.graph.node[0].input.append("x")
    return model


@bad(f"the attribute 'sparse_value' of node 'c' (Constant) is of type sparse_tensor, {UNDERSTOOD}")
def a_sparse_constant() -> ModelProto:
    return with_constant(helper.make_attribute("sparse_value", SparseTensorProto()))


@bad("the model holds a sparse initialiser; store it dense")
def a_sparse_initialiser() -> ModelProto:
    model = good()
    model.graph.sparse_initializer.add()
    return model


# Tensors.

EXTERNAL = (
    "the initialiser 'w' keeps its data in another file, which is never opened; load the model "
    "with onnx.load and save it again as one file"
)


def external(location: str) -> ModelProto:
    def change(tensor: TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="length", value="32")

    return with_weights(change)


@bad(EXTERNAL)
def external_data() -> ModelProto:
    return external("weights.bin")


@bad(EXTERNAL)
def external_data_above() -> ModelProto:
    return external("../../../../etc/passwd")


@bad(EXTERNAL)
def external_data_with_a_nul() -> ModelProto:
    return external("weights.bin\0/../../etc/passwd")


@bad(EXTERNAL)
def external_data_that_hides() -> ModelProto:
    return with_weights(lambda tensor: tensor.external_data.add(key="location", value="/dev/zero"))


@bad("the initialiser 'w' is one segment of a tensor; store it whole")
def a_segment() -> ModelProto:
    return with_weights(lambda tensor: setattr(tensor.segment, "begin", 0))


@bad(f"the initialiser 'w' is of type string, {KINDS}")
def texts() -> ModelProto:
    return weights_of([1], TensorProto.STRING, string_data=[b"one"])


@bad(f"the initialiser 'w' is of type float8e4m3fn, {KINDS}")
def eight_bit_floats() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT8E4M3FN, raw_data=bytes(8))


@bad(f"the initialiser 'w' is of type float4e2m1, {KINDS}")
def four_bit_floats() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT4E2M1, raw_data=bytes(4))


@bad(f"the initialiser 'w' is of type complex64, {KINDS}")
def complex_numbers() -> ModelProto:
    return weights_of([4, 2], TensorProto.COMPLEX64, raw_data=bytes(64))


@bad(f"the initialiser 'w' is of type number -7, {KINDS}")
def a_type_of_no_name() -> ModelProto:
    return weights_of([4, 2], -7, raw_data=bytes(32))


@bad("the initialiser 'w' has shape (-4, -2), and no size is negative; export the model again")
def negative_sizes() -> ModelProto:
    return weights_of([-4, -2], TensorProto.FLOAT, raw_data=bytes(32))


@bad("the initialiser 'w' has 17 dimensions, above the limit of 16; reshape it")
def seventeen_dimensions() -> ModelProto:
    return weights_of([1] * 17, TensorProto.FLOAT, raw_data=bytes(4))


@bad(
    "the initialiser 'w' has shape (4294967296, 4294967296), which is 18446744073709551616 "
    "elements, above the limit of 268435456; split the network"
)
def a_product_of_zero_in_64_bits() -> ModelProto:
    return weights_of([1 << 32, 1 << 32], TensorProto.FLOAT)


@bad(
    "the initialiser 'w' has shape (0, 1099511627776, 1099511627776), which is "
    "1208925819614629174706176 elements, above the limit of 268435456; split the network"
)
def an_empty_tensor_of_huge_sizes() -> ModelProto:
    return weights_of([0, 1 << 40, 1 << 40], TensorProto.FLOAT)


@bad(
    "the initialiser 'w' is float (4, 2), which takes 32 bytes, and has 31 bytes of data; export "
    "the model again"
)
def a_byte_too_few() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT, raw_data=bytes(31))


@bad(
    "the initialiser 'w' is float (4, 2), which takes 32 bytes, and has 36 bytes of data; export "
    "the model again"
)
def four_bytes_too_many() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT, raw_data=bytes(36))


@bad(
    "the initialiser 'w' is float (1000, 1000), which takes 4000000 bytes, and has 0 bytes of "
    "data; export the model again"
)
def no_data() -> ModelProto:
    return weights_of([1000, 1000], TensorProto.FLOAT)


@bad(
    "the initialiser 'w' is uint4 (3, 3), which takes 5 bytes, and has 4 bytes of data; export the "
    "model again"
)
def half_a_byte_too_few() -> ModelProto:
    return weights_of([3, 3], TensorProto.UINT4, raw_data=bytes(4))


@bad(
    "the initialiser 'w' is float (4, 2), which takes 8 entries of float_data, and has 7; export "
    "the model again"
)
def a_number_too_few() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT, float_data=[0.5] * 7)


@bad("the initialiser 'w' has its values twice, in raw_data and float_data; export the model again")
def values_twice() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT, raw_data=bytes(32), float_data=[1.0] * 8)


@bad("the initialiser 'w' is float (4, 2) and has its values in int32_data; export the model again")
def values_in_the_wrong_list() -> ModelProto:
    return weights_of([4, 2], TensorProto.FLOAT, int32_data=[1] * 8)


@bad("the initialiser 'w' holds 300 in int32_data, outside -128..127; export the model again")
def an_int8_of_300() -> ModelProto:
    return weights_of([2, 1], TensorProto.INT8, int32_data=[-1, 300])


@bad("the initialiser 'w' holds -1 in int32_data, outside 0..65535; export the model again")
def a_half_of_negative_bits() -> ModelProto:
    return weights_of([2, 1], TensorProto.FLOAT16, int32_data=[-1, 0])


@bad("the initialiser 'w' holds the boolean 2, and only 0 and 1 are; convert it")
def a_boolean_of_2() -> ModelProto:
    return weights_of([2, 1], TensorProto.BOOL, raw_data=b"\x00\x02")


@bad(
    "the attribute 'value' of node 'c' (Constant) is float (4, 2), which takes 32 "
    "bytes, and has 0 bytes of data; export the model again"
)
def a_constant_without_data() -> ModelProto:
    return with_constant(
        helper.make_attribute("value", TensorProto(dims=[4, 2], data_type=TensorProto.FLOAT))
    )
