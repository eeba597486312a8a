"""What must be refused, and in which words."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from onnx_cases import (
    IMAGE,
    INT64,
    PADS,
    ROW,
    SCALES,
    Body,
    branches,
    conv,
    linear,
    one,
    refused,
    resize,
)
from onnx_cases_values import FUNCTIONS
from onnx_judge import Graph

ENDS = {
    "hard-swish": "-5992..5993",
    "prelu-negative": "-6879..6891",
    "abs": "-6639..6621",
}
for _name, _range in ENDS.items():

    def _wide(g: Graph, x: str, body: Body = FUNCTIONS[_name]) -> str:
        return body(g, conv(g, x, 3, 3, (2, 2)))

    refused(
        f"{_name}-wide",
        _wide,
        "node 'nt4': a function that is not monotone needs a table, and an accumulator in "
        f"{_range} takes more than 4096 entries; quantise it before the function",
        end=0.04,
    )
refused(
    "clip-crossed",
    lambda g, x: g.node("Clip", x, g.constant(2.0), g.constant(-1.0)),
    "node 'nt1' (Clip): its min 2 is above its max -1; swap them",
)
refused(
    "averagepool-unequal-end",
    one("AveragePool", kernel_shape=[2, 2], pads=[1] * 4),
    "the graph's output is in an order, or has scales that differ by position, which hardware does "
    "not give; end the graph before its last transposition, or quantise its result per tensor",
    end=None,
)
refused(
    "resize-uneven",
    resize((1, 1, 3, 3), coordinate_transformation_mode="half_pixel", nearest_mode="floor"),
    "node 'nt1' (Resize): it resizes (7, 6) to (21, 18), and hardware repeats by whole factors or "
    "keeps evenly spaced rows and columns; choose another size",
)
refused(
    "resize-linear",
    resize((1, 1, 2, 2), mode="linear"),
    "node 'nt1' (Resize): it interpolates, which is not offered; use mode nearest",
)
refused(
    "add-long-scales",
    branches("Add", 1 / 3, 0.1234567),
    "node 'nt5' (Add): a common scale of its inputs needs integers of 55 bits, and at most 48 are "
    "taken; quantise the inputs with one scale, or with powers of two",
)
refused(
    "add-broadcast",
    lambda g, x: g.node("Add", x, g.node("GlobalAveragePool", x)),
    "node 'nt2' (Add): it adds tensors of shapes (1, 3, 7, 6) and (1, 3, 1, 1); hardware adds "
    "equal shapes only",
)
refused(
    "mul-branches",
    lambda g, x: g.node("Mul", x, g.quant(x)),
    "node 'nt2' (Mul): two tensors that depend on the input are multiplied, and hardware "
    "multiplies by constants only; remove the gating",
)
refused(
    "div-by-a-branch",
    lambda g, x: g.node("Div", g.constant(1.0), x),
    "node 'nt1' (Div): input 0 is a constant where a tensor that depends on the graph's input "
    "belongs; fold the constants before exporting",
)
refused(
    "div-by-zero",
    lambda g, x: g.node("Div", x, g.constant([[[1.0]], [[0]], [[2]]])),
    "node 'nt1' (Div): it divides by 0; export the model again",
)
GRID = "node {} (Conv): its weights lie on no grid of at most 16 bits; quantise them"
refused(
    "conv-off-grid", lambda g, x: conv(g, g.quant(x, SCALES, 5), 4, 3, (2, 2)), GRID.format("'nt3'")
)
refused(
    "conv-float-weights",
    lambda g, x: g.node("Conv", x, g.constant(g.weights(4, 3, 3, 3))),
    GRID.format("'nt1'"),
)
refused(
    "conv-offset-pads",
    lambda g, x: conv(g, g.node("Add", x, g.constant(0.3)), 4, 3, (3, 3), pads=[1] * 4),
    "node 'nt3' (Conv): it pads with zeros, and no integer of its input stands for zero in every "
    "channel; quantise the input with an integer zero point",
)
refused(
    "gemm-transposed",
    lambda g, x: g.node("Gemm", x, g.constant(np.ones((7, 2))), transA=1),
    "node 'nt1' (Gemm): transA = 1 would mix the frames of a batch; export it as 0",
    ROW,
    batch=7,
)
refused(
    "dynamic",
    lambda g, x: g.several("DynamicQuantizeLinear", 3, x)[0],
    "node 'nt1' (DynamicQuantizeLinear): its scale is computed from each input at run time, and "
    "hardware needs constants; quantise the model statically",
    end=None,
    output=TensorProto.UINT8,
)
refused(
    "pad-channels",
    lambda g, x: g.node("Pad", x, g.ints(0, 1, 0, 0, 0, 0, 0, 0)),
    "node 'nt1' (Pad): it pads [0, 1, 0, 0, 0, 0, 0, 0] of rank 4, and hardware pads rows and "
    "columns of an image only; rewrite it",
)
refused(
    "pad-reflect",
    lambda g, x: g.node("Pad", x, g.ints(*PADS), mode="reflect"),
    "node 'nt1' (Pad): it pads with copies; pad with a constant",
)
refused(
    "gather-twice",
    lambda g, x: g.node("Gather", x, g.ints(0, 1, 0), axis=1),
    "node 'nt1' (Gather): it repeats elements, which is not offered; use Resize",
)
refused(
    "argmax-last",
    one("ArgMax", axis=1, select_last_index=1),
    "node 'nt1' (ArgMax): it takes the last of equals, and hardware the first; set "
    "select_last_index 0",
    **INT64,
)
refused(
    "argmax-rows",
    one("ArgMax", axis=2),
    "node 'nt1' (ArgMax): it compares along axis 2 of 4 values that do not lie side by side in "
    "their order; compare along the channels",
    **INT64,
)
refused(
    "topk-values",
    lambda g, x: g.several("TopK", 2, x, g.ints(3))[0],
    "node 'nt1' (TopK): its values are asked for, and hardware gives the indices alone; use its "
    "second output",
    ROW,
    end=None,
)
refused(
    "topk-smallest",
    lambda g, x: g.several("TopK", 2, x, g.ints(3), largest=0)[1],
    "node 'nt1' (TopK): it takes the smallest, hardware the largest; negate before it",
    ROW,
    **INT64,
)
refused(
    "cast-wraps",
    one("Cast", to=int(TensorProto.INT8)),
    "node 'nt1' (Cast): values in -256..254 leave int8, and a cast does not clamp; clip them "
    "before it",
    end=None,
    scale=2,
    output=TensorProto.INT8,
)
BETWEEN = (
    "the pixels of a block stand between the channels of its input, as DepthToSpace of mode CRD "
    "has them, and nothing but a product puts channels in another order; let a convolution come "
    "right before it, or use mode DCR"
)
refused(
    "depth-between",
    one("DepthToSpace", blocksize=2, mode="CRD"),
    f"the graph's output: {BETWEEN}",
    (8, 3, 3),
)
refused(
    "depth-between-groups",
    lambda g, x: g.node(
        "MaxPool",
        g.node("DepthToSpace", conv(g, x, 8, 4, (1, 1), group=2), blocksize=2, mode="CRD"),
        kernel_shape=[2, 2],
    ),
    f"node 'nt4' (MaxPool): {BETWEEN}",
    (8, 3, 3),
)
refused(
    "depth-of-scales",
    lambda g, x: g.node(
        "DepthToSpace",
        g.node("Mul", x, g.constant(np.geomspace(1e-9, 1e9, 8).reshape(8, 1, 1))),
        blocksize=2,
    ),
    "node 'nt2': its scales differ between channels that a reshape mixes; quantise per tensor "
    "before it",
    (8, 3, 3),
    end=None,
)
refused(
    "quantise-zero-points",
    linear("uint8", SCALES.reshape(-1), [0, 1, 2], axis=1),
    "node 'nt1' (QuantizeLinear): zero points differ between channels, and one is needed for all; "
    "quantise activations symmetrically or per tensor",
    IMAGE,
)
refused(
    "softmax-before-quantiser",
    one("Softmax", axis=1),
    "node 'nt2' (Quant): a softmax before a quantiser needs exponentials in hardware, which are "
    "not offered; let the network end with it",
    ROW,
)
