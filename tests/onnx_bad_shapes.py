"""More models of the kind of `onnx_bad_meaning`: wrong shapes, constants that grow, odd graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto
from onnx_bad_meaning import (
    AGAIN,
    BACK,
    CONSTANTS,
    FRONT,
    HUGE,
    LARGEST,
    NAN,
    Bad,
    between,
    conv,
    floats,
    ints,
    model,
    node,
    one,
)


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


SHAPES: dict[str, Bad] = {
    # Shapes.
    "a_reshape_of_two_unknowns": Bad(
        "node 'bad' (Reshape): (1, 2, 6, 6) does not reshape to (1, -1, -1)" + AGAIN,
        lambda: one("Reshape", ints(1, -1, -1)),
    ),
    "a_reshape_that_overflows": Bad(
        "node 'bad' (Reshape): (1, 2, 6, 6) does not reshape to (4611686018427387904, 4)" + AGAIN,
        lambda: one("Reshape", ints(1 << 62, 4)),
    ),
    "a_reshape_of_another_size": Bad(
        "node 'bad' (Reshape): (1, 2, 6, 6) does not reshape to (1, 71)" + AGAIN,
        lambda: one("Reshape", ints(1, 71)),
    ),
    "a_reshape_below_minus_one": Bad(
        "node 'bad' (Reshape): (1, 2, 6, 6) does not reshape to (1, -72)" + AGAIN,
        lambda: one("Reshape", ints(1, -72)),
    ),
    "a_pad_without_end": Bad(
        "node 'bad' (Pad): pads are 8 integers of at most 65536, not [0, 0, 0, 0, 0, 0, 0, "
        "4611686018427387904]; export the model again",
        lambda: one("Pad", ints(0, 0, 0, 0, 0, 0, 0, 1 << 62)),
    ),
    "a_pad_below_nothing": Bad(
        "node 'bad' (Pad): its pads -9 and 0 leave nothing of an axis of 6; crop less",
        lambda: one("Pad", ints(0, 0, -9, 0, 0, 0, 0, 0)),
    ),
    "a_pad_of_three": Bad(
        "node 'bad' (Pad): pads are 8 integers of at most 65536, not [1, 1, 1]" + AGAIN,
        lambda: one("Pad", ints(1, 1, 1)),
    ),
    "a_resize_by_1e30": Bad(
        "node 'bad' (Resize): it resizes to 6000000090284797319260133130240, and at most 65536 "
        "are taken; choose a smaller size",
        lambda: one("Resize", None, floats(1, 1, 1e30, 1e30), mode="nearest"),
    ),
    "a_resize_by_nan": Bad(
        "node 'bad' (Resize): a constant is a finite number, not nan" + AGAIN,
        lambda: one("Resize", None, floats(1, 1, NAN, NAN), mode="nearest"),
    ),
    "a_resize_to_huge": Bad(
        "node 'bad' (Resize): it resizes to 1099511627776, and at most 65536 are taken; choose a "
        "smaller size",
        lambda: one("Resize", None, None, ints(1, 2, HUGE, HUGE), mode="nearest"),
    ),
    "a_tile_without_end": Bad(
        "node 'bad' (Tile): the operator is not offered in hardware; express it by those that "
        "docs/onnx.md lists",
        lambda: one("Tile", ints(1, 1, HUGE, HUGE)),
    ),
    "an_expansion_without_end": Bad(
        "node 'bad' (Expand): the operator is not offered in hardware; express it by those that "
        "docs/onnx.md lists",
        lambda: one("Expand", ints(HUGE, 1, 1, 1)),
    ),
    "a_slice_of_no_step": Bad(
        "node 'bad' (Slice): starts, ends, axes and steps are lists alike, with no step 0, not "
        "(0,), (6,), (3,) and (0,); export the model again",
        lambda: one("Slice", ints(0), ints(6), ints(3), ints(0)),
    ),
    "a_slice_of_an_unknown_axis": Bad(
        "node 'bad' (Slice): an axis is in -4..3, not 99" + AGAIN,
        lambda: one("Slice", ints(0), ints(6), ints(99)),
    ),
    "a_concatenation_along_axis_99": Bad(
        "node 'bad' (Concat): axis is from 1 to 3, not 99; export it again",
        lambda: between(node("Concat", ["d", "d"], ["e"], "bad", axis=99)),
    ),
    "a_concatenation_with_a_constant": Bad(
        "node 'bad' (Concat): input 1 is a constant where a tensor that depends on the graph's "
        "input belongs; fold the constants before exporting",
        lambda: one("Concat", np.ones((1, 2, 6, 6), np.float32), axis=1),
    ),
    "blocks_of_nothing": Bad(
        "node 'bad' (DepthToSpace): blocksize is from 1 to 65536, not 0" + AGAIN,
        lambda: one("DepthToSpace", blocksize=0),
    ),
    "blocks_of_less_than_nothing": Bad(
        "node 'bad' (SpaceToDepth): blocksize is from 1 to 65536, not -2" + AGAIN,
        lambda: one("SpaceToDepth", blocksize=-2),
    ),
    "blocks_without_end": Bad(
        "node 'bad' (DepthToSpace): blocksize is from 1 to 65536, not 9223372036854775807" + AGAIN,
        lambda: one("DepthToSpace", blocksize=LARGEST),
    ),
    "blocks_without_a_size": Bad(
        "node 'bad' (DepthToSpace): attribute 'blocksize' is missing" + AGAIN,
        lambda: one("DepthToSpace"),
    ),
    "blocks_of_a_half": Bad(
        "node 'bad' (SpaceToDepth): attribute 'blocksize' is an integer, not 0.5" + AGAIN,
        lambda: one("SpaceToDepth", blocksize=0.5),
    ),
    "blocks_of_more_than_all_channels": Bad(
        "node 'bad' (DepthToSpace): blocks of 65536x65536 pixels take a multiple of 4294967296 "
        "channels, not 2; use another blocksize",
        lambda: one("DepthToSpace", blocksize=1 << 16),
    ),
    "blocks_that_no_channels_fill": Bad(
        "node 'bad' (DepthToSpace): blocks of 2x2 pixels take a multiple of 4 channels, not 6; use "
        "another blocksize",
        lambda: between(node("DepthToSpace", ["d"], ["e"], "bad", blocksize=2), shape=(1, 6, 3, 3)),
    ),
    "blocks_of_an_unknown_mode": Bad(
        "node 'bad' (DepthToSpace): mode is DCR or CRD, not 'RCD'" + AGAIN,
        lambda: between(
            node("DepthToSpace", ["d"], ["e"], "bad", blocksize=2, mode="RCD"), shape=(1, 4, 3, 3)
        ),
    ),
    "blocks_of_a_line": Bad(
        "node 'bad' (DepthToSpace): it takes (N, C, H, W), not (1, 4, 9); reshape the input",
        lambda: between(node("DepthToSpace", ["d"], ["e"], "bad", blocksize=2), shape=(1, 4, 9)),
    ),
    "blocks_with_an_unknown_attribute": Bad(
        "node 'bad' (SpaceToDepth): attribute 'mode' is not supported; export the model without it",
        lambda: one("SpaceToDepth", blocksize=2, mode="CRD"),
    ),
    "blocks_that_do_not_fit": Bad(
        "node 'bad' (SpaceToDepth): an image of 6x6 is no multiple of blocks of 4x4; pad it or use "
        "another blocksize",
        lambda: one("SpaceToDepth", blocksize=4),
    ),
    "blocks_too_large_for_hardware": Bad(
        "the graph's output: DepthToSpace block has 2 integers from 1 to 256, not (257, 257); use "
        "a smaller blocksize",
        lambda: between(
            node("DepthToSpace", ["d"], ["e"], "bad", blocksize=257), shape=(1, 257**2, 2, 2)
        ),
    ),
    "a_transposition_that_repeats": Bad(
        "node 'bad' (Transpose): perm is an order of 4 axes, not (0, 1, 1, 3)" + AGAIN,
        lambda: one("Transpose", perm=[0, 1, 1, 3]),
    ),
    "a_transposition_out_of_range": Bad(
        "node 'bad' (Transpose): perm is an order of 4 axes, not (0, 1, 2, 1099511627776)" + AGAIN,
        lambda: one("Transpose", perm=[0, 1, 2, HUGE]),
    ),
    "a_flatten_at_axis_9": Bad(
        "node 'bad' (Flatten): axis is in -4..4, not 9" + AGAIN,
        lambda: one("Flatten", axis=9),
    ),
    "a_gather_out_of_range": Bad(
        "node 'bad' (Gather): an index is in -2..1, not 99" + AGAIN,
        lambda: one("Gather", ints(99), axis=1),
    ),
    "a_squeeze_of_six": Bad(
        "node 'bad' (Squeeze): axes (2,) of (1, 2, 6, 6) are not all of size 1" + AGAIN,
        lambda: one("Squeeze", ints(2)),
    ),
    "an_unsqueeze_of_one_axis_twice": Bad(
        "node 'bad' (Unsqueeze): axes are named once each, not (0, 0)" + AGAIN,
        lambda: one("Unsqueeze", ints(0, 0)),
    ),
    "a_pad_by_many_values": Bad(
        "node 'bad' (Pad): its value is one number, not 2" + AGAIN,
        lambda: one("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1), floats(0, 1)),
    ),
    "a_resize_by_scales_and_sizes": Bad(
        "node 'bad' (Resize): it states both scales and sizes; keep one of them",
        lambda: one("Resize", None, floats(1, 1, 2, 2), ints(1, 2, 12, 12), mode="nearest"),
    ),
    "a_resize_of_too_few_axes": Bad(
        "node 'bad' (Resize): each of 4 axes has a size or a scale that leaves something, and here "
        "are 2, [12, 12]; export the model again",
        lambda: one("Resize", None, None, ints(12, 12), mode="nearest"),
    ),
    "a_shape_of_two_tensors": Bad(
        "node 'bad' (Shape): it has 2 inputs, and at most 1 are known" + AGAIN,
        lambda: between(
            node("Shape", ["d", "s"], ["n"], "bad"), node("Reshape", ["d", "n"], ["e"])
        ),
    ),
    "a_mixture_of_types": Bad(
        "node 'bad' (Concat): inputs have one type, not int64 and float32; add a Cast",
        lambda: folded("Concat", ints(1), floats(2, 3), axis=0),
    ),
    # Constants that grow.
    "a_constant_of_huge_shape": Bad(
        "node 'bad' (ConstantOfShape): shape (1099511627776,) has 1099511627776 elements, above "
        "the limit of 268435456; split the network",
        lambda: folded("ConstantOfShape", ints(HUGE)),
    ),
    "a_constant_whose_size_overflows": Bad(
        "node 'bad' (ConstantOfShape): shape (4294967296, 4294967296) has 18446744073709551616 "
        "elements, above the limit of 268435456; split the network",
        lambda: folded("ConstantOfShape", ints(1 << 32, 1 << 32)),
    ),
    "a_constant_of_negative_shape": Bad(
        "node 'bad' (ConstantOfShape): a size is 0 or more, not -4" + AGAIN,
        lambda: folded("ConstantOfShape", ints(-4)),
    ),
    "a_range_without_end": Bad(
        "node 'bad' (Range): it makes 9223372036854775807 values, above the limit of 1048576; "
        "shorten it",
        lambda: folded("Range", np.array(0), np.array(LARGEST), np.array(1)),
    ),
    "a_range_of_no_step": Bad(
        "node 'bad' (Range): delta is not 0" + AGAIN,
        lambda: folded("Range", np.array(0), np.array(5), np.array(0)),
    ),
    "a_constant_tile_without_end": Bad(
        "node 'bad' (Tile): shape (1099511627776,) has 1099511627776 elements, above the limit of "
        "268435456; split the network",
        lambda: folded("Tile", floats(1, 2), ints(HUGE)),
    ),
    "a_constant_expansion_without_end": Bad(
        "node 'bad' (Expand): shape (1099511627776,) has 1099511627776 elements, above the limit "
        "of 268435456; split the network",
        lambda: folded("Expand", floats(1), ints(HUGE)),
    ),
    "a_constant_division_by_zero": Bad(
        "node 'bad' (Div): nothing is divided by 0" + AGAIN,
        lambda: folded("Div", ints(1), ints(0)),
    ),
    "a_constant_power_without_end": Bad(
        "node 'bad' (Pow): an exponent is 0.5, -0.5 or an integer up to 64, not 1.00000002e+30; "
        "fold it before exporting",
        lambda: folded("Pow", floats(3e38), floats(1e30)),
    ),
    "a_constant_logarithm_of_zero": Bad(
        "node 'bad' (Log): the operator is not offered in hardware; express it by those that "
        "docs/onnx.md lists",
        lambda: folded("Log", floats(0.0)),
    ),
    "a_constant_cast_to_nothing": Bad(
        "node 'bad' (Cast): a Cast is to a number or boolean, not to type 99; convert it",
        lambda: folded("Cast", floats(1), to=99),
    ),
    "a_constant_gather_out_of_range": Bad(
        "node 'bad' (Gather): an index is in -2..1, not 9223372036854775807" + AGAIN,
        lambda: folded("Gather", floats(1, 2), ints(LARGEST)),
    ),
    # The graph.
    "an_unknown_operator": Bad(
        "node 'bad' (Frobnicate): the operator is not offered in hardware; express it by those "
        "that docs/onnx.md lists",
        lambda: one("Frobnicate"),
    ),
    "an_unknown_domain": Bad(
        "node 'bad' (Relu): nothing is known of the domain 'evil\\n\\x1b[2J'; express it by "
        "operators of ONNX, QONNX or com.microsoft",
        lambda: one("Relu", domain="evil\n\x1b[2J"),
    ),
    "an_operator_of_the_ml_domain": Bad(
        "node 'bad' (Scaler): nothing is known of the domain 'ai.onnx.ml'; express it by "
        "operators of ONNX, QONNX or com.microsoft",
        lambda: one("Scaler", domain="ai.onnx.ml"),
    ),
    "open_sizes": Bad(
        "the graph's input 'x' has no fixed size along axis 2; export the model with fixed sizes",
        lambda: conv(shape=("N", 2, "height", "width")),
    ),
    "a_size_of_zero": Bad(
        "the graph's input 'x' has size 0 along axis 2; export the model with fixed sizes",
        lambda: conv(shape=(1, 2, 0, 6)),
    ),
    "an_input_of_rank_zero": Bad(
        "the graph's input 'x' has no batch axis; give it the shape (1, ...)",
        lambda: conv(shape=()),
    ),
    "two_inputs": Bad(
        "the graph has 2 inputs ('x', 'x2'), and an accelerator has exactly one; make the others "
        "initialisers",
        two_inputs,
    ),
    "two_outputs": Bad(
        "the graph has 2 outputs ('d', 'y'), and an accelerator has exactly one; concatenate them "
        "or drop the others",
        lambda: model(
            [*FRONT, *BACK[:1], node("Relu", ["d"], ["e"]), *BACK[1:]],
            CONSTANTS,
            outputs=("d", "y"),
        ),
    ),
    "no_input": Bad(
        "the graph has no input, and an accelerator has exactly one; export it with its input",
        lambda: model([node("Relu", ["s"], ["y"])], CONSTANTS, inputs=()),
    ),
    "the_input_as_output": Bad(
        "the model is a float one: no node of it quantises; quantise it with `bitwright compress "
        "MODEL --data INPUTS.npy`, or with the tools that it was made with",
        lambda: model([], {}, outputs=("x",)),
    ),
    "a_constant_as_output": Bad(
        "the graph's output does not depend on its input; export it again",
        lambda: model([], CONSTANTS, outputs=("s",)),
    ),
    "nothing_quantised": Bad(
        "the model is a float one: no node of it quantises; quantise it with `bitwright compress "
        "MODEL --data INPUTS.npy`, or with the tools that it was made with",
        lambda: model([node("Relu", ["x"], ["y"], "bad")], {}),
    ),
}
"""Wrong shapes, constants that grow and graphs of a wrong form."""
