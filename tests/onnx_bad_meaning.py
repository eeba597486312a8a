"""ONNX models that are well formed and mean nothing, or too much: files for the importer to refuse.

Each has a name and the sentence that `load` refuses it with.  Most are a tensor between two
quantisers with one thing wrong; the node at fault is called `bad` or after what it quantises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

AGAIN = "; export the model again"
HUGE = 1 << 40
LARGEST, SMALLEST = (1 << 63) - 1, -(1 << 63)
NAN, INFINITY = float("nan"), float("inf")
QONNX = "qonnx.custom_op.general"

node = helper.make_node


class Bad(NamedTuple):
    """A model and the sentence that refuses it."""

    sentence: str
    model: Callable[[], ModelProto]


def floats(*values: float) -> np.ndarray:
    """One number as a scalar, several as a list."""
    return np.array(values if len(values) > 1 else values[0], np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CONSTANTS = {
    "s": floats(0.125),
    "z": np.array(0, np.int8),
    "ws": floats(0.25),
    "w": np.arange(36, dtype=np.int8).reshape(2, 2, 3, 3) % 7,
    "b": np.array([3, -4], np.int32),
    "bs": floats(0.03125),
}
FRONT = [
    node("QuantizeLinear", ["x", "s", "z"], ["q"], "front"),
    node("DequantizeLinear", ["q", "s", "z"], ["d"], "front_back"),
]
BACK = [
    node("QuantizeLinear", ["e", "s", "z"], ["p"], "back"),
    node("DequantizeLinear", ["p", "s", "z"], ["y"], "back_back"),
]
WEIGHTS = [
    node("DequantizeLinear", ["w", "ws"], ["wd"], "weights", axis=0),
    node("DequantizeLinear", ["b", "bs"], ["bd"], "biases", axis=0),
]


def model(
    nodes: Sequence[NodeProto],
    constants: dict[str, Any],
    shape: Sequence[int | str] = (1, 2, 6, 6),
    outputs: Sequence[str] = ("y",),
    inputs: Sequence[str] = ("x",),
) -> ModelProto:
    values = {name: np.asarray(value) for name, value in constants.items()}
    graph = helper.make_graph(
        list(nodes),
        "bad",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?"]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def between(*nodes: NodeProto, shape: Sequence[int | str] = (1, 2, 6, 6), **constants: Any):
    """`nodes` make e of d, between two quantisers."""
    return model([*FRONT, *nodes, *BACK], {**CONSTANTS, **constants}, shape)


def one(op: str, *inputs: Any, domain: str = "", **attributes: Any) -> ModelProto:
    """A node called `bad` of d and of constants c1, c2, ... (None where omitted)."""
    names = ["" if value is None else f"c{place}" for place, value in enumerate(inputs, 1)]
    constants = {f"c{k}": value for k, value in enumerate(inputs, 1) if value is not None}
    return between(node(op, ["d", *names], ["e"], "bad", domain=domain, **attributes), **constants)


def conv(inputs: Sequence[str] = ("d", "wd", "bd"), shape=(1, 2, 6, 6), **options: Any):
    """A convolution called `bad`; options named as a constant replace it, others are attributes."""
    constants = {name: value for name, value in options.items() if name in CONSTANTS}
    attributes = {name: value for name, value in options.items() if name not in CONSTANTS}
    layer = node("Conv", inputs, ["e"], "bad", **attributes)
    return between(*WEIGHTS, layer, shape=shape, **constants)


def quant(scale: Any = 0.125, zero: Any = 0.0, bits: Any = 4.0, **attributes: Any) -> ModelProto:
    """A `Quant` of d called `bad`."""
    inputs = (np.asarray(value, np.float32) for value in (scale, zero, bits))
    plain = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    return one("Quant", *inputs, domain=QONNX, **{**plain, **attributes})


LAYERS: dict[str, Bad] = {
    # Scales and zero points.
    "a_scale_of_nan": Bad(
        "node 'front' (QuantizeLinear): a scale is a positive finite number, not nan" + AGAIN,
        lambda: conv(s=floats(NAN)),
    ),
    "a_scale_of_infinity": Bad(
        "node 'front' (QuantizeLinear): a scale is a positive finite number, not inf" + AGAIN,
        lambda: conv(s=floats(INFINITY)),
    ),
    "a_scale_of_zero": Bad(
        "node 'front' (QuantizeLinear): a scale is a positive finite number, not 0" + AGAIN,
        lambda: conv(s=floats(0.0)),
    ),
    "a_scale_of_minus_zero": Bad(
        "node 'front' (QuantizeLinear): a scale is a positive finite number, not 0" + AGAIN,
        lambda: conv(s=floats(-0.0)),
    ),
    "a_negative_scale": Bad(
        "node 'front' (QuantizeLinear): a scale is a positive finite number, not -0.125" + AGAIN,
        lambda: conv(s=floats(-0.125)),
    ),
    "a_weight_scale_of_nan": Bad(
        "node 'weights' (DequantizeLinear): a scale is a positive finite number, not nan" + AGAIN,
        lambda: conv(ws=floats(0.5, NAN)),
    ),
    "too_many_weight_scales": Bad(
        "node 'weights' (DequantizeLinear): shapes (2, 2, 3, 3) and (3, 1, 1, 1) do not "
        "broadcast; export the model again",
        lambda: conv(ws=floats(0.5, 0.5, 0.5)),
    ),
    "a_matrix_of_scales": Bad(
        "node 'front' (QuantizeLinear): a scale or zero point has at most one axis, not shape (2, "
        "2); quantise per tensor or per channel",
        lambda: conv(s=np.full((2, 2), 0.125, np.float32)),
    ),
    "a_zero_point_of_another_type": Bad(
        "node 'bad' (DequantizeLinear): its input is int8, and its zero point uint8" + AGAIN,
        lambda: between(
            node("DequantizeLinear", ["q", "s", "c"], ["e"], "bad"), c=np.array(0, np.uint8)
        ),
    ),
    "a_dequantiser_of_reals": Bad(
        "node 'bad' (DequantizeLinear): its input is real numbers, and it dequantises integers; "
        "put a quantiser before it",
        lambda: one("DequantizeLinear", floats(0.5)),
    ),
    "a_zero_point_of_floats": Bad(
        "node 'front' (QuantizeLinear): a zero point is an integer, not float32" + AGAIN,
        lambda: conv(z=floats(0.0)),
    ),
    "more_zero_points_than_scales": Bad(
        "node 'front' (QuantizeLinear): a zero point is one number, not 2" + AGAIN,
        lambda: conv(z=np.zeros(2, np.int8)),
    ),
    "a_quantiser_that_depends_on_the_input": Bad(
        "node 'bad' (QuantizeLinear): input 1, its scale, depends on the graph's input, and "
        "hardware needs constants there; make it an initialiser",
        lambda: between(node("QuantizeLinear", ["d", "d", "z"], ["e"], "bad")),
    ),
    # Quant and its kin.
    "quant_scale_zero": Bad(
        "node 'bad' (Quant): a scale is a positive finite number, not 0" + AGAIN,
        lambda: quant(scale=0.0),
    ),
    "quant_scale_negative": Bad(
        "node 'bad' (Quant): a scale is a positive finite number, not -1" + AGAIN,
        lambda: quant(scale=-1.0),
    ),
    "quant_scale_nan": Bad(
        "node 'bad' (Quant): a scale is a positive finite number, not nan" + AGAIN,
        lambda: quant(scale=NAN),
    ),
    "quant_zero_point_between": Bad(
        "node 'bad' (Quant): a zero point is an integer of at most 32 bits, not 0.5" + AGAIN,
        lambda: quant(zero=0.5),
    ),
    "quant_zero_point_nan": Bad(
        "node 'bad' (Quant): a constant is a finite number, not nan" + AGAIN,
        lambda: quant(zero=NAN),
    ),
    "quant_zero_point_huge": Bad(
        "node 'bad' (Quant): a zero point is an integer of at most 32 bits, not 9.99999968e+37; "
        "export the model again",
        lambda: quant(zero=1e38),
    ),
    "quant_bits_zero": Bad(
        "node 'bad' (Quant): a bit width is an integer from 1 to 32, not 0" + AGAIN,
        lambda: quant(bits=0.0),
    ),
    "quant_bits_negative": Bad(
        "node 'bad' (Quant): a bit width is an integer from 1 to 32, not -3" + AGAIN,
        lambda: quant(bits=-3.0),
    ),
    "quant_bits_between": Bad(
        "node 'bad' (Quant): a bit width is an integer from 1 to 32, not 2.5" + AGAIN,
        lambda: quant(bits=2.5),
    ),
    "quant_bits_billion": Bad(
        "node 'bad' (Quant): a bit width is an integer from 1 to 32, not 1e+09" + AGAIN,
        lambda: quant(bits=1e9),
    ),
    "quant_bits_nan": Bad(
        "node 'bad' (Quant): a constant is a finite number, not nan" + AGAIN,
        lambda: quant(bits=NAN),
    ),
    "quant_rounding_unknown": Bad(
        "node 'bad' (Quant): rounding_mode is one of ROUND, HALF_EVEN, CEIL, FLOOR, UP, DOWN, "
        "ROUND_TO_ZERO, HALF_UP, HALF_DOWN, not 'SIDEWAYS'; choose one",
        lambda: quant(rounding_mode="SIDEWAYS"),
    ),
    "quant_signed_seven": Bad(
        "node 'bad' (Quant): attribute 'signed' is 0 or 1, not 7" + AGAIN,
        lambda: quant(signed=7),
    ),
    "quant_attribute_unknown": Bad(
        "node 'bad' (Quant): attribute 'shy' is not supported; export the model without it",
        lambda: quant(shy=1),
    ),
    "quant_scales_of_another_shape": Bad(
        "node 'bad' (Quant): a constant of shape (1, 5, 1, 1) does not broadcast against (1, 2, "
        "6, 6); reshape it",
        lambda: quant(scale=np.ones((1, 5, 1, 1))),
    ),
    "bipolar_scale_zero": Bad(
        "node 'bad' (BipolarQuant): a scale is a positive finite number, not 0" + AGAIN,
        lambda: one("BipolarQuant", floats(0.0), domain=QONNX),
    ),
    "thresholds_of_nan": Bad(
        "node 'bad' (MultiThreshold): a constant is a finite number, not nan" + AGAIN,
        lambda: one("MultiThreshold", np.full((2, 3), NAN, np.float32), domain=QONNX),
    ),
    "thresholds_that_fall": Bad(
        "node 'bad' (MultiThreshold): its thresholds fall along a row; sort each row",
        lambda: one("MultiThreshold", np.array([[3, 2, 1]] * 2, np.float32), domain=QONNX),
    ),
    "thresholds_of_other_channels": Bad(
        "node 'bad' (MultiThreshold): 5 rows of thresholds do not fit an input of shape (1, 2, 6, "
        "6) with data_layout ''; state the layout and give one row per channel",
        lambda: one("MultiThreshold", np.zeros((5, 3), np.float32), domain=QONNX),
    ),
    "thresholds_twice": Bad(
        "node 'bad' (MultiThreshold): it has 3 inputs, and at most 2 are known" + AGAIN,
        lambda: one("MultiThreshold", *(np.zeros((1, 3), np.float32),) * 2, domain=QONNX),
    ),
    "a_zero_point_of_booleans": Bad(
        "node 'front' (QuantizeLinear): a zero point is an integer, not bool" + AGAIN,
        lambda: conv(z=np.array(False)),
    ),
    # Convolutions and products.
    "groups_that_do_not_divide": Bad(
        "node 'bad' (Conv): weights of shape (2, 2, 3, 3) and group 3 do not fit an input of 2 "
        "channels; export the model again",
        lambda: conv(group=3),
    ),
    "no_groups": Bad(
        "node 'bad' (Conv): weights of shape (2, 2, 3, 3) and group 0 do not fit an input of 2 "
        "channels; export the model again",
        lambda: conv(group=0),
    ),
    "minus_one_group": Bad(
        "node 'bad' (Conv): weights of shape (2, 2, 3, 3) and group -1 do not fit an input of 2 "
        "channels; export the model again",
        lambda: conv(group=-1),
    ),
    "weights_of_rank_two": Bad(
        "node 'bad' (Conv): weights of shape (2, 2) do not fit an input of shape (1, 2, 6, 6); "
        "1-D and 2-D convolutions are understood",
        lambda: conv(w=np.ones((2, 2), np.int8)),
    ),
    "weights_of_other_channels": Bad(
        "node 'bad' (Conv): weights of shape (2, 5, 3, 3) and group 1 do not fit an input of 2 "
        "channels; export the model again",
        lambda: conv(w=np.ones((2, 5, 3, 3), np.int8)),
    ),
    "weights_of_no_channels": Bad(
        "node 'bad' (Conv): weights of shape (2, 0, 3, 3) are empty; export it again",
        lambda: conv(w=np.ones((2, 0, 3, 3), np.int8)),
    ),
    "no_filters": Bad(
        "node 'bad' (Conv): weights of shape (0, 2, 3, 3) are empty; export it again",
        lambda: conv(w=np.ones((0, 2, 3, 3), np.int8)),
    ),
    "biases_of_another_length": Bad(
        "node 'bad' (Conv): a bias has shape (2,), not (3,)" + AGAIN,
        lambda: conv(b=np.ones(3, np.int32)),
    ),
    "negative_pads": Bad(
        "node 'bad' (Conv): pads has 4 integers from 0 to 65536, not (-1, -1, -1, -1)" + AGAIN,
        lambda: conv(pads=[-1, -1, -1, -1]),
    ),
    "three_pads": Bad(
        "node 'bad' (Conv): pads has 4 integers from 0 to 65536, not (1, 1, 1)" + AGAIN,
        lambda: conv(pads=[1, 1, 1]),
    ),
    "pads_without_end": Bad(
        "node 'bad' (Conv): pads has 4 integers from 0 to 65536, not (9223372036854775807, "
        "9223372036854775807, 9223372036854775807, 9223372036854...; export the model again",
        lambda: conv(pads=[LARGEST] * 4),
    ),
    "strides_of_zero": Bad(
        "node 'bad' (Conv): strides has 2 integers from 1 to 65536, not (0, 0)" + AGAIN,
        lambda: conv(strides=[0, 0]),
    ),
    "strides_backwards": Bad(
        "node 'bad' (Conv): strides has 2 integers from 1 to 65536, not (-1, -1)" + AGAIN,
        lambda: conv(strides=[-1, -1]),
    ),
    "dilations_of_zero": Bad(
        "node 'bad' (Conv): dilations has 2 integers from 1 to 65536, not (0, 0)" + AGAIN,
        lambda: conv(dilations=[0, 0]),
    ),
    "dilations_without_end": Bad(
        "node 'bad' (Conv): dilations has 2 integers from 1 to 65536, not (9223372036854775807, "
        "9223372036854775807); export the model again",
        lambda: conv(dilations=[LARGEST, LARGEST]),
    ),
    "a_huge_kernel_shape": Bad(
        "node 'bad' (Conv): kernel_shape has 2 integers from 1 to 65536, not (1099511627776, "
        "1099511627776); export the model again",
        lambda: conv(kernel_shape=[HUGE, HUGE]),
    ),
    "another_kernel_shape": Bad(
        "node 'bad' (Conv): kernel_shape is (5, 5), and its weights have (3, 3)" + AGAIN,
        lambda: conv(kernel_shape=[5, 5]),
    ),
    "a_kernel_above_its_input": Bad(
        "node 'bad' (Conv): its kernel reaches 3, beyond its padded input of 2; pad more or use a "
        "smaller kernel",
        lambda: conv(shape=(1, 2, 2, 2)),
    ),
    "padding_by_an_unknown_rule": Bad(
        "node 'bad' (Conv): auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER, not 'SOMEHOW'; "
        "export the model again",
        lambda: conv(auto_pad="SOMEHOW"),
    ),
    "padding_by_two_rules": Bad(
        "node 'bad' (Conv): it states both auto_pad and pads; keep one of them",
        lambda: conv(auto_pad="SAME_UPPER", pads=[1, 1, 1, 1]),
    ),
    "an_unknown_attribute": Bad(
        "node 'bad' (Conv): attribute 'colour' is not supported; export the model without it",
        lambda: conv(colour="red"),
    ),
    "an_attribute_of_another_type": Bad(
        "node 'bad' (Conv): attribute 'strides' is a list of integers, not 1" + AGAIN,
        lambda: conv(strides=1),
    ),
    "a_convolution_of_nothing": Bad(
        "node 'bad' (Conv): input 1, its weights, is missing; export it again",
        lambda: conv(inputs=["d"]),
    ),
    "a_convolution_of_too_much": Bad(
        "node 'bad' (Conv): it has 4 inputs, and at most 3 are known" + AGAIN,
        lambda: conv(inputs=["d", "wd", "bd", "bd"]),
    ),
    "a_convolution_without_weights": Bad(
        "node 'bad' (Conv): input 1, its weights, is missing; export it again",
        lambda: conv(inputs=["d", "", "bd"]),
    ),
    "a_three_dimensional_convolution": Bad(
        "node 'bad' (Conv): weights of shape (2, 2, 3, 3, 3) do not fit an input of shape (1, 2, "
        "6, 6, 6); 1-D and 2-D convolutions are understood",
        lambda: conv(shape=(1, 2, 6, 6, 6), w=np.ones((2, 2, 3, 3, 3), np.int8)),
    ),
    "weights_of_infinity": Bad(
        "node 'bad' (MatMul): a constant is a finite number, not inf" + AGAIN,
        lambda: one("MatMul", np.full((6, 2), INFINITY, np.float32)),
    ),
    "weights_of_nan": Bad(
        "node 'bad' (MatMul): a constant is a finite number, not nan" + AGAIN,
        lambda: one("MatMul", np.full((6, 2), NAN, np.float32)),
    ),
    "a_product_that_does_not_fit": Bad(
        "node 'bad' (MatMul): weights of shape (5, 2) do not fit an input of shape (1, 2, 6, 6); "
        "its last axis meets the weights' first",
        lambda: one("MatMul", np.ones((5, 2), np.float32)),
    ),
    "a_gemm_of_images": Bad(
        "node 'bad' (Gemm): it takes a matrix of frames by features, not an input of shape (1, 2, "
        "6, 6); flatten before it",
        lambda: one("Gemm", np.ones((6, 2), np.float32)),
    ),
    # Windows.
    "a_pool_of_nothing": Bad(
        "node 'bad' (MaxPool): kernel_shape has 2 integers from 1 to 65536, not (0, 0)" + AGAIN,
        lambda: one("MaxPool", kernel_shape=[0, 0]),
    ),
    "a_huge_pool": Bad(
        "node 'bad' (AveragePool): kernel_shape has 2 integers from 1 to 65536, not "
        "(1099511627776, 1099511627776); export the model again",
        lambda: one("AveragePool", kernel_shape=[HUGE, HUGE]),
    ),
    "a_pool_of_padding": Bad(
        "node 'bad' (AveragePool): a window of it holds padding alone, with kernel (2, 2), "
        "dilations (1, 1) and pads (5, 5, 5, 5); pad less",
        lambda: one("AveragePool", kernel_shape=[2, 2], pads=[5, 5, 5, 5]),
    ),
    "a_pool_without_shape": Bad(
        "node 'bad' (MaxPool): attribute 'kernel_shape' is missing" + AGAIN,
        lambda: one("MaxPool"),
    ),
    # Elementwise.
    "a_division_by_zero": Bad(
        "node 'bad' (Div): it divides by 0" + AGAIN,
        lambda: one("Div", floats(0.0)),
    ),
    "a_sum_with_nan": Bad(
        "node 'bad' (Add): a constant is a finite number, not nan" + AGAIN,
        lambda: one("Add", floats(NAN)),
    ),
    "a_product_with_infinity": Bad(
        "node 'bad' (Mul): a constant is a finite number, not inf" + AGAIN,
        lambda: one("Mul", floats(INFINITY)),
    ),
    "a_sum_that_does_not_broadcast": Bad(
        "node 'bad' (Add): a constant of shape (5,) does not broadcast against (1, 2, 6, 6); "
        "reshape it",
        lambda: one("Add", floats(1, 2, 3, 4, 5)),
    ),
    "a_sum_that_grows": Bad(
        "node 'bad' (Add): a constant of shape (4096, 2, 6, 6) does not broadcast against (1, 2, "
        "6, 6); reshape it",
        lambda: one("Add", np.ones((4096, 2, 6, 6), np.float32)),
    ),
    "a_clip_the_wrong_way_round": Bad(
        "node 'bad' (Clip): its min 3 is above its max -3; swap them",
        lambda: one("Clip", floats(3.0), floats(-3.0)),
    ),
    "a_clip_at_nan": Bad(
        "node 'bad' (Clip): a constant is a finite number, not nan" + AGAIN,
        lambda: one("Clip", floats(NAN), floats(3.0)),
    ),
    "a_slope_of_nan": Bad(
        "node 'bad' (LeakyRelu): attribute 'alpha' is a finite number, not nan" + AGAIN,
        lambda: one("LeakyRelu", alpha=NAN),
    ),
    "a_negative_variance": Bad(
        "node 'bad' (BatchNormalization): a variance of -1 is below 0" + AGAIN,
        lambda: one("BatchNormalization", *(np.ones(2, np.float32),) * 3, floats(1, -1)),
    ),
    "a_mean_of_nan": Bad(
        "node 'bad' (BatchNormalization): a constant is a finite number, not nan" + AGAIN,
        lambda: one(
            "BatchNormalization", *(np.ones(2, np.float32),) * 2, floats(1, NAN), floats(1, 1)
        ),
    ),
    "a_normalisation_of_other_channels": Bad(
        "node 'bad' (BatchNormalization): its scale has shape (5,), and its input has 2 channels; "
        "export the model again",
        lambda: one("BatchNormalization", *(np.ones(5, np.float32),) * 4),
    ),
}
"""Wrong quantisers, layers and functions."""
