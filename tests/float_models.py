"""Float ONNX models: recipes for small ones, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper
from onnx_build import Builder
from runtime import session

from bitwright.models.network import Network
from bitwright.models.onnx.floats.network import network_of
from bitwright.models.onnx.read import parse

pytest.importorskip("onnxruntime", reason="float models are judged by onnxruntime")

Recipe = Callable[[Builder], str]
IMAGE = (4, 9, 8)


def computed(data: bytes, x: np.ndarray) -> np.ndarray:
    return session(data).run(None, {"x": x})[0]


def example(shape, frames: int = 6, kind: str = "float32", seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind != "float32":
        return random.integers(0, 128, (frames, *shape)).astype(kind)
    return random.normal(size=(frames, *shape)).astype(np.float32)


def model(
    recipe: Recipe, shape=IMAGE, opset: int = 17, kind: str = "float32", judged: bool = True
) -> bytes:
    """The bytes of a model whose output has the type and rank that onnxruntime gives it."""
    b = Builder(shape, 0, kind)
    proto = b.model(recipe(b), (), "recipe", opset)
    if judged:
        proto.graph.output[0].ClearField("type")
        found = computed(proto.SerializeToString(), example(shape, 1, kind))
        dims = [f"d{k}" for k in range(found.ndim)]
        made = helper.make_tensor_value_info(
            "y", helper.np_dtype_to_tensor_dtype(found.dtype), dims
        )
        proto.graph.output[0].CopyFrom(made)
    return proto.SerializeToString()


def imported(recipe: Recipe, **options) -> Network:
    return network_of(parse(model(recipe, judged=False, **options)))


def agrees(data: bytes, x: np.ndarray) -> Network:
    """Check a model's network against onnxruntime, within 1e-4 of the largest value."""
    network, wanted = network_of(parse(data)), computed(data, x)
    found = network.answer(x)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    return network


# One layer each


def conv(*weights: int, inputs: str = "x", bias: bool = True, **more) -> Recipe:
    def recipe(b: Builder) -> str:
        names = [b.constant(b.weights(*weights))]
        names += [b.bias(weights[0])] if bias else []
        return b.node("Conv", inputs, *names, **more)

    return recipe


def simple(op: str, *constants, **more) -> Recipe:
    return lambda b: b.node(op, "x", *(b.constant(c) if c is not None else "" for c in constants),
                            **more)  # fmt: skip


def ints(op: str, *constants, **more) -> Recipe:
    return lambda b: b.node(op, "x", *(b.constant(c, np.int64) for c in constants), **more)


def finished(op: str, **more) -> Recipe:
    return lambda b: b.node(op, b.node("Neg", "x"), **more)


