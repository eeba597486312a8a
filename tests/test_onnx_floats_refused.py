"""Float ONNX models that are refused, each in one sentence that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
from agree import refused
from float_models import Recipe, conv, imported, ints, ints_node, model, simple
from onnx import ModelProto
from onnx_build import Builder

from bitwright.models.onnx.floats.network import network_of
from bitwright.models.onnx.read import parse


def gate(b: Builder) -> str:
    x = conv(4, 4, 1, 1)(b)
    return b.node("Mul", x, b.node("Sigmoid", b.node("GlobalAveragePool", x)))


def both(first: Recipe, op: str, *constants, **more) -> Recipe:
    return lambda b: b.node(op, first(b), *(b.constant(c, np.int64) for c in constants), **more)


REFUSED: list[tuple[Recipe, dict, str]] = [
    (
        simple("Cos"),
        {},
        (
            "node 'nt0' (Cos): the operator is not understood in float models; replace "
            "it, or import a quantised model as it is"
        ),
    ),
    (
        gate,
        {},
        (
            "node 'nt3' (Mul): it multiplies two tensors that depend on the input, and only "
            "x * sigmoid(x) and x * hardsigmoid(x) are computed; train the network without such "
            "gates"
        ),
    ),
    (
        both(simple("Softmax", axis=1), "Relu"),
        {"shape": (7,)},
        (
            "node 'nt1' (Relu): it reads the result of node 'nt0' (Softmax), which is left to "
            "the host "
            "and can only stand at the end; cut the model there"
        ),
    ),
    (
        simple("Softmax", axis=1),
        {},
        (
            "node 'nt0' (Softmax): it works along axis 1 of (N, 4, 9, 8), "
            "and only along the last; cut the model before it"
        ),
    ),
    (
        both(simple("Softmax"), "Transpose", perm=[0, 2, 1]),
        {"shape": (7, 5)},
        (
            "node 'nt1' (Transpose): it moves the result of node 'nt0' (Softmax), which is left "
            "to the "
            "host; cut the model before that"
        ),
    ),
    (
        both(both(simple("Transpose", perm=[0, 1, 3, 2]), "Relu"), "Flatten", axis=2),
        {},
        "node 'nt2' (Flatten): it joins frames of a batch, by axis 2; use axis 1",
    ),
    (
        both(conv(4, 4, 1, 1), "Transpose", perm=[1, 0, 2, 3]),
        {},
        "node 'nt1' (Transpose): it moves the batch, by (1, 0, 2, 3); keep axis 0 first",
    ),
    (
        both(conv(4, 4, 1, 1), "Reshape", [72, -1]),
        {},
        (
            "node 'nt1' (Reshape): it reshapes (N, 4, 9, 8) to (72, -1), which mixes the frames "
            "of a "
            "batch; keep the first axis"
        ),
    ),
    (
        lambda b: conv(
            3, 4, 1, 1, inputs=b.node("Transpose", conv(4, 4, 1, 1)(b), perm=[0, 1, 3, 2])
        )(b),
        {},
        (
            "node 'nt2' (Conv): its input arrives in another order than pixel by pixel with the "
            "channels "
            "of a pixel together, and no layer reorders pixels; avoid the transposition before it"
        ),
    ),
    (
        simple("Conv", np.zeros((1, 4, 1, 1, 1))),
        {},
        (
            "node 'nt0' (Conv): its weights have shape (1, 4, 1, 1, 1) and its input (N, 4, 9, "
            "8), and "
            "convolutions of one and two dimensions are understood; reshape it"
        ),
    ),
    (
        conv(6, 3, 1, 1, group=2),
        {},
        (
            "node 'nt0' (Conv): 2 groups of 3 input channels and 6 outputs do not fit an input "
            "of 4 "
            "channels; export the model again"
        ),
    ),
    (
        lambda b: b.node("Conv", "x", b.constant(b.weights(3, 4, 1, 1)), b.bias(2)),
        {},
        "node 'nt0' (Conv): its bias has shape (2,), and it has 3 outputs; make them equal",
    ),
    (
        lambda b: b.node("Gemm", "x", b.constant(b.weights(7, 2)), b.constant([[1], [2]])),
        {"shape": (7,)},
        "node 'nt0' (Gemm): its bias has shape (2, 1), and it has 2 outputs; make them equal",
    ),
    (
        conv(3, 4, 9, 9),
        {},
        (
            "node 'nt0' (Conv): its kernel reaches 9, beyond its padded input of 8; pad more or "
            "use a smaller kernel"
        ),
    ),
    (
        lambda b: b.node("Conv", "x", b.node("Relu", "x")),
        {},
        (
            "node 'nt1' (Conv): the weights (input 1) depends on the graph's input, and a "
            "network needs a "
            "constant there; make it an initialiser"
        ),
    ),
    (
        simple("Gemm", np.zeros((7, 5)), transA=1),
        {"shape": (7,)},
        "node 'nt0' (Gemm): it transposes its first input; transpose it before exporting",
    ),
    (
        simple("Gemm", np.zeros((6, 5))),
        {"shape": (7,)},
        (
            "node 'nt0' (Gemm): its weights take 6 inputs, and the last axis of (N, 7) is "
            "another size; "
            "make them equal"
        ),
    ),
    (
        simple("MatMul", np.zeros((2, 7, 5))),
        {"shape": (7,)},
        "node 'nt0' (MatMul): its second factor is a matrix, not of shape (2, 7, 5); reshape it",
    ),
    (
        simple("Add", np.zeros(3)),
        {},
        (
            "node 'nt0' (Add): a constant of shape (3,) does not broadcast against (N, 4, 9, 8); "
            "reshape it"
        ),
    ),
    (
        simple("Div", np.zeros(1)),
        {},
        "node 'nt0' (Div): it divides by 0, or by a tensor that depends on the input; avoid it",
    ),
    (
        lambda b: b.node("Add", "x", b.node("GlobalAveragePool", "x")),
        {},
        (
            "node 'nt1' (Add): two tensors of shapes (N, 4, 9, 8) and (N, 4, 1, 1) that depend "
            "on the "
            "input can only be added, with one shape; avoid it"
        ),
    ),
    (
        lambda b: b.node("Concat", "x", b.node("GlobalAveragePool", "x"), axis=1),
        {},
        (
            "node 'nt1' (Concat): its inputs differ beyond axis 1: (N, 4, 9, 8), (N, 4, 1, 1); "
            "reshape "
            "them"
        ),
    ),
    (
        simple("ReduceMean", axes=[1, 3]),
        {},
        (
            "node 'nt0' (ReduceMean): it reduces (N, 4, 9, 8) over its channels, and only "
            "positions are "
            "reduced; reduce H and W"
        ),
    ),
    (
        simple("ReduceMean", axes=[0]),
        {},
        (
            "node 'nt0' (ReduceMean): it works along axis 0 of 4, and frames of a batch are "
            "computed one "
            "by one; use axes from 1 on"
        ),
    ),
    (
        simple("Clip", [0, 1], 6),
        {},
        "node 'nt0' (Clip): its bounds are one number, not of shape (2,); use scalars",
    ),
    (
        simple("Clip", 3, 2),
        {},
        "node 'nt0' (Clip): its least value 3.0 is above its largest 2.0; correct them",
    ),
    (
        simple("MaxPool", kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        {},
        (
            "node 'nt0' (MaxPool): MaxPool pads (9, 8, 4) by (2, 0, 0, 0), and some output reads "
            "padding "
            "alone; pad less"
        ),
    ),
    (
        simple("AveragePool", kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        {},
        "node 'nt0' (AveragePool): some of its means are of padding alone; pad less",
    ),
    (
        simple(
            "AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1
        ),
        {},
        (
            "node 'nt0' (AveragePool): it counts padding and rounds its size up; export it with "
            "ceil_mode=0"
        ),
    ),
    (
        ints("Pad", [0, 1, 0, 0, 0, 0, 1, 0]),
        {},
        (
            "node 'nt0' (Pad): its input arrives in another order than pixel by pixel with the "
            "channels "
            "of a pixel together, and no layer reorders pixels; avoid the transposition before it"
        ),
    ),
    (
        ints("Pad", [0, 1, 0, 1, 0, 0, 1, 0]),
        {},
        "node 'nt0' (Pad): it pads the batch or channels; pad positions only",
    ),
    (
        ints("Pad", [0, 0, 0, 1], mode="edge"),
        {"shape": (4,)},
        (
            "node 'nt0' (Pad): it pads by (0, 0, 0, 1) in mode 'edge' with 0.0, and only zeros are "
            "added"
        ),
    ),
    (
        simple("Cast", to=6),
        {},
        "node 'nt0' (Cast): it rounds reals to integers; remove it, or quantise the model",
    ),
    (
        both(conv(4, 4, 1, 1), "Slice", [1], [4], [2]),
        {},
        (
            "node 'nt1' (Slice): it cuts pixels off, and only channels are cut; crop before the "
            "network"
        ),
    ),
    (
        both(conv(4, 4, 1, 1), "Gather", [1, 1], axis=1),
        {},
        "node 'nt1' (Gather): it takes values more than once; take each once",
    ),
    (
        simple("ArgMax", axis=1, select_last_index=1),
        {"shape": (7,)},
        (
            "node 'nt0' (ArgMax): it takes the last of equal values; export it with "
            "select_last_index=0"
        ),
    ),
    (
        simple("BatchNormalization", *[np.ones(4)] * 4, training_mode=1),
        {},
        "node 'nt0' (BatchNormalization): it is in training mode; export the model for inference",
    ),
    (
        simple("BatchNormalization", *[np.ones(4)] * 3, -np.ones(4)),
        {},
        (
            "node 'nt0' (BatchNormalization): variance + epsilon is above 0 in every channel; "
            "correct the "
            "variance"
        ),
    ),
    (
        simple("Relu", odd=1),
        {},
        "node 'nt0' (Relu): attribute 'odd' is not supported; export the model without it",
    ),
    (simple("Identity"), {}, "output 'y' of the graph is its input; nothing is computed"),
    (
        lambda b: b.node("Neg", b.constant([1.0])),
        {},
        "output 'y' of the graph does not depend on its input",
    ),
    (
        simple("Relu"),
        {"shape": (2, 3, 4, 5)},
        (
            "input 'x' of the graph has the shape (None, 2, 3, 4, 5), and one batch axis and one "
            "to three "
            "known sizes are understood; fix the sizes when exporting"
        ),
    ),
]


def split_unevenly(b: Builder) -> str:
    return ints_node(b, "Split", conv(6, 4, 1, 1)(b), [2, 4], axis=1)


def trained(b: Builder) -> str:
    return b.node("Dropout", "x", b.constant(0.5), b.constant(True, bool))


def second_output(b: Builder) -> str:
    b.node("MaxPool", "x", kernel_shape=[2, 2])
    b.nodes[-1].output.append("indices")
    return b.node("Relu", "indices")


MORE: list[tuple[Recipe, dict, str]] = [
    (
        lambda b: b.node("Mul", "x", b.node("Relu", "x")),
        {},
        (
            "node 'nt1' (Mul): it multiplies two tensors that depend on the input, and only "
            "x * sigmoid(x) and x * hardsigmoid(x) are computed; train the network without such "
            "gates"
        ),
    ),
    (
        lambda b: b.node("Max", "x", b.constant(0), b.constant(1)),
        {},
        "node 'nt0' (Max): it takes a tensor and a constant, not 3 inputs",
    ),
    (
        simple("Gemm", np.zeros(7)),
        {"shape": (7,)},
        "node 'nt0' (Gemm): its weights are a matrix, not of shape (7,); export again",
    ),
    (
        trained,
        {},
        "node 'nt0' (Dropout): it is in training mode; export the model for inference",
    ),
    (
        ints("Squeeze", [1]),
        {},
        "node 'nt0' (Squeeze): it drops axes of (N, 4, 9, 8) that are not of size 1",
    ),
    (
        ints("Unsqueeze", [1, 1]),
        {},
        "node 'nt0' (Unsqueeze): it names an axis twice, of [0, 0]; export the model again",
    ),
    (
        simple("Slice"),
        {},
        "node 'nt0' (Slice): it has no starts or no ends; export the model again",
    ),
    (
        ints("Slice", [0], [3], [1], [-1]),
        {},
        "node 'nt0' (Slice): it takes as many starts, ends, axes and positive steps; export again",
    ),
    (
        ints("Slice", [1], [3], [0]),
        {},
        (
            "node 'nt0' (Slice): it works along axis 0 of 4, and frames of a batch are computed "
            "one by "
            "one; use axes from 1 on"
        ),
    ),
    (
        split_unevenly,
        {},
        (
            "node 'nt1' (Split): it splits 6 channels into [2, 4], for 1 outputs; export the model "
            "again"
        ),
    ),
    (
        ints("Gather", [4], axis=1),
        {},
        "node 'nt0' (Gather): it takes indices beyond the 4 of its axis; export again",
    ),
    (
        ints("Pad", [0, 1]),
        {},
        "node 'nt0' (Pad): it has 2 pads for 4 axes; export the model again",
    ),
    (
        lambda b: b.node("Clip", ""),
        {},
        "node 'nt0' (Clip): input 0 is missing; export the model again",
    ),
    (
        second_output,
        {},
        (
            "node 'nt1' (Relu): it reads 'indices', a second output of a node that is not "
            "computed; "
            "export the model for inference"
        ),
    ),
    (
        lambda b: b.node("Gemm", b.constant(np.zeros((1, 7))), "x"),
        {"shape": (7,)},
        (
            "node 'nt0' (Gemm): the weights (input 1) depends on the graph's input, and a network "
            "needs a constant there; make it an initialiser"
        ),
    ),
    (
        lambda b: b.node("Gather", b.constant(np.zeros((9, 7))), "x"),
        {"shape": (7,)},
        (
            "node 'nt0' (Gather): input 0 is a constant where a tensor that depends on the graph's "
            "input belongs; fold the constants before exporting"
        ),
    ),
    (
        simple("GlobalAveragePool"),
        {"shape": (7,)},
        (
            "node 'nt0' (GlobalAveragePool): its input has the shape (N, 7), and images (N, C, "
            "H, W) "
            "and signals (N, C, L) are understood here; reshape it"
        ),
    ),
]


@pytest.mark.parametrize(("recipe", "options", "wanted"), [*REFUSED, *MORE])
def test_refusals(recipe, options, wanted):
    with refused(wanted):
        imported(recipe, **options)


def test_a_second_output_is_refused():
    data = model(lambda b: b.node("Relu", "x"))
    proto = ModelProto.FromString(data)
    proto.graph.node.append(proto.graph.node[0])
    proto.graph.node[1].name = proto.graph.node[1].output[0] = "z"
    proto.graph.output.append(proto.graph.output[0])
    proto.graph.output[1].name = "z"
    with refused("the graph has 2 outputs ('y', 'z'), and a network has one; cut it to one"):
        network_of(parse(proto.SerializeToString()))
