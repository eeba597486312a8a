"""ONNX models that are well formed and mean nothing, or too much: files for the importer to refuse.

`MEANING` gives each a name.  Most are a tensor between two quantisers with one thing wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

HUGE = 1 << 40
LARGEST, SMALLEST = (1 << 63) - 1, -(1 << 63)
NAN, INFINITY = float("nan"), float("inf")
QONNX = "qonnx.custom_op.general"

node = helper.make_node


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


def folded(op: str, *inputs: Any, **attributes: Any) -> ModelProto:
    """A node called `bad` that works on constants alone and gives one addend of d."""
    names = [f"c{place}" for place in range(len(inputs))]
    return between(
        node(op, names, ["k"], "bad", **attributes),
        node("Add", ["d", "k"], ["e"], "add"),
        **dict(zip(names, inputs, strict=True)),
    )


def two_inputs() -> ModelProto:
    nodes = [*FRONT, node("Add", ["d", "x2"], ["e"], "bad"), *BACK]
    return model(nodes, CONSTANTS, inputs=("x", "x2"))


MEANING: dict[str, Callable[[], ModelProto]] = {
    # Scales and zero points.
    "a_scale_of_nan": lambda: conv(s=floats(NAN)),
    "a_scale_of_infinity": lambda: conv(s=floats(INFINITY)),
    "a_scale_of_zero": lambda: conv(s=floats(0.0)),
    "a_scale_of_minus_zero": lambda: conv(s=floats(-0.0)),
    "a_negative_scale": lambda: conv(s=floats(-0.125)),
    "a_weight_scale_of_nan": lambda: conv(ws=floats(0.5, NAN)),
    "too_many_weight_scales": lambda: conv(ws=floats(0.5, 0.5, 0.5)),
    "a_matrix_of_scales": lambda: conv(s=np.full((2, 2), 0.125, np.float32)),
    "a_zero_point_of_another_type": lambda: one(
        "DequantizeLinear", floats(0.5), np.array(0, np.uint8)
    ),
    "a_zero_point_of_floats": lambda: conv(z=floats(0.0)),
    "more_zero_points_than_scales": lambda: conv(z=np.zeros(2, np.int8)),
    "a_quantiser_that_depends_on_the_input": lambda: between(
        node("QuantizeLinear", ["d", "d", "z"], ["e"], "bad")
    ),
    # Quant and its kin.
    "quant_scale_zero": lambda: quant(scale=0.0),
    "quant_scale_negative": lambda: quant(scale=-1.0),
    "quant_scale_nan": lambda: quant(scale=NAN),
    "quant_zero_point_between": lambda: quant(zero=0.5),
    "quant_zero_point_nan": lambda: quant(zero=NAN),
    "quant_zero_point_huge": lambda: quant(zero=1e38),
    "quant_bits_zero": lambda: quant(bits=0.0),
    "quant_bits_negative": lambda: quant(bits=-3.0),
    "quant_bits_between": lambda: quant(bits=2.5),
    "quant_bits_billion": lambda: quant(bits=1e9),
    "quant_bits_nan": lambda: quant(bits=NAN),
    "quant_rounding_unknown": lambda: quant(rounding_mode="SIDEWAYS"),
    "quant_signed_seven": lambda: quant(signed=7),
    "quant_attribute_unknown": lambda: quant(shy=1),
    "quant_scales_of_another_shape": lambda: quant(scale=np.ones((1, 5, 1, 1))),
    "bipolar_scale_zero": lambda: one("BipolarQuant", floats(0.0), domain=QONNX),
    "thresholds_of_nan": lambda: one(
        "MultiThreshold", np.full((2, 3), NAN, np.float32), domain=QONNX
    ),
    "thresholds_that_fall": lambda: one(
        "MultiThreshold", np.array([[3, 2, 1]] * 2, np.float32), domain=QONNX
    ),
    "thresholds_of_other_channels": lambda: one(
        "MultiThreshold", np.zeros((5, 3), np.float32), domain=QONNX
    ),
    # Convolutions and products.
    "groups_that_do_not_divide": lambda: conv(group=3),
    "no_groups": lambda: conv(group=0),
    "minus_one_group": lambda: conv(group=-1),
    "weights_of_rank_two": lambda: conv(w=np.ones((2, 2), np.int8)),
    "weights_of_other_channels": lambda: conv(w=np.ones((2, 5, 3, 3), np.int8)),
    "weights_of_no_channels": lambda: conv(w=np.ones((2, 0, 3, 3), np.int8)),
    "no_filters": lambda: conv(w=np.ones((0, 2, 3, 3), np.int8)),
    "biases_of_another_length": lambda: conv(b=np.ones(3, np.int32)),
    "negative_pads": lambda: conv(pads=[-1, -1, -1, -1]),
    "three_pads": lambda: conv(pads=[1, 1, 1]),
    "pads_without_end": lambda: conv(pads=[LARGEST] * 4),
    "strides_of_zero": lambda: conv(strides=[0, 0]),
    "strides_backwards": lambda: conv(strides=[-1, -1]),
    "dilations_of_zero": lambda: conv(dilations=[0, 0]),
    "dilations_without_end": lambda: conv(dilations=[LARGEST, LARGEST]),
    "a_huge_kernel_shape": lambda: conv(kernel_shape=[HUGE, HUGE]),
    "another_kernel_shape": lambda: conv(kernel_shape=[5, 5]),
    "a_kernel_above_its_input": lambda: conv(shape=(1, 2, 2, 2)),
    "padding_by_an_unknown_rule": lambda: conv(auto_pad="SOMEHOW"),
    "padding_by_two_rules": lambda: conv(auto_pad="SAME_UPPER", pads=[1, 1, 1, 1]),
    "an_unknown_attribute": lambda: conv(colour="red"),
    "an_attribute_of_another_type": lambda: conv(strides=1),
    "a_convolution_of_nothing": lambda: conv(inputs=["d"]),
    "a_convolution_of_too_much": lambda: conv(inputs=["d", "wd", "bd", "bd"]),
    "a_convolution_without_weights": lambda: conv(inputs=["d", "", "bd"]),
    "a_three_dimensional_convolution": lambda: conv(
        shape=(1, 2, 6, 6, 6), w=np.ones((2, 2, 3, 3, 3), np.int8)
    ),
    "weights_of_infinity": lambda: one("MatMul", np.full((6, 2), INFINITY, np.float32)),
    "weights_of_nan": lambda: one("MatMul", np.full((6, 2), NAN, np.float32)),
    "a_product_that_does_not_fit": lambda: one("MatMul", np.ones((5, 2), np.float32)),
    "a_gemm_of_images": lambda: one("Gemm", np.ones((6, 2), np.float32)),
    # Windows.
    "a_pool_of_nothing": lambda: one("MaxPool", kernel_shape=[0, 0]),
    "a_huge_pool": lambda: one("AveragePool", kernel_shape=[HUGE, HUGE]),
    "a_pool_of_padding": lambda: one("AveragePool", kernel_shape=[2, 2], pads=[5, 5, 5, 5]),
    "a_pool_without_shape": lambda: one("MaxPool"),
    # Elementwise.
    "a_division_by_zero": lambda: one("Div", floats(0.0)),
    "a_sum_with_nan": lambda: one("Add", floats(NAN)),
    "a_product_with_infinity": lambda: one("Mul", floats(INFINITY)),
    "a_sum_that_does_not_broadcast": lambda: one("Add", floats(1, 2, 3, 4, 5)),
    "a_sum_that_grows": lambda: one("Add", np.ones((4096, 2, 6, 6), np.float32)),
    "a_clip_the_wrong_way_round": lambda: one("Clip", floats(3.0), floats(-3.0)),
    "a_clip_at_nan": lambda: one("Clip", floats(NAN), floats(3.0)),
    "a_slope_of_nan": lambda: one("LeakyRelu", alpha=NAN),
    "a_negative_variance": lambda: one(
        "BatchNormalization", *(np.ones(2, np.float32),) * 3, floats(1, -1)
    ),
    "a_mean_of_nan": lambda: one(
        "BatchNormalization", *(np.ones(2, np.float32),) * 2, floats(1, NAN), floats(1, 1)
    ),
    "a_normalisation_of_other_channels": lambda: one(
        "BatchNormalization", *(np.ones(5, np.float32),) * 4
    ),
    # Shapes.
    "a_reshape_of_two_unknowns": lambda: one("Reshape", ints(1, -1, -1)),
    "a_reshape_that_overflows": lambda: one("Reshape", ints(1 << 62, 4)),
    "a_reshape_of_another_size": lambda: one("Reshape", ints(1, 71)),
    "a_reshape_below_minus_one": lambda: one("Reshape", ints(1, -72)),
    "a_pad_without_end": lambda: one("Pad", ints(0, 0, 0, 0, 0, 0, 0, 1 << 62)),
    "a_pad_below_nothing": lambda: one("Pad", ints(0, 0, -9, 0, 0, 0, 0, 0)),
    "a_pad_of_three": lambda: one("Pad", ints(1, 1, 1)),
    "a_resize_by_1e30": lambda: one("Resize", None, floats(1, 1, 1e30, 1e30), mode="nearest"),
    "a_resize_by_nan": lambda: one("Resize", None, floats(1, 1, NAN, NAN), mode="nearest"),
    "a_resize_to_huge": lambda: one("Resize", None, None, ints(1, 2, HUGE, HUGE), mode="nearest"),
    "a_tile_without_end": lambda: one("Tile", ints(1, 1, HUGE, HUGE)),
    "an_expansion_without_end": lambda: one("Expand", ints(HUGE, 1, 1, 1)),
    "a_slice_of_no_step": lambda: one("Slice", ints(0), ints(6), ints(3), ints(0)),
    "a_slice_of_huge_steps": lambda: one(
        "Slice", ints(LARGEST), ints(SMALLEST), ints(3), ints(SMALLEST)
    ),
    "a_slice_of_an_unknown_axis": lambda: one("Slice", ints(0), ints(6), ints(99)),
    "a_concatenation_along_axis_99": lambda: one(
        "Concat", np.ones((1, 2, 6, 6), np.float32), axis=99
    ),
    "a_transposition_that_repeats": lambda: one("Transpose", perm=[0, 1, 1, 3]),
    "a_transposition_out_of_range": lambda: one("Transpose", perm=[0, 1, 2, HUGE]),
    "a_flatten_at_axis_9": lambda: one("Flatten", axis=9),
    "a_gather_out_of_range": lambda: one("Gather", ints(99), axis=1),
    "a_squeeze_of_six": lambda: one("Squeeze", ints(2)),
    "an_unsqueeze_of_one_axis_twice": lambda: one("Unsqueeze", ints(0, 0)),
    # Constants that grow.
    "a_constant_of_huge_shape": lambda: folded("ConstantOfShape", ints(HUGE)),
    "a_constant_whose_size_overflows": lambda: folded("ConstantOfShape", ints(1 << 32, 1 << 32)),
    "a_constant_of_negative_shape": lambda: folded("ConstantOfShape", ints(-4)),
    "a_range_without_end": lambda: folded("Range", np.array(0), np.array(LARGEST), np.array(1)),
    "a_range_of_no_step": lambda: folded("Range", np.array(0), np.array(5), np.array(0)),
    "a_constant_tile_without_end": lambda: folded("Tile", floats(1, 2), ints(HUGE)),
    "a_constant_expansion_without_end": lambda: folded("Expand", floats(1), ints(HUGE)),
    "a_constant_division_by_zero": lambda: folded("Div", ints(1), ints(0)),
    "a_constant_power_without_end": lambda: folded("Pow", floats(3e38), floats(1e30)),
    "a_constant_logarithm_of_zero": lambda: folded("Log", floats(0.0)),
    "a_constant_cast_to_nothing": lambda: folded("Cast", floats(1), to=99),
    "a_constant_gather_out_of_range": lambda: folded("Gather", floats(1, 2), ints(LARGEST)),
    # The graph.
    "an_unknown_operator": lambda: one("Frobnicate"),
    "an_unknown_domain": lambda: one("Relu", domain="evil\n\x1b[2J"),
    "an_operator_of_the_ml_domain": lambda: one("Scaler", domain="ai.onnx.ml"),
    "open_sizes": lambda: conv(shape=("N", 2, "height", "width")),
    "a_size_of_zero": lambda: conv(shape=(1, 2, 0, 6)),
    "an_input_of_rank_zero": lambda: conv(shape=()),
    "two_inputs": two_inputs,
    "two_outputs": lambda: model(
        [*FRONT, *BACK[:1], node("Relu", ["d"], ["e"]), *BACK[1:]], CONSTANTS, outputs=("d", "y")
    ),
    "no_input": lambda: model([node("Relu", ["s"], ["y"])], CONSTANTS, inputs=()),
    "the_input_as_output": lambda: model([], {}, outputs=("x",)),
    "a_constant_as_output": lambda: model([], CONSTANTS, outputs=("s",)),
    "nothing_quantised": lambda: model([node("Relu", ["x"], ["y"], "bad")], {}),
}
"""What is wrong, by name; the node at fault is called `bad` or after the tensor it quantises."""