CHANNELS = np.linspace(-1, 2, 4).reshape(4, 1, 1)
LAYERS: dict[str, tuple[Recipe, dict]] = {
    "conv": (conv(5, 4, 3, 2), {}),
    "conv without bias": (conv(5, 4, 3, 2, bias=False), {}),
    "conv, strided and padded unevenly": (
        conv(5, 4, 3, 3, strides=[2, 1], pads=[1, 0, 2, 3]),
        {},
    ),
    "conv, dilated": (conv(5, 4, 3, 2, dilations=[2, 3], pads=[1, 2, 1, 0]), {}),
    "conv, same upper": (conv(5, 4, 4, 3, strides=[2, 2], auto_pad="SAME_UPPER"), {}),
    "conv, same lower": (conv(5, 4, 4, 3, strides=[2, 2], auto_pad="SAME_LOWER"), {}),
    "conv, valid": (conv(5, 4, 4, 3, auto_pad="VALID"), {}),
    "conv, two groups": (conv(6, 2, 3, 3, group=2), {}),
    "conv, depthwise": (conv(4, 1, 3, 3, group=4), {}),
    "conv, depthwise with a multiplier": (conv(8, 1, 3, 3, group=4), {}),
    "conv of a signal": (
        conv(5, 4, 3, strides=[2], pads=[2, 1], dilations=[2]),
        {"shape": (4, 20)},
    ),
    "conv of a signal, same": (conv(5, 4, 4, auto_pad="SAME_UPPER"), {"shape": (4, 20)}),
    "conv of one channel": (conv(3, 1, 3, 3, group=1), {"shape": (1, 9, 8)}),
    "max pool": (
        simple("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
        {},
    ),
    "max pool, dilated": (simple("MaxPool", kernel_shape=[3, 2], dilations=[2, 2]), {}),
    "max pool, sizes rounded up": (
        simple("MaxPool", kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1),
        {},
    ),
    "max pool, no window in the end's padding": (
        simple("MaxPool", kernel_shape=[1, 1], strides=[4, 4], pads=[0, 0, 0, 0], ceil_mode=1),
        {},
    ),
    "max pool of a signal": (
        simple("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 1]),
        {"shape": (4, 20)},
    ),
    "average pool": (simple("AveragePool", kernel_shape=[3, 2], strides=[2, 2]), {}),
    "average pool, padding counts": (
        simple("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], count_include_pad=1),
        {},
    ),
    "average pool, padding does not count": (
        simple("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], strides=[2, 2]),
        {},
    ),
    "average pool, same": (
        simple("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
        {},
    ),
    "average pool of a signal": (
        simple("AveragePool", kernel_shape=[3], pads=[1, 1]),
        {"shape": (4, 20)},
    ),
    "global average": (simple("GlobalAveragePool"), {}),
    "global maximum": (simple("GlobalMaxPool"), {}),
    "global average of a signal": (simple("GlobalAveragePool"), {"shape": (4, 20)}),
    "mean over positions": (simple("ReduceMean", axes=[2, 3], keepdims=0), {}),
    "mean over positions, from behind": (simple("ReduceMean", axes=[-1, -2]), {}),
    "mean over positions, axes as input": (ints("ReduceMean", [2, 3]), {"opset": 18}),
    "mean over rows": (simple("ReduceMean", axes=[2], keepdims=0), {}),
    "mean over columns of channels last": (
        lambda b: b.node("ReduceMean", b.node("Transpose", "x", perm=[0, 2, 3, 1]), axes=[2]),
        {},
    ),
    "maximum over columns": (simple("ReduceMax", axes=[3]), {}),
    "sum over positions": (ints("ReduceSum", [2, 3], keepdims=0), {}),
    "mean over a signal": (simple("ReduceMean", axes=[2], keepdims=0), {"shape": (4, 20)}),
    "gemm": (
        simple("Gemm", np.linspace(-1, 1, 35).reshape(7, 5), np.linspace(0, 2, 5)),
        {"shape": (7,)},
    ),
    "gemm, transposed and scaled": (
        simple(
            "Gemm", np.linspace(-1, 1, 35).reshape(5, 7), [[3.0]], transB=1, alpha=0.5, beta=-2.0
        ),
        {"shape": (7,)},
    ),
    "gemm without bias": (simple("Gemm", np.linspace(-1, 1, 35).reshape(7, 5)), {"shape": (7,)}),
    "matmul": (simple("MatMul", np.linspace(-1, 1, 35).reshape(7, 5)), {"shape": (7,)}),
    "matmul of rows": (
        simple("MatMul", np.linspace(-1, 1, 35).reshape(7, 5)),
        {"shape": (3, 7)},
    ),
    "matmul of pixels": (
        simple("MatMul", np.linspace(-1, 1, 40).reshape(8, 5)),
        {"shape": (3, 6, 8)},
    ),
    "batch norm": (
        simple("BatchNormalization", [1, -2, 3, 0], [0, 1, 2, 3], [1, 2, 0, 1], [1, 2, 0, 3]),
        {},
    ),
    "batch norm of features": (
        simple("BatchNormalization", [1, -2], [0, 1], [1, 2], [1, 0], epsilon=1e-2),
        {"shape": (2,)},
    ),
    "relu": (simple("Relu"), {}),
    "clip": (simple("Clip", 0, 0.5), {}),
    "clip above": (simple("Clip", None, 0.5), {}),
    "clip below": (simple("Clip", 0.0), {}),
    "clip by attributes": (simple("Clip", min=-0.5, max=0.5), {"opset": 10}),
    "max with a constant": (simple("Max", 0.25), {}),
    "min with a constant": (simple("Min", 0.25), {}),
    "leaky relu": (simple("LeakyRelu", alpha=0.2), {}),
    "prelu": (simple("PRelu", CHANNELS), {}),
    "prelu, one slope": (simple("PRelu", [0.25]), {}),
    "elu": (simple("Elu", alpha=0.7), {}),
    "softplus": (simple("Softplus"), {}),
    "hard sigmoid": (simple("HardSigmoid", alpha=0.3, beta=0.4), {}),
    "hard swish": (simple("HardSwish"), {}),
    "sigmoid": (finished("Sigmoid"), {}),
    "tanh": (finished("Tanh"), {}),
    "softmax": (finished("Softmax"), {"shape": (7,)}),
    "softmax of old": (finished("Softmax"), {"shape": (7,), "opset": 11}),
    "log softmax": (finished("LogSoftmax", axis=1), {"shape": (7,)}),
    "argmax": (simple("ArgMax", axis=1), {"shape": (7,)}),
    "argmax, one number": (simple("ArgMax", axis=-1, keepdims=0), {"shape": (7,)}),
    "argmax of pixels": (simple("ArgMax", axis=1, keepdims=0), {}),
    "argmax of pixels, kept": (simple("ArgMax", axis=-3), {}),
    "add per channel": (simple("Add", CHANNELS), {}),
    "add one number": (simple("Add", 0.5), {}),
    "add per pixel": (simple("Add", np.linspace(-1, 1, 72).reshape(9, 8)), {}),
    "mul with the batch": (simple("Mul", CHANNELS[None]), {}),
    "sub": (simple("Sub", CHANNELS), {}),
    "div": (simple("Div", CHANNELS + 3), {}),
    "neg": (simple("Neg"), {}),
    "subtracted from a constant": (lambda b: b.node("Sub", b.constant(CHANNELS), "x"), {}),
    "constant times": (lambda b: b.node("Mul", b.constant(CHANNELS), "x"), {}),
    "doubled": (lambda b: b.node("Add", "x", "x"), {}),
    "pad": (ints("Pad", [0, 0, 1, 2, 0, 0, 0, 3]), {}),
    "pad of old": (simple("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 3]), {"opset": 9}),
    "pad of a signal": (ints("Pad", [0, 0, 1, 0, 0, 3]), {"shape": (4, 20)}),
    "pad, axes": (
        lambda b: b.node("Pad", "x", b.constant([1, 2], np.int64), "", b.constant([-1], np.int64)),
        {"opset": 18},
    ),
    "pad by nothing": (lambda b: b.node("Neg", ints("Pad", [0] * 8)(b)), {}),
    "mean over nothing": (
        lambda b: b.node("Neg", ints("ReduceMean", [], noop_with_empty_axes=1)(b)),
        {"opset": 18},
    ),
    "slice of channels": (ints("Slice", [1], [3], [1]), {}),
    "slice from behind, stepped": (ints("Slice", [-4], [1000], [1], [2]), {}),
}


# Layouts


def then_dense(b: Builder, x: str, inputs: int, outputs: int = 5) -> str:
    return b.node("Gemm", x, b.constant(b.weights(outputs, inputs)), b.bias(outputs), transB=1)


def ints_node(b: Builder, op: str, x: str, *constants, **more) -> str:
    return b.node(op, x, *(b.constant(c, np.int64) for c in constants), **more)


def flattened(op: str, *shape, **more) -> Recipe:
    def recipe(b: Builder) -> str:
        x = b.node("Relu", conv(6, 4, 3, 3)(b))
        x = ints_node(b, op, x, *shape, **more)
        return then_dense(b, x, 6 * 7 * 6)

    return recipe


def shape_arithmetic(b: Builder) -> str:
    x = conv(6, 4, 3, 3)(b)
    batch = ints_node(b, "Gather", b.node("Shape", x), 0)
    sizes = [ints_node(b, "Unsqueeze", batch, [0]), b.constant([-1], np.int64)]
    x = b.node("Reshape", x, b.node("Concat", *sizes, axis=0))
    return then_dense(b, x, 6 * 7 * 6)


def keras(b: Builder) -> str:
    """Channels last at both ends, as tf2onnx writes them."""
    x = b.node("Transpose", "x", perm=[0, 3, 1, 2])
    x = b.node("Relu", conv(6, 8, 3, 3, inputs=x)(b))
    x = b.node("Transpose", x, perm=[0, 2, 3, 1])
    return b.node("Add", x, b.constant(np.linspace(0, 1, 6)))


def keras_flat(b: Builder) -> str:
    x = b.node("Transpose", keras(b), perm=[0, 1, 2, 3])
    return then_dense(b, ints_node(b, "Reshape", x, [-1, 84]), 84)


def last_first(b: Builder) -> str:
    """Channels first, but turned to channels last before anything is computed."""
    x = b.node("Transpose", "x", perm=[0, 2, 3, 1])
    return b.node("MatMul", x, b.constant(b.weights(4, 6)))


def shuffled(b: Builder) -> str:
    """Groups that exchange channels, and branches that meet in different orders."""
    x = b.node("Relu", conv(8, 2, 3, 3, group=2, pads=[1] * 4)(b))
    y = ints_node(b, "Reshape", x, [0, 2, 4, 9, 8])
    y = ints_node(b, "Reshape", b.node("Transpose", y, perm=[0, 2, 1, 3, 4]), [-1, 8, 9, 8])
    y = conv(8, 1, 3, 3, inputs=y, group=8, pads=[1] * 4)(b)
    y = b.node("MaxPool", b.node("PRelu", y, b.constant(b.weights(8, 1, 1))), kernel_shape=[1, 1])
    y = b.node("Add", x, y)
    z = ints_node(b, "Slice", y, [2], [7], [1])
    y = b.node("Concat", z, y, axis=1)
    y = b.node("Relu", conv(6, 13, 1, 1, inputs=y)(b))
    y = ints_node(b, "Reshape", y, [0, 3, 2, 9, 8])
    y = ints_node(b, "Reshape", b.node("Transpose", y, perm=[0, 2, 1, 3, 4]), [-1, 6, 9, 8])
    return conv(6, 2, 1, 1, inputs=y, group=3)(b)


def shuffled_end(b: Builder) -> str:
    y = b.node("Relu", conv(6, 4, 1, 1)(b))
    y = ints_node(b, "Reshape", y, [0, 3, 2, 9, 8])
    return ints_node(b, "Reshape", b.node("Transpose", y, perm=[0, 2, 1, 3, 4]), [-1, 6, 9, 8])


def shuffled_features(b: Builder) -> str:
    y = ints_node(b, "Reshape", then_dense(b, "x", 7, 6), [-1, 2, 3])
    y = b.node("Flatten", b.node("Transpose", y, perm=[0, 2, 1]))
    return b.node("Tanh", b.node("Add", y, then_dense(b, "x", 7, 6)))


def two_ends(b: Builder) -> str:
    """Features of an image, joined with its means."""
    x = conv(6, 4, 3, 3)(b)
    mean = b.node("Flatten", b.node("GlobalAveragePool", x))
    return then_dense(b, b.node("Concat", b.node("Flatten", x), mean, axis=1), 6 * 7 * 6 + 6)


def many_parts(b: Builder) -> str:
    parts = [b.node("Relu", conv(2, 4, 1, 1)(b)) for _ in range(20)]
    return b.node("Concat", *parts, axis=1)


def signal_from_features(b: Builder) -> str:
    x = ints_node(b, "Unsqueeze", "x", [1])
    x = b.node("Relu", conv(4, 1, 3, inputs=x)(b))
    return then_dense(b, b.node("Flatten", x), 4 * 18)


def image_from_features(b: Builder) -> str:
    x = ints_node(b, "Reshape", then_dense(b, "x", 7, 12), [-1, 12, 1, 1])
    x = conv(5, 12, 1, 1, inputs=x)(b)
    return ints_node(b, "Squeeze", x, [2, 3])


def normalised(b: Builder) -> str:
    x = b.node("Div", b.node("Sub", "x", b.constant(np.full((1, 4, 1, 1), 0.4))), b.constant(0.25))
    return conv(5, 4, 3, 3, inputs=x, pads=[1] * 4)(b)


def split(b: Builder) -> str:
    x = conv(6, 4, 3, 3)(b)
    left = ints_node(b, "Split", x, [2, 4], axis=1)
    b.nodes[-1].output.append("right")
    return b.node("Concat", b.node("Relu", left), "right", axis=1)


def split_evenly(b: Builder) -> str:
    """Three parts of seven channels, the last the smaller; of the old kind, then of the new."""
    x = conv(7, 4, 3, 3)(b)
    first = b.node("Split", x, axis=1, num_outputs=3)
    b.nodes[-1].output.extend(["second", "third"])
    return b.node("Concat", "third", first, axis=1)


def split_by_attribute(b: Builder) -> str:
    first = b.node("Split", conv(6, 4, 3, 3)(b), axis=1, split=[2, 4])
    b.nodes[-1].output.append("second")
    return b.node("Concat", "second", first, axis=1)


def cut_features(b: Builder) -> str:
    """Features of an image that are no channels of it."""
    x = b.node("Flatten", conv(6, 4, 3, 3)(b))
    return then_dense(b, ints_node(b, "Slice", x, [0, 5], [1000, 105], [0, 1]), 100)


def sliced_by_nothing(b: Builder) -> str:
    return b.node("Relu", ints_node(b, "Slice", conv(6, 4, 3, 3)(b), [0], [6], [1]))


def squeezed(b: Builder) -> str:
    x = b.node("GlobalAveragePool", conv(6, 4, 3, 3)(b))
    return then_dense(b, b.node("Squeeze", x), 6)


def sized(b: Builder) -> str:
    x = conv(6, 4, 3, 3)(b)
    size = ints_node(b, "Reshape", b.node("Size", x), [1])
    x = b.node("Reshape", x, b.node("Concat", b.constant([1], np.int64), size, axis=0))
    return then_dense(b, x, 6 * 7 * 6)


def features_twice(b: Builder) -> str:
    """Means of channels, flattened in two ways, and the same again."""
    x = b.node("GlobalAveragePool", conv(6, 4, 3, 3)(b))
    return b.node("Add", b.node("Flatten", x), then_dense(b, b.node("Flatten", x), 6, 6))


def gathered(b: Builder) -> str:
    return ints_node(b, "Gather", conv(6, 4, 3, 3)(b), [4, 0, 1], axis=1)


def swish(b: Builder) -> str:
    x = conv(6, 4, 3, 3)(b)
    return conv(3, 6, 1, 1, inputs=b.node("Mul", x, b.node("Sigmoid", x)))(b)


def swish_read_twice(b: Builder) -> str:
    x = conv(6, 4, 3, 3)(b)
    gate = b.node("Sigmoid", x)
    y = b.node("Relu", gate)
    return b.node("Add", b.node("Mul", gate, x), y)


def hard_swish(b: Builder) -> str:
    x = conv(6, 4, 3, 3)(b)
    return b.node("Mul", b.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), x)


def difference(b: Builder) -> str:
    return b.node("Sub", conv(6, 4, 1, 1)(b), conv(6, 4, 1, 1)(b))


def ends_in_best(b: Builder) -> str:
    x = b.node("Flatten", b.node("GlobalAveragePool", "x"))
    x = b.node("Softmax", then_dense(b, x, 4))
    return b.node("Cast", b.node("ArgMax", x, axis=1, keepdims=0), to=6)


def folded_weights(b: Builder) -> str:
    """Weights that nodes compute from constants."""
    weights = b.node("Transpose", b.constant(b.weights(5, 7)), perm=[1, 0])
    scaled = b.node("Mul", weights, b.constant(0.5))
    return b.node("MatMul", "x", b.node("Identity", scaled))


LAYOUTS: dict[str, tuple[Recipe, dict]] = {
    "flatten": (flattened("Flatten"), {}),
    "flatten, axis from behind": (flattened("Flatten", axis=-3), {}),
    "reshape": (flattened("Reshape", [-1, 252]), {}),
    "reshape, batch of one": (flattened("Reshape", [1, -1]), {"frames": 1}),
    "reshape, zero keeps": (flattened("Reshape", [0, -1]), {}),
    "shape arithmetic": (shape_arithmetic, {"frames": 1}),
    "keras": (keras, {"shape": (9, 7, 8)}),
    "keras, flattened": (keras_flat, {"shape": (4, 9, 8)}),
    "channels last at once": (last_first, {}),
    "shuffled": (shuffled, {}),
    "shuffled end": (shuffled_end, {}),
    "shuffled features": (shuffled_features, {"shape": (7,)}),
    "two ends": (two_ends, {}),
    "many parts": (many_parts, {}),
    "signal from features": (signal_from_features, {"shape": (20,)}),
    "image from features": (image_from_features, {"shape": (7,)}),
    "normalised": (normalised, {}),
    "split": (split, {}),
    "split evenly": (split_evenly, {"opset": 18}),
    "split by attribute": (split_by_attribute, {"opset": 11}),
    "cut features": (cut_features, {}),
    "sliced by nothing": (sliced_by_nothing, {}),
    "squeezed": (squeezed, {"frames": 2}),
    "sized": (sized, {"frames": 1}),
    "features twice": (features_twice, {}),
    "gathered": (gathered, {}),
    "swish": (swish, {}),
    "swish read twice": (swish_read_twice, {}),
    "hard swish": (hard_swish, {}),
    "difference": (difference, {}),
    "ends in best": (ends_in_best, {}),
    "folded weights": (folded_weights, {"shape": (7,)}),
}
