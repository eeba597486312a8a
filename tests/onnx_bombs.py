"""Small ONNX files that describe much: each is refused by a budget, before time or memory is lost.

Most are a tensor between two quantisers, as in `onnx_bad_meaning`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto
from onnx_bad_meaning import (
    CONSTANTS,
    FRONT,
    QONNX,
    Bad,
    between,
    conv,
    floats,
    ints,
    model,
    node,
    one,
)

ELEMENTS = "above the limit of 16777216; use a smaller one"
BITS = "exact arithmetic makes numbers of more than 4096 bits; fold the constants before exporting"


def chain(length: int, op: str, *inputs: str, shape: Any = (1, 2, 6, 6), **options: Any):
    """`op` so many times, one after the other; arrays among the options are constants."""
    constants = {name: value for name, value in options.items() if isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in options.items() if name not in constants}
    names = ["d", *(f"h{k}" for k in range(1, length)), "e"]
    nodes = [
        node(op, [names[k], *inputs], [names[k + 1]], f"{op}_{k}", **attributes)
        for k in range(length)
    ]
    return between(*nodes, shape=shape, **constants)


def filled(*shape: int) -> ModelProto:
    """A constant filled by one number, added to d."""
    return between(
        node("ConstantOfShape", ["c"], ["k"], "bad"),
        node("Add", ["d", "k"], ["e"]),
        c=ints(*shape),
    )


def doubled(times: int) -> ModelProto:
    """256 numbers joined with themselves so many times; the largest is added to d."""
    names = ["c", *(f"k{k}" for k in range(times))]
    joins = [
        node("Concat", [names[k]] * 2, [names[k + 1]], f"join_{k}", axis=0) for k in range(times)
    ]
    largest = node("ReduceMax", [names[-1]], ["m"], keepdims=0)
    return between(*joins, largest, node("Add", ["d", "m"], ["e"]), c=np.ones(256, np.int8))


def groups(inputs: int, each: int) -> ModelProto:
    """A convolution of groups of so many channels."""
    weights, biases = np.ones((inputs, each, 1, 1), np.int8), np.zeros(inputs, np.int32)
    return conv(w=weights, b=biases, shape=(1, inputs, 1, 1), group=inputs // each)


def rounded(bits: int, scale: float) -> ModelProto:
    """A convolution whose result is quantised to so many bits."""
    nodes = [
        *FRONT,
        node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0),
        node("Conv", ["d", "wd"], ["h"]),
        node("Quant", ["h", "step", "zero", "bits"], ["y"], "bad", domain=QONNX),
    ]
    last = {"step": floats(scale), "zero": floats(0), "bits": floats(bits)}
    return model(nodes, {**CONSTANTS, **last})


BOMBS: dict[str, Bad] = {
    "an_image_of_gigabytes": Bad(
        f"the graph's input 'x': a tensor of 268435456 elements is {ELEMENTS}",
        lambda: chain(1, "Relu", shape=(1, 1, 1 << 14, 1 << 14)),
    ),
    "a_batch_of_gigabytes": Bad(
        f"the graph's input 'x': a tensor of 268435456 elements is {ELEMENTS}",
        lambda: chain(1, "Relu", shape=(1 << 24, 1, 4, 4)),
    ),
    "a_vector_of_millions": Bad(
        "the graph's input 'x': it makes 4194304 channels, above the limit of 1048576; use a "
        "smaller tensor",
        lambda: chain(1, "Relu", shape=(1, 1 << 22)),
    ),
    "an_image_that_grows": Bad(
        f"node 'bad' (Resize): a tensor of 134471664 elements is {ELEMENTS}",
        lambda: one("Resize", None, None, ints(1, 2, 32766, 2052), mode="nearest"),
    ),
    "a_concatenation_of_thousands": Bad(
        f"node 'bad' (Concat): a tensor of 40960000 elements is {ELEMENTS}",
        lambda: between(node("Concat", ["d"] * 5000, ["e"], "bad", axis=1), shape=(1, 2, 64, 64)),
    ),
    "many_groups": Bad(
        "node 'bad' (Conv): 2048 groups become one dot product of 67108864 weights with zeros "
        "between, above the limit of 8388608; use at most 16 groups, or one for each channel",
        lambda: groups(8192, 4),
    ),
    "a_divisor_for_each_position": Bad(
        "node 'AveragePool_0' (AveragePool): its divisors differ by position, which makes a "
        "channel of each of 1210000 values, above the limit of 1048576; count the padding "
        "(count_include_pad = 1)",
        lambda: chain(
            1, "AveragePool", shape=(1, 1, 1100, 1100), kernel_shape=[3, 3], pads=[1] * 4
        ),
    ),
    "a_constant_for_each_position": Bad(
        "node 'Mul_0' (Mul): it makes 1210000 channels, above the limit of 1048576; use a smaller "
        "tensor",
        lambda: chain(
            1, "Mul", "c", shape=(1, 1, 1100, 1100), c=np.arange(1, 1101, dtype=np.float32)
        ),
    ),
    "functions_without_end": Bad(
        "node 'LeakyRelu_97': more than 100 functions follow one another; put a layer between "
        "them, or merge some",
        lambda: chain(9000, "LeakyRelu", alpha=0.3),
    ),
    "thresholds_without_end": Bad(
        "node 'MultiThreshold_97': more than 100 functions follow one another; put a layer between "
        "them, or merge some",
        lambda: chain(
            200, "MultiThreshold", "c", domain=QONNX, c=np.arange(900, dtype=np.float32)[None] / 7
        ),
    ),
    "squares_of_squares": Bad(
        "node 'back_back': exact values of more than 16384 bits arise between two roundings; put a "
        "quantiser between the functions",
        lambda: chain(30, "HardSwish"),
    ),
    "a_scale_that_grows": Bad(
        f"node 'Mul_170': {BITS}",
        lambda: chain(9000, "Mul", "c", c=floats(0.3)),
    ),
    "scales_that_grow": Bad(
        f"node 'Mul_170': {BITS}",
        lambda: chain(
            500, "Mul", "c", shape=(1, 64, 2, 2), c=np.full((1, 64, 1, 1), 0.3, np.float32)
        ),
    ),
    "a_sum_that_doubles": Bad(
        "node 'Add_41' (Add): a common scale of its inputs needs integers of 49 bits, and at most "
        "48 are taken; quantise the inputs with one scale, or with powers of two",
        lambda: between(
            *(
                node("Add", [f"h{k}" if k else "d"] * 2, [f"h{k + 1}"], f"Add_{k + 1}")
                for k in range(9000)
            ),
            node("Identity", ["h9000"], ["e"]),
        ),
    ),
    "a_filled_constant": Bad(
        "node 'bad' (ConstantOfShape): a constant of shape (8192, 8192) has 67108864 elements, "
        "above the limit of 16777216 for computed ones; store it as an initialiser",
        lambda: filled(8192, 8192),
    ),
    "a_constant_that_doubles": Bad(
        "node 'join_16' (Concat): a constant of shape (33554432,) has 33554432 elements, above the "
        "limit of 16777216 for computed ones; store it as an initialiser",
        lambda: doubled(20),
    ),
    "a_constant_that_squares": Bad(
        f"node 'Mul_8' (Mul): {BITS}",
        lambda: between(
            *(node("Mul", [f"k{k}" if k else "c"] * 2, [f"k{k + 1}"]) for k in range(99)),
            node("Add", ["d", "k99"], ["e"]),
            c=floats(1.0000001),
        ),
    ),
    "a_rounding_of_32_bits": Bad(
        "node 'bad': 4294967295 output levels in 2 channels are more than 65536 a channel or "
        "4194304 in all; quantise to fewer bits",
        lambda: rounded(32, 1e-9),
    ),
}
"""What is too much, by name."""
